// `dagpam check`: does the parallel layout change the maths of this config?
#include <chrono>
#include <cstdio>

#include "configs/errors.h"
#include "configs/run_config.h"
#include "launch/program.h"
#include "parallel/communicator.h"
#include "trainer/layout_check.h"
#include "trainer/layout_fault.h"

namespace dagpam::launch {

namespace {

struct Arguments {
  ConfigArguments config;
  trainer::LayoutCheckOptions options;
  int threads = 0;  // ranks as threads of this process; 0: the ranks of this job
};

void print_row(const char* what, const trainer::Difference& worst) {
  std::printf("  %-10s worst %.3g of what is allowed (differs by %.3g", what, worst.ratio,
              worst.difference);
  if (worst.step > 0) std::printf(" at step %lld", static_cast<long long>(worst.step));
  if (!worst.parameter.empty()) std::printf(" in %s", worst.parameter.c_str());
  std::printf(")\n");
}

void print_result(const trainer::LayoutResult& result, int64_t steps) {
  std::printf("%s against one rank, %lld steps: %s\n", result.layout.c_str(),
              static_cast<long long>(steps),
              result.agrees() ? "agree" : ("DIFFER, first " + result.first).c_str());
  print_row("loss", result.loss);
  print_row("gradients", result.gradient);
  print_row("parameters", result.parameter);
  for (const std::string& name : result.silent) {
    std::printf("  gradient zero by symmetry, parameter not compared: %s\n", name.c_str());
  }
}

// Alike on all ranks of this process.
std::vector<trainer::LayoutResult> check_on_threads(const Arguments& arguments,
                                                    const configs::RunConfig& config,
                                                    parallel::Communicator& world) {
  if (world.size() > 1) {
    throw ConfigError(
        "--threads " + std::to_string(arguments.threads) + ": this job has " +
        std::to_string(world.size()) +
        " ranks of its own: leave --threads out, or start the program without mpirun");
  }
  if (!world.device().is_cpu()) {
    throw ConfigError("--threads " + std::to_string(arguments.threads) +
                      ": ranks as threads compute on CPUs: set parallel.backend to MPI");
  }
  std::vector<trainer::LayoutResult> results;
  parallel::run_ranks_as_threads(
      arguments.threads,
      [&](parallel::Communicator& ranks) {
        auto mine = trainer::check_layouts(config, arguments.options, ranks);
        if (ranks.rank() == 0) results = std::move(mine);
      },
      std::chrono::seconds(config.parallel().timeout_s()));
  return results;
}

void run(const Arguments& arguments, Program& program) {
  const auto config = configs::load(arguments.config.files, arguments.config.overrides);
  configs::validate(config);
  parallel::Communicator& world = program.world(config);
  const auto results = arguments.threads > 0
                           ? check_on_threads(arguments, config, world)
                           : trainer::check_layouts(config, arguments.options, world);
  for (const trainer::LayoutResult& result : results) {
    if (!result.agrees()) program.exit_code = ExitCode::kDifferent;
    if (world.rank() == 0) print_result(result, arguments.options.steps);
  }
}

}  // namespace

void add_check_command(CLI::App& app, Program& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "check",
      "Train a few steps under each layout and under one rank; exit 0 only if all agree, else 1");
  arguments->config.add_to(*command);
  command
      ->add_option("--layouts", arguments->options.layouts,
                   "Layouts, e.g. dp2,tp2,dp2tp2,dp2tp2sp; default: the config's own on all ranks")
      ->delimiter(',')
      ->type_name("dpNtpN[sp]");
  command->add_option("--steps", arguments->options.steps, "Steps to train")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--threads", arguments->threads,
                   "Ranks as threads of this one process, in place of mpirun")
      ->type_name("RANKS")
      ->check(CLI::Range(2, 64));
  std::string faults;
  for (const trainer::LayoutFault& fault : trainer::layout_faults()) {
    faults += (faults.empty() ? "" : "; ") + fault.name + ": " + fault.what;
  }
  command
      ->add_option("--inject", arguments->options.inject,
                   "Make an error on purpose on the last rank, to see the check find it. " + faults)
      ->type_name("FAULT");
  command->callback([arguments, &program] { run(*arguments, program); });
}

}  // namespace dagpam::launch
