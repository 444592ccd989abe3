// `dagpam bench`: the numbers in docs/performance.md.
#include "configs/run_config.h"
#include "launch/bench/bench_checkpoint.h"
#include "launch/bench/bench_comm.h"
#include "launch/bench/bench_data.h"
#include "launch/bench/bench_step.h"
#include "launch/program.h"
#include "parallel/communicator.h"

namespace dagpam::launch {

namespace {

struct Arguments {
  ConfigArguments config;
  StepBenchOptions step;
  DataBenchOptions data;
  CommBenchOptions comm;
  std::string backend = "AUTO";  // of comm
  CheckpointBenchOptions checkpoint;
};

constexpr const char* kPeerHelp =
    "Shell command that times the same work in turn with us (see tests/peers, --interactive)";

void add_step(CLI::App& bench, const std::shared_ptr<Arguments>& arguments, Program& program) {
  CLI::App* command =
      bench.add_subcommand("step", "Time of a training step: forward, backward, clip, update");
  StepBenchOptions& options = arguments->step;
  arguments->config.add_to(*command);
  command->add_option("--steps", options.steps, "Steps a round")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--rounds", options.rounds, "Rounds")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--peer", options.peer, kPeerHelp)->type_name("COMMAND");
  command
      ->add_option(
          "--against", options.against,
          "Take turns with this config under an override, e.g. parallel.overlap=false; may "
          "be repeated")
      ->type_name("FIELD=VALUE")
      ->allow_extra_args(false)
      ->excludes("--peer");
  command
      ->add_option("--log-folder", options.log_folder,
                   "What logging costs: steps that log as a run does every log.every steps, into "
                   "this folder, beside steps that do not")
      ->type_name("FOLDER")
      ->excludes("--peer")
      ->excludes("--against");
  command->add_flag("--json", options.json, "One JSON object a row");
  command->callback([arguments, &program] {
    StepBenchOptions& step = arguments->step;
    step.config = configs::load(arguments->config.files, arguments->config.overrides);
    bench_step(step, program.world(step.config.parallel().timeout_s(), backend_of(step.config)));
  });
}

void add_data(CLI::App& bench, const std::shared_ptr<Arguments>& arguments) {
  CLI::App* command = bench.add_subcommand("data", "Speed of the loader and of a tokenizer");
  DataBenchOptions& options = arguments->data;
  command->add_option("--data", options.prefix, "Data set for the loader")->type_name("PREFIX");
  command->add_option("--context", options.context, "Tokens a sequence")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--batch", options.batch, "Sequences a batch")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--text", options.text, "Text for the tokenizer")->type_name("FILE");
  command->add_option("--tokenizer", options.tokenizer, "As in `data prepare`")->type_name("T");
  command->add_option("--peer", options.peer, kPeerHelp)->type_name("COMMAND");
  command->add_option("--rounds", options.rounds, "Rounds")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", options.json, "One JSON object a row");
  command->callback([arguments] { bench_data(arguments->data); });
}

void add_comm(CLI::App& bench, const std::shared_ptr<Arguments>& arguments, Program& program) {
  CLI::App* command = bench.add_subcommand(
      "comm",
      "Time and bandwidth of every collective, each element checked; exit 1 if one is wrong");
  CommBenchOptions& options = arguments->comm;
  command->add_option("--ops", options.ops, "Collectives, e.g. all_reduce,sendrecv; default: all")
      ->delimiter(',')
      ->type_name("OP,...");
  const CLI::Range bytes(int64_t{1}, int64_t{1} << 40);
  command->add_option("--min-bytes", options.min_bytes, "Smallest size, bytes")
      ->capture_default_str()
      ->check(bytes);
  command->add_option("--max-bytes", options.max_bytes, "Largest size, bytes")
      ->capture_default_str()
      ->check(bytes);
  command->add_option("--factor", options.factor, "From one size to the next")
      ->capture_default_str()
      ->check(CLI::Range(2, 1024));
  command->add_option("--iterations", options.iterations, "Calls that are timed")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", options.json, "One JSON object a row");
  add_backend_option(*command, arguments->backend);
  command->callback([arguments, &program] {
    if (!bench_comm(arguments->comm, program.world(600, arguments->backend)))
      program.exit_code = ExitCode::kDifferent;
  });
}

void add_checkpoint(CLI::App& bench, const std::shared_ptr<Arguments>& arguments) {
  CLI::App* command = bench.add_subcommand(
      "checkpoint", "Speed of saving and loading, beside plain writes and reads on the same disk");
  CheckpointBenchOptions& options = arguments->checkpoint;
  command->add_option("--dir", options.folder, "Folder on the disk to measure")
      ->capture_default_str()
      ->type_name("FOLDER");
  command->add_option("--mib", options.mib, "Size of the tensors, MiB")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  command->add_option("--rounds", options.rounds, "Rounds")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", options.json, "One JSON object a row");
  command->callback([arguments] { bench_checkpoint(arguments->checkpoint); });
}

}  // namespace

void add_bench_command(CLI::App& app, Program& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* bench = app.add_subcommand("bench", "Measure speed, beside a peer in the same run");
  bench->require_subcommand(1);
  add_step(*bench, arguments, program);
  add_data(*bench, arguments);
  add_comm(*bench, arguments, program);
  add_checkpoint(*bench, arguments);
}

}  // namespace dagpam::launch
