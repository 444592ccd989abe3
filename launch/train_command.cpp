// `dagpam train`: the main job, alone or under mpirun / srun.
#include <cstdio>

#include "configs/run_config.h"
#include "launch/program.h"
#include "parallel/communicator.h"
#include "trainer/run_plan.h"
#include "trainer/trainer.h"

namespace dagpam::launch {

namespace {

struct Arguments {
  ConfigArguments config;
  trainer::TrainRequest request;
  bool dry_run = false;
};

void run(Arguments& arguments, Program& program) {
  trainer::TrainRequest& request = arguments.request;
  request.config = configs::load(arguments.config.files, arguments.config.overrides);
  configs::validate(request.config);
  if (!request.resume.empty() && !request.init_from.empty()) {
    throw ConfigError("--init-from " + request.init_from +
                      ": starts a new run and does not go with --resume: give one of the two");
  }
  parallel::Communicator& world = program.world(request.config);
  request.backend = program.backend;
  if (arguments.dry_run) {
    trainer::RunPlan plan = trainer::plan_run(request.config, world.size());
    plan.on_gpu = world.device().is_cuda();
    if (world.rank() == 0) {
      std::printf("%sbackend    %s\n\n%s", trainer::describe(plan).c_str(), program.backend.c_str(),
                  configs::print(plan.config).c_str());
    }
    return;
  }
  if (request.run_dir.empty())
    throw ConfigError("--run-dir: missing: say where the run is to be kept");
  trainer::train(request, world);
}

}  // namespace

void add_train_command(CLI::App& app, Program& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("train", "Train a model");
  arguments->config.add_to(*command);
  trainer::TrainRequest& request = arguments->request;
  command->add_option("--run-dir", request.run_dir, "Folder of the run")->type_name("DIR");
  command
      ->add_option("--resume", request.resume,
                   "Go on: auto (from the start where nothing is saved), latest, latest-valid "
                   "(the newest healthy one), or a step")
      ->type_name("auto|latest|latest-valid|STEP");
  command
      ->add_option("--init-from", request.init_from,
                   "Take the weights of this checkpoint, and only them")
      ->type_name("CHECKPOINT");
  command
      ->add_option("--allow-change", request.allow_change,
                   "Field that may differ from the checkpoint's config; may be repeated")
      ->type_name("FIELD")
      ->allow_extra_args(false);
  command
      ->add_option("--stop-after", request.stop_after,
                   "Save and end after this step; the schedule stays")
      ->type_name("STEP")
      ->check(CLI::PositiveNumber);
  command->add_option("--max-minutes", request.max_minutes, "Save and end after this many minutes")
      ->type_name("MINUTES")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--profile", request.profile_steps,
                   "Trace this many steps into profile/ in the run folder")
      ->type_name("STEPS")
      ->check(CLI::PositiveNumber);
  command->add_flag(
      "--dry-run", arguments->dry_run,
      "Print shapes, memory per rank, grid, tokens and operations a step; change nothing");
  command->callback([arguments, &program] { run(*arguments, program); });
}

}  // namespace dagpam::launch
