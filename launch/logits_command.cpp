// `dagpam logits`: what a model says, number by number, to hold other programs against.
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launch/checkpoint_model.h"
#include "launch/program.h"
#include "parallel/backend.h"
#include "trainer/checkpoint/file_operations.h"
#include "trainer/checkpoint/safetensors.h"
#include "trainer/state_tensors.h"

namespace dagpam::launch {

namespace {

struct Arguments {
  std::string checkpoint, out;
  std::string backend = "AUTO";
};

[[noreturn]] void refuse(size_t line, const std::string& why) {
  throw DataError("standard input: line " + std::to_string(line) + ": " + why);
}

// A JSON array of token ids a line: [1, N] int64 each.
std::vector<at::Tensor> read_texts(const configs::ModelConfig& model) {
  std::vector<at::Tensor> texts;
  for (std::string line; std::getline(std::cin, line);) {
    const size_t number = texts.size() + 1;
    const auto ids = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!ids.is_array() || ids.empty()) refuse(number, "expected a JSON array of token ids");
    if (static_cast<int64_t>(ids.size()) > model.context()) {
      refuse(number, std::to_string(ids.size()) + " tokens are more than the model's context of " +
                         std::to_string(model.context()));
    }
    at::Tensor text = at::empty({1, static_cast<int64_t>(ids.size())}, at::kLong);
    auto* next = text.mutable_data_ptr<int64_t>();
    for (const auto& id : ids) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(model.vocab())) {
        refuse(number, "expected token ids from 0 to " + std::to_string(model.vocab() - 1));
      }
      *next++ = id.get<int64_t>();
    }
    texts.push_back(std::move(text));
  }
  if (texts.empty()) throw DataError("standard input: empty: give a line of token ids a text");
  return texts;
}

void run(const Arguments& arguments) {
  const auto alone = parallel::open_alone(parallel::parse_backend(arguments.backend)).communicator;
  const CheckpointModel loaded = load_checkpoint_model(arguments.checkpoint, *alone);
  const trainer::TransformerLm& model = loaded.language_model();
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> rows;  // [N, V] float32 each
  for (const at::Tensor& text : read_texts(model.config())) {
    trainer::ForwardInput input;
    input.tokens = text.to(alone->device());
    rows.push_back(
        model.logits(model.hidden(input)).squeeze(0).to(at::kCPU, at::kFloat).contiguous());
  }
  std::vector<checkpoint::SafetensorsTensor> tensors;
  for (size_t i = 0; i < rows.size(); ++i) {
    tensors.push_back(
        {std::to_string(i), "F32", rows[i].sizes().vec(), trainer::bytes_of(rows[i])});
  }
  checkpoint::BlockWriter file(checkpoint::posix_file_system(), arguments.out);
  checkpoint::write_safetensors(file, std::move(tensors), {});
  file.finish();
  std::printf("%s: logits of %zu texts\n", arguments.out.c_str(), rows.size());
}

}  // namespace

void add_logits_command(CLI::App& app, Program&) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "logits", "Logits of texts of token ids, a JSON array a line on standard input");
  add_checkpoint_option(*command, arguments->checkpoint)->required();
  command
      ->add_option("--out", arguments->out,
                   "Safetensors file: of line i, counted from 0, the tensor \"i\" [tokens, vocab]")
      ->required()
      ->type_name("FILE");
  add_backend_option(*command, arguments->backend);
  command->callback([arguments] { run(*arguments); });
}

}  // namespace dagpam::launch
