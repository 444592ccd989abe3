#include "trainer/run_state.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <random>
#include <span>
#include <utility>

#include "configs/errors.h"
#include "configs/parse.h"
#include "configs/run_config.h"
#include "data/tokenizer.h"
#include "trainer/checkpoint/catalog.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/checkpoint/writer.h"
#include "trainer/telemetry/log.h"

namespace dagpam::trainer {

namespace {

using checkpoint::Checkpoint;
using checkpoint::posix_file_system;
using checkpoint::TensorPiece;
using parallel::ShardSpec;

// What this rank holds of a tensor of the run's state, under its name in checkpoints.
struct NamedTensor {
  std::string name;
  at::Tensor value;  // float32, C order
  const ShardSpec* shard;
  size_t turn;            // the same on every rank: who writes what several hold
  int64_t first_row = 0;  // of `value` in what the rank's shard holds
  bool own_rows = false;  // other copies of the model hold other rows
};

std::vector<NamedTensor> parameters_of(const TransformerLm& model) {
  std::vector<NamedTensor> all;
  for (const auto& parameter : model.parameters().all()) {
    all.push_back({parameter->name, parameter->value.detach(), &parameter->shard, all.size()});
  }
  return all;
}

// "norm.weight" for the parameter, "optimizer.exp_avg.norm.weight" for what the optimizer keeps of
// it.
std::vector<NamedTensor> state_of(TrainingStep& step, bool zero) {
  std::vector<NamedTensor> all = parameters_of(step.model());
  std::map<const parallel::Parameter*, size_t> turns;
  for (const auto& parameter : step.model().parameters().all()) {
    turns.emplace(parameter.get(), turns.size());
  }
  for (const StateTensor& state : step.optimizer().state()) {
    all.push_back({"optimizer." + state.kind + "." + state.parameter->name, state.value,
                   &state.parameter->shard, turns.at(state.parameter.get()), state.first_row,
                   zero});
  }
  return all;
}

// Where the tensor lies in the global one, without padding.
checkpoint::Box box_of(const NamedTensor& tensor) {
  const ShardSpec& shard = *tensor.shard;
  checkpoint::Box box{std::vector<int64_t>(shard.global_shape.size(), 0),
                      tensor.value.sizes().vec()};
  if (!box.start.empty()) box.start[0] = tensor.first_row;
  if (shard.cut_dim >= 0) {
    const auto cut = static_cast<size_t>(shard.cut_dim);
    box.start[cut] += shard.offset;
    const int64_t left = std::max<int64_t>(shard.global_shape[cut] - box.start[cut], 0);
    box.shape[cut] = std::min(box.shape[cut], left);
    if (left == 0) box.start[cut] = shard.global_shape[cut];
  }
  return box;
}

// The part of the tensor that is no padding.
at::Tensor real_part(const NamedTensor& tensor) {
  const int dim = tensor.shard->cut_dim;
  return dim < 0 ? tensor.value
                 : tensor.value.narrow(dim, 0, box_of(tensor).shape[static_cast<size_t>(dim)]);
}

std::span<std::byte> bytes_of(const at::Tensor& t) {
  TORCH_CHECK(t.is_contiguous() && t.is_cpu() && t.scalar_type() == at::kFloat,
              "checkpoints hold contiguous float32 tensors, got ", t.sizes());
  return {static_cast<std::byte*>(t.data_ptr()), static_cast<size_t>(t.nbytes())};
}

// Whether this rank writes its part of a tensor: ranks that hold the same part take turns.
bool is_our_turn(const NamedTensor& tensor, const parallel::Grid& grid) {
  const bool cut = tensor.shard->cut_dim >= 0;
  const auto dp = static_cast<size_t>(grid.dp->rank()), tp = static_cast<size_t>(grid.tp->rank());
  const auto copies = static_cast<size_t>(grid.dp->size()),
             parts = static_cast<size_t>(grid.tp->size());
  const bool copy_writes = tensor.own_rows || tensor.turn % copies == dp;
  return copy_writes && (cut || tensor.turn / copies % parts == tp);
}

// What the pieces point at is held by `copies`, which must outlive them.
std::vector<TensorPiece> pieces_of(const std::vector<NamedTensor>& state,
                                   const parallel::Grid& grid, std::vector<at::Tensor>& copies) {
  std::vector<TensorPiece> pieces;
  for (const NamedTensor& tensor : state) {
    at::Tensor part = real_part(tensor);
    const bool padding_alone = part.numel() == 0 && tensor.value.numel() != 0;
    if (padding_alone || !is_our_turn(tensor, grid)) continue;
    part = part.cpu();  // itself where it is there
    if (!part.is_contiguous()) part = part.contiguous();
    copies.push_back(part);
    pieces.push_back(
        {tensor.name, "F32", tensor.shard->global_shape, box_of(tensor), bytes_of(part)});
  }
  return pieces;
}

configs::Manifest base_manifest(const SaveRequest& request, const Progress& progress,
                                const std::string& tokenizer_digest, const TrainingStep& step,
                                const parallel::Topology& topology) {
  configs::Manifest manifest;
  manifest.set_tokens_seen(progress.tokens);
  manifest.set_seed(request.config->train().seed());
  manifest.set_config_digest(configs::digest(*request.config));
  manifest.set_tokenizer_digest(tokenizer_digest);
  manifest.mutable_grid()->set_data(topology.dp());
  manifest.mutable_grid()->set_tensor(topology.tp());
  auto* position = manifest.mutable_position();
  position->set_next_sample(progress.data.next_sample);
  for (size_t i = 0; i < progress.data.digests.size(); ++i) {
    auto* source = position->add_sources();
    source->set_digest(progress.data.digests[i]);
    source->set_drawn(progress.data.drawn[i]);
    source->set_drawn_before_weights(progress.data.drawn_before_weights[i]);
  }
  manifest.mutable_schedule()->set_decay_steps(request.config->schedule().decay_steps());
  manifest.mutable_schedule()->set_lr(step.rate(std::max<int64_t>(progress.step - 1, 0)));
  manifest.set_loss(request.loss);
  return manifest;
}

configs::RunConfig config_of(const Checkpoint& saved) {
  configs::RunConfig config;
  configs::Written written;
  configs::parse_text(saved.read_copy(checkpoint::kConfigName),
                      {saved.path() + "/" + checkpoint::kConfigName, ""}, config, written);
  return config;
}

// Refuses fields that differ and may not.
void check_config(configs::RunConfig saved, const configs::RunConfig& now,
                  const std::vector<std::string>& allow_change, const std::string& folder) {
  if (saved.data().train_size() == now.data().train_size()) {
    for (int i = 0; i < now.data().train_size(); ++i) {
      saved.mutable_data()->mutable_train(i)->set_weight(now.data().train(i).weight());
    }
  }
  const auto may_change = [&](const std::string& field) {
    for (const char* group : {"parallel.", "log.", "checkpoint."}) {
      if (field.rfind(group, 0) == 0) return true;
    }
    for (const char* free :
         {"train.steps", "train.tokens", "train.epochs", "train.micro_batch", "train.recompute"}) {
      if (field == free) return true;
    }
    return std::find(allow_change.begin(), allow_change.end(), field) != allow_change.end();
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
  std::random_device entropy;
  char id[33];
  std::snprintf(id, sizeof id, "%08x%08x%08x%08x", entropy(), entropy(), entropy(), entropy());
  return group.all_gather_bytes(id).front();
}

void save_run(const SaveRequest& request, const Progress& progress, TrainingStep& step,
              const parallel::Grid& grid, parallel::Communicator& world) {
  auto& fs = posix_file_system();
  const int rank = world.rank();
  checkpoint::CheckpointWriter writer(
      fs, {request.checkpoints, progress.step, progress.run_id, request.lease});
  const std::vector<NamedTensor> state = state_of(step, request.config->parallel().zero() == 1);
  std::vector<at::Tensor> copies;
  const auto records = world.all_gather_bytes(
      writer.write_shard(rank, world.size(), pieces_of(state, grid, copies)));
  if (rank == 0) {
    const std::string digest = data::tokenizer_from_json(request.tokenizer_json)->digest();
    writer.commit(base_manifest(request, progress, digest, step, grid.topology), records,
                  {{checkpoint::kConfigName, configs::print(*request.config)},
                   {checkpoint::kTokenizerName, request.tokenizer_json}},
                  request.before_commit);
    const auto& retention = request.config->checkpoint();
    checkpoint::prune(fs, request.checkpoints, {retention.keep(), retention.keep_every()},
                      request.lease);
  }
  world.barrier();
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

Progress load_run(const std::string& folder, const configs::RunConfig& config,
                  const std::vector<std::string>& allow_change, TrainingStep& step) {
  const auto saved = checkpoint::open_checkpoint(posix_file_system(), folder);
  check_config(config_of(*saved), config, allow_change, folder);
  read_into(*saved, state_of(step, config.parallel().zero() == 1));
  const configs::Manifest& manifest = saved->manifest();
  step.optimizer().set_steps(manifest.step());
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
  return progress;
}

void load_parameters(const std::string& folder, const TransformerLm& model) {
  auto& fs = posix_file_system();
  const auto saved = checkpoint::open_checkpoint(fs, checkpoint::find_checkpoint(fs, folder));
  read_into(*saved, parameters_of(model));
}

SavedConfig read_saved_config(const std::string& folder) {
  auto& fs = posix_file_system();
  const auto saved = checkpoint::open_checkpoint(fs, checkpoint::find_checkpoint(fs, folder));
  return {config_of(*saved), saved->read_copy(checkpoint::kTokenizerName),
          saved->manifest().step()};
}

}  // namespace dagpam::trainer
