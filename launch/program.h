// launch/program.h: what the subcommands share.
//
// Each subcommand is one file; it declares its options and a callback. Callbacks throw;
// launch/main.cpp alone catches, says what went wrong with the rank, and ends the job on every
// rank.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <memory>
#include <string>
#include <vector>

#include "configs/errors.h"

namespace dagpam::configs {
class RunConfig;
}  // namespace dagpam::configs
namespace dagpam::parallel {
class Session;
class Communicator;
}  // namespace dagpam::parallel

namespace dagpam::launch {

struct Program {
  Program();
  ~Program();

  ExitCode exit_code = ExitCode::kDone;

  // Opens MPI on the first call, sets the number of threads (OMP_NUM_THREADS, else the node's cores
  // shared out over its ranks) and gives the group of all ranks, which all run the same build, on
  // `backend`: AUTO, MPI or NCCL, as parallel.backend has them; shared_memory: AUTO, ON or OFF.
  parallel::Communicator& world(int64_t timeout_s = 600, const std::string& backend = "AUTO",
                                const std::string& shared_memory = "AUTO");
  // As the config says.
  parallel::Communicator& world(const configs::RunConfig& config);

  // MPI and the number of threads alone, once. world() calls it.
  parallel::Session& open_session();

  // After world(): another group of all ranks, over MPI alone, for benchmarks.
  std::unique_ptr<parallel::Communicator> plain_world();

  std::unique_ptr<parallel::Session> session;
  std::unique_ptr<parallel::Communicator> world_;
  std::string backend;  // of world(), in words, with why
};

void add_data_command(CLI::App& app, Program& program);
void add_train_command(CLI::App& app, Program& program);
void add_eval_command(CLI::App& app, Program& program);
void add_generate_command(CLI::App& app, Program& program);
void add_translate_command(CLI::App& app, Program& program);
void add_check_command(CLI::App& app, Program& program);
void add_ckpt_command(CLI::App& app, Program& program);
void add_analyze_command(CLI::App& app, Program& program);
void add_report_command(CLI::App& app, Program& program);
void add_bench_command(CLI::App& app, Program& program);
void add_doctor_command(CLI::App& app, Program& program);
void add_plan_command(CLI::App& app, Program& program);
void add_export_command(CLI::App& app, Program& program);
void add_import_command(CLI::App& app, Program& program);
void add_logits_command(CLI::App& app, Program& program);

// Of the file that this process runs: the same on every rank of a job.
std::string program_digest();

// Of its node's, shared by `local_size` ranks: OMP_NUM_THREADS, else an equal share, at least 1.
int cores_of_a_rank(int local_size);

// --checkpoint, as commands have it that read a model; to be made required where it is.
CLI::Option* add_checkpoint_option(CLI::App& command, std::string& checkpoint);

// --backend, where no config says it.
void add_backend_option(CLI::App& command, std::string& backend);

// --config F... and --set a.b=v..., as several subcommands have them.
struct ConfigArguments {
  std::vector<std::string> files, overrides;
  void add_to(CLI::App& command, bool required = true);
};

}  // namespace dagpam::launch
