#include "launch/program.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "configs/run.pb.h"
#include "data/input_file.h"
#include "data/stream_digest.h"
#include "parallel/backend.h"
#include "parallel/communicator.h"
#include "parallel/consistency.h"
#include "parallel/session.h"
#include "trainer/telemetry/log.h"

namespace dagpam::launch {

std::string program_digest() {
  data::StreamDigest digest;
  digest.update(data::InputFile("/proc/self/exe"));
  return digest.hex();
}

Program::Program() = default;
Program::~Program() = default;

parallel::Session& Program::open_session() {
  if (!session) {
    session = std::make_unique<parallel::Session>();
    if (std::getenv("OMP_NUM_THREADS") == nullptr) {
      at::set_num_threads(cores_of_a_rank(session->local_size()));
    }
    trainer::open_log(session->rank(), session->size());
  }
  return *session;
}

parallel::Communicator& Program::world(int64_t timeout_s, const std::string& asked,
                                       const std::string& shared_memory) {
  open_session();
  if (!world_) {
    auto opened = parallel::open_world(*session, parallel::parse_backend(asked),
                                       std::chrono::seconds(timeout_s),
                                       parallel::parse_shared_memory(shared_memory));
    world_ = std::move(opened.communicator);
    backend = std::move(opened.describe);
    if (world_->size() > 1) {
      parallel::require_same_on_all_ranks(*world_, "the program", program_digest(),
                                          "start the same build on every node");
    }
  }
  return *world_;
}

parallel::Communicator& Program::world(const configs::RunConfig& config) {
  const configs::ParallelConfig& p = config.parallel();
  const char* const shared = !p.has_shared_memory() ? "AUTO" : p.shared_memory() ? "ON" : "OFF";
  return world(p.timeout_s(), configs::ParallelConfig::Backend_Name(p.backend()), shared);
}

std::unique_ptr<parallel::Communicator> Program::plain_world() {
  return session->world(std::chrono::seconds(600), parallel::SharedMemoryUse::kOff);
}

int cores_of_a_rank(int local_size) {
  const char* const said = std::getenv("OMP_NUM_THREADS");
  if (said != nullptr && std::atoi(said) > 0) return std::atoi(said);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / local_size);
}

CLI::Option* add_checkpoint_option(CLI::App& command, std::string& checkpoint) {
  return command
      .add_option("--checkpoint", checkpoint, "Checkpoint folder, or a run folder (its latest)")
      ->type_name("CHECKPOINT");
}

void add_backend_option(CLI::App& command, std::string& backend) {
  command
      .add_option("--backend", backend,
                  "MPI: CPUs; NCCL: a GPU for every rank; AUTO: NCCL where every rank has a GPU")
      ->capture_default_str()
      ->check(CLI::IsMember({"AUTO", "MPI", "NCCL"}));
}

void ConfigArguments::add_to(CLI::App& command, bool required) {
  command
      .add_option("--config", files,
                  "Text-format RunConfig files; a later one overrides an earlier one")
      ->required(required)
      ->type_name("FILE");
  command
      .add_option("--set", overrides,
                  "Override of one field, e.g. model.layers=15; may be repeated")
      ->type_name("FIELD=VALUE")
      ->allow_extra_args(false);
}

}  // namespace dagpam::launch
