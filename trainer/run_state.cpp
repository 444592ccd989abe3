#include "trainer/run_state.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "configs/errors.h"
#include "configs/run_config.h"
#include "trainer/checkpoint/catalog.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/checkpoint/this_start.h"
#include "trainer/saved_config.h"
#include "trainer/state_tensors.h"
#include "trainer/telemetry/log.h"

namespace dagpam::trainer {

namespace {

using checkpoint::Checkpoint;
using checkpoint::posix_file_system;

// Refuses fields that differ and may not.
void check_config(configs::RunConfig saved, const configs::RunConfig& now,
                  const std::vector<std::string>& allow_change, const std::string& folder) {
  if (saved.data().train_size() == now.data().train_size()) {
    for (int i = 0; i < now.data().train_size(); ++i) {
      saved.mutable_data()->mutable_train(i)->set_weight(now.data().train(i).weight());
    }
  }
  const auto may_change = [&](const std::string& field) {
    for (const char* group : {"parallel.", "log.", "checkpoint.", "watchdog."}) {
      if (field.rfind(group, 0) == 0) return true;
    }
    for (const char* free : {"train.steps", "train.tokens", "train.epochs", "train.micro_batch",
                             "train.micro_tokens", "train.recompute"}) {
      if (field == free) return true;
    }
    return is_allowed(allow_change, field);
  };
  std::string changed;
  for (const std::string& field : configs::differing_fields(saved, now)) {
    if (!may_change(field)) changed += (changed.empty() ? "" : ", ") + field;
  }
  if (changed.empty()) return;
  throw ConfigError("--resume: " + changed + ": differs from the config of " + folder +
                    ": keep it as it was, or give --allow-change " +
                    changed.substr(0, changed.find(',')));
}

// The ids of the data must go on to mean what they meant.
void check_tokenizer(const std::string& saved, const std::string& now,
                     const std::vector<std::string>& allow_change, const std::string& folder) {
  if (saved == now || is_allowed(allow_change, "tokenizer")) return;
  throw DataError("--resume: the data's tokenizer has digest " + now + ", expected " + saved +
                  " as in " + folder +
                  ": give back the data that the run was saved with, or go on with this by "
                  "--allow-change tokenizer");
}

void read_into(const Checkpoint& saved, const std::vector<NamedTensor>& tensors) {
  const at::NoGradGuard no_grad;
  for (const NamedTensor& tensor : tensors) {
    const auto* stored = saved.find(tensor.name);
    if (!stored) {
      throw CheckpointError(saved.path() + ": holds no tensor " + tensor.name +
                            ": it was saved from another model");
    }
    const std::vector<int64_t> shape(stored->shape().begin(), stored->shape().end());
    if (shape != tensor.shard->global_shape || stored->dtype() != "F32") {
      throw CheckpointError(saved.path() + ": " + tensor.name + " has another shape or type (" +
                            stored->dtype() +
                            ") than the model expects: it was saved from another model");
    }
    at::Tensor part = real_part(tensor);
    if (part.numel() < tensor.value.numel()) tensor.value.zero_();  // padding
    if (part.numel() == 0) continue;
    const bool in_place = part.is_contiguous() && part.is_cpu();
    if (!in_place) part = part.cpu().contiguous();
    saved.read_tensor(tensor.name, box_of(tensor), bytes_of(part));
    if (!in_place) real_part(tensor).copy_(part);
  }
}

}  // namespace

std::string new_run_id(parallel::Communicator& group) {
  return group.all_gather_bytes(checkpoint::random_hex()).front();
}

configs::Manifest to_manifest(const Progress& progress, const configs::RunConfig& config,
                              const std::string& tokenizer_digest, double rate) {
  configs::Manifest manifest;
  manifest.set_tokens_seen(progress.tokens);
  manifest.set_seed(config.train().seed());
  manifest.set_config_digest(configs::digest(config));
  manifest.set_tokenizer_digest(tokenizer_digest);
  manifest.mutable_grid()->set_data(progress.saved_dp);
  manifest.mutable_grid()->set_tensor(progress.saved_tp);
  auto* position = manifest.mutable_position();
  position->set_next_sample(progress.data.next_sample);
  for (size_t i = 0; i < progress.data.digests.size(); ++i) {
    auto* source = position->add_sources();
    source->set_digest(progress.data.digests[i]);
    source->set_drawn(progress.data.drawn[i]);
    source->set_drawn_before_weights(progress.data.drawn_before_weights[i]);
  }
  manifest.mutable_schedule()->set_decay_steps(config.schedule().decay_steps());
  manifest.mutable_schedule()->set_lr(rate);
  manifest.set_loss(progress.loss);
  if (progress.valid_nll) manifest.set_valid_nll(*progress.valid_nll);
  *manifest.mutable_guard() = progress.guard;
  *manifest.mutable_log_window() = progress.log_window;
  return manifest;
}

std::string find_resume_point(const std::string& run_dir, const std::string& resume,
                              parallel::Communicator& group) {
  std::string path;
  if (group.rank() == 0) {
    const auto resolved = checkpoint::resolve(posix_file_system(), run_dir, resume);
    for (const std::string& why : resolved.skipped) log_warning("--resume " + resume + ": " + why);
    path = resolved.path;
  }
  return group.all_gather_bytes(path).front();
}

bool is_allowed(const std::vector<std::string>& allow_change, const std::string& field) {
  return std::any_of(allow_change.begin(), allow_change.end(), [&](const std::string& allowed) {
    return field == allowed || field.starts_with(allowed + ".");
  });
}

void warn_of_other_data(const data::DataPosition& saved, const data::DataPosition& now) {
  for (size_t i = 0; i < saved.digests.size(); ++i) {
    if (saved.digests[i] == now.digests[i]) continue;
    log_warning("data.train." + std::to_string(i) + " has digest " + now.digests[i] +
                ", the run was saved with " + saved.digests[i] +
                ": going on after as many samples");
  }
}

Progress load_run(const std::string& folder, const configs::RunConfig& config,
                  const std::string& tokenizer_digest, const std::vector<std::string>& allow_change,
                  TrainingStep& step) {
  const auto saved = checkpoint::open_checkpoint(posix_file_system(), folder);
  check_config(saved_config(*saved), config, allow_change, folder);
  check_tokenizer(saved->manifest().tokenizer_digest(), tokenizer_digest, allow_change, folder);
  read_into(*saved, state_of(step, config.parallel().zero() == 1));
  const configs::Manifest& manifest = saved->manifest();
  step.optimizer().set_steps(manifest.step());
  step.parameters_loaded(manifest.step());
  step.guard().restore(manifest.guard());
  Progress progress;
  progress.run_id = manifest.run_id();
  progress.step = manifest.step();
  progress.tokens = manifest.tokens_seen();
  progress.saved_dp = static_cast<int>(manifest.grid().data());
  progress.saved_tp = static_cast<int>(manifest.grid().tensor());
  progress.data.next_sample = manifest.position().next_sample();
  for (const auto& source : manifest.position().sources()) {
    progress.data.digests.push_back(source.digest());
    progress.data.drawn.push_back(source.drawn());
    progress.data.drawn_before_weights.push_back(source.drawn_before_weights());
  }
  progress.loss = manifest.loss();
  progress.guard = manifest.guard();
  progress.log_window = manifest.log_window();
  return progress;
}

void load_parameters(const std::string& folder, const Model& model) {
  auto& fs = posix_file_system();
  const auto saved = checkpoint::open_checkpoint(fs, checkpoint::find_checkpoint(fs, folder));
  read_into(*saved, parameters_of(model));
}

void load_parameters(const std::string& folder, TrainingStep& step) {
  auto& fs = posix_file_system();
  const auto saved = checkpoint::open_checkpoint(fs, checkpoint::find_checkpoint(fs, folder));
  read_into(*saved, parameters_of(step));
  step.parameters_loaded(0);
}

SavedConfig read_saved_config(const std::string& folder) {
  auto& fs = posix_file_system();
  const auto saved = checkpoint::open_checkpoint(fs, checkpoint::find_checkpoint(fs, folder));
  return {saved_config(*saved), saved->read_copy(checkpoint::kTokenizerName),
          saved->manifest().step()};
}

}  // namespace dagpam::trainer
