// `dagpam plan`: what a run will take of a cluster, before it is started.
#include <cstdio>
#include <cstdlib>

#include "configs/cluster.h"
#include "configs/run_config.h"
#include "launch/bench/measure_cluster.h"
#include "launch/program.h"
#include "parallel/communicator.h"
#include "parallel/launcher.h"
#include "trainer/planning/assumed_run.h"
#include "trainer/planning/report.h"

namespace dagpam::launch {

namespace {

namespace planning = trainer::planning;

struct Arguments {
  ConfigArguments config;
  std::string cluster, measure;
  std::vector<int> ranks;
  MeasureOptions measuring;
  bool json = false;
};

planning::Report report_of(const Arguments& arguments) {
  const configs::RunConfig config =
      configs::load(arguments.config.files, arguments.config.overrides);
  planning::Report report;
  report.cluster = configs::load_cluster(arguments.cluster);
  const trainer::RunPlan plan = planning::assumed_run(config);
  const std::vector<int> all = arguments.ranks.empty()
                                   ? std::vector<int>{static_cast<int>(
                                         report.cluster.nodes() * report.cluster.ranks_per_node())}
                                   : arguments.ranks;
  report.ranks = all.front();
  const planning::Layout own = planning::own_layout(plan, config, report.ranks);
  report.own_refused = planning::refusal(plan, own);
  report.plan = plan;
  if (report.own_refused.empty()) {
    report.plan = planning::with_layout(plan, own);
    report.own = planning::predict(report.plan, report.cluster);
  }
  report.search = planning::search(plan, report.ranks, report.cluster);
  if (!report.own && report.search.ranked.empty()) {
    throw ConfigError("--ranks " + std::to_string(report.ranks) + ": the config's own layout: " +
                      report.own_refused + "; and of " + std::to_string(report.search.tried) +
                      " others none fits: change the ranks or train.global_batch");
  }
  if (!report.own) {
    report.plan = planning::with_layout(plan, report.search.ranked.front().layout);
  }
  if (all.size() > 1) {
    report.strong = planning::scale(plan, all, false, report.cluster);
    report.weak = planning::scale(plan, all, true, report.cluster);
  }
  return report;
}

void run(Arguments& arguments, Program& program) {
  if (!arguments.measure.empty()) {
    if (!arguments.cluster.empty() || !arguments.config.files.empty()) {
      throw ConfigError(
          "--measure " + arguments.measure +
          ": writes a cluster file and plans nothing: leave --config and --cluster out");
    }
    arguments.measuring.out = arguments.measure;
    measure_cluster(arguments.measuring, program.world(600, "MPI"));
    return;
  }
  if (arguments.config.files.empty()) {
    throw ConfigError("--config: missing: name the config of the run to plan");
  }
  if (arguments.cluster.empty()) {
    throw ConfigError("--cluster: missing: name a file, as configs/clusters/h100_8x.textproto");
  }
  const auto claim = parallel::launcher_claim(std::getenv);
  if (claim && claim->processes > 1) {
    throw ConfigError("plan: " + claim->variable + " says " + std::to_string(claim->processes) +
                      " ranks, but one plans for all: start it without mpirun or srun");
  }
  const planning::Report report = report_of(arguments);
  std::fputs((arguments.json ? to_json(report) + "\n" : to_text(report)).c_str(), stdout);
}

}  // namespace

void add_plan_command(CLI::App& app, Program& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "plan", "What a run will take of a cluster: memory, time, price, the best layouts");
  arguments->config.add_to(*command, /*required=*/false);
  command->add_option("--cluster", arguments->cluster, "Text-format ClusterConfig file")
      ->type_name("FILE");
  command
      ->add_option("--ranks", arguments->ranks,
                   "Ranks to plan for; several: how the run scales over them. Default: all of the "
                   "cluster")
      ->delimiter(',')
      ->type_name("N,...")
      ->check(CLI::Range(1, 1 << 20));
  command
      ->add_option("--measure", arguments->measure,
                   "Measure this machine's rates instead and write them as a cluster file; under "
                   "mpirun with the links between its ranks")
      ->type_name("OUT");
  command
      ->add_option("--rounds", arguments->measuring.rounds,
                   "With --measure: rounds, of which the fastest counts")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command
      ->add_option("--disk", arguments->measuring.folder,
                   "With --measure: folder on the disk that checkpoints go to")
      ->capture_default_str()
      ->type_name("FOLDER");
  command->add_flag("--json", arguments->json, "One JSON object");
  command->callback([arguments, &program] { run(*arguments, program); });
}

}  // namespace dagpam::launch
