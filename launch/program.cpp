#include "launch/program.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "data/input_file.h"
#include "data/stream_digest.h"
#include "parallel/communicator.h"
#include "parallel/consistency.h"
#include "parallel/session.h"
#include "trainer/telemetry/log.h"

namespace dagpam::launch {

namespace {

// Of the file that this process runs.
std::string own_digest() {
  data::StreamDigest digest;
  digest.update(data::InputFile("/proc/self/exe"));
  return digest.hex();
}

}  // namespace

Program::Program() = default;
Program::~Program() = default;

parallel::Communicator& Program::world(int64_t timeout_s) {
  if (!session) {
    session = std::make_unique<parallel::Session>();
    if (std::getenv("OMP_NUM_THREADS") == nullptr) {
      const auto cores = static_cast<int>(std::thread::hardware_concurrency());
      at::set_num_threads(std::max(1, cores / session->local_size()));
    }
    trainer::open_log(session->rank(), session->size());
  }
  if (!world_) {
    world_ = session->world(std::chrono::seconds(timeout_s));
    if (world_->size() > 1) {
      parallel::require_same_on_all_ranks(*world_, "the program", own_digest(),
                                          "start the same build on every node");
    }
  }
  return *world_;
}

void ConfigArguments::add_to(CLI::App& command) {
  command
      .add_option("--config", files,
                  "Text-format RunConfig files; a later one overrides an earlier one")
      ->required()
      ->type_name("FILE");
  command
      .add_option("--set", overrides,
                  "Override of one field, e.g. model.layers=15; may be repeated")
      ->type_name("FIELD=VALUE")
      ->allow_extra_args(false);
}

}  // namespace dagpam::launch
