// launch/main.cpp: the program `dagpam`.
#include <malloc.h>

#include <CLI/Error.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <thread>

#include "launch/program.h"
#include "launch/version.h"
#include "parallel/backend.h"
#include "parallel/comm_error.h"
#include "parallel/consistency.h"
#include "parallel/launcher.h"
#include "parallel/session.h"
#include "trainer/telemetry/log.h"

namespace dagpam::launch {

namespace {

// One line, whatever a library put into its message: LibTorch appends a backtrace after the first
// line.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

struct Failure {
  ExitCode code;
  std::string message;
};

// The system's, and LibTorch's, which has no type of its own on the CPU.
bool is_out_of_memory(const std::exception& error) {
  return dynamic_cast<const std::bad_alloc*>(&error) != nullptr ||
         std::strstr(error.what(), "allocate memory") != nullptr;
}

Failure failure_of(const std::exception& error) {
  if (const auto* own = dynamic_cast<const Error*>(&error)) return {own->code(), own->what()};
  if (dynamic_cast<const parallel::CommError*>(&error)) return {ExitCode::kHang, error.what()};
  if (dynamic_cast<const parallel::RanksDiffer*>(&error)) {
    return {ExitCode::kBadConfig, error.what()};
  }
  if (dynamic_cast<const parallel::LaunchMismatch*>(&error)) {
    return {ExitCode::kBadConfig, error.what()};
  }
  if (dynamic_cast<const parallel::BackendUnavailable*>(&error)) {
    return {ExitCode::kBadConfig, error.what()};
  }
  if (is_out_of_memory(error)) {
    return {ExitCode::kBadConfig, "out of memory: " + first_line(error.what()) +
                                      ": take a smaller train.micro_batch or more ranks"};
  }
  return {ExitCode::kBadConfig, std::string("internal error: ") + error.what()};
}

// Most errors happen on every rank alike; rank 0 speaks first and ends the job, and the others only
// speak if it did not. Before MPI is open, mpirun takes a second to end them.
int end_job(Program& program, const Failure& failure) {
  const int rank = program.session ? program.session->rank() : parallel::launched_rank(std::getenv);
  const auto patience = std::chrono::milliseconds(program.session ? 500 : 3000);
  if (rank > 0) std::this_thread::sleep_for(patience);
  trainer::log_error("dagpam: " + first_line(failure.message));
  trainer::flush_log();
  const int code = static_cast<int>(failure.code);
  if (program.session && program.session->size() > 1 && failure.code != ExitCode::kInterrupted) {
    program.session->abort(code);
  }
  return code;
}

// A step frees what the next one allocates again: memory that went back to the kernel in between
// would be fetched and cleared page by page (7 % of a small model's step).
void keep_freed_memory() {
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
}

int run(int argc, char** argv) {
  Program program;
  CLI::App app{"dagpam: trains language models with generalized probabilistic attention", "dagpam"};
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  add_data_command(app, program);
  add_train_command(app, program);
  add_eval_command(app, program);
  add_generate_command(app, program);
  add_translate_command(app, program);
  add_check_command(app, program);
  add_ckpt_command(app, program);
  add_analyze_command(app, program);
  add_report_command(app, program);
  add_bench_command(app, program);
  add_doctor_command(app, program);
  add_plan_command(app, program);
  add_export_command(app, program);
  add_import_command(app, program);
  add_logits_command(app, program);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return end_job(program, {ExitCode::kBadConfig, first_line(error.what()) + ": see --help"});
  } catch (const std::exception& error) {
    return end_job(program, failure_of(error));
  }
  return static_cast<int>(program.exit_code);
}

}  // namespace

}  // namespace dagpam::launch

int main(int argc, char** argv) {
  signal(SIGXFSZ,
         SIG_IGN);  // a file that grows past the limit is an error of that write, not our end
  dagpam::launch::keep_freed_memory();
  return dagpam::launch::run(argc, argv);
}
