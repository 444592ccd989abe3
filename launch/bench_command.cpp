// `dagpam bench`: the numbers in docs/performance.md.
#include "configs/run_config.h"
#include "launch/bench/bench_attention.h"
#include "launch/bench/bench_checkpoint.h"
#include "launch/bench/bench_comm.h"
#include "launch/bench/bench_data.h"
#include "launch/bench/bench_decode.h"
#include "launch/bench/bench_scaling.h"
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
  std::string backend = "AUTO", shared_memory = "AUTO";  // of comm
  bool against_mpi = false;
  ScalingBenchOptions scaling;
  CheckpointBenchOptions checkpoint;
  AttentionBenchOptions attention;
  DecodeBenchOptions decode;
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
    bench_step(step, program.world(step.config));
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
  command
      ->add_option("--rounds", options.rounds,
                   "Rounds of so many calls, in turn with --against-mpi")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--shared-memory", arguments->shared_memory,
                   "ON: collectives of ranks of one node go through it; OFF: they are MPI's; AUTO: "
                   "where it can be had")
      ->capture_default_str()
      ->check(CLI::IsMember({"AUTO", "ON", "OFF"}));
  command->add_flag("--against-mpi", arguments->against_mpi,
                    "Take turns with the collectives of MPI alone");
  add_backend_option(*command, arguments->backend);
  command->callback([arguments, &program] {
    parallel::Communicator& world =
        program.world(600, arguments->backend, arguments->shared_memory);
    const auto plain = arguments->against_mpi ? program.plain_world() : nullptr;
    if (!bench_comm(arguments->comm, world, plain.get())) program.exit_code = ExitCode::kDifferent;
  });
}

void add_scaling(CLI::App& bench, const std::shared_ptr<Arguments>& arguments, Program& program) {
  CLI::App* command = bench.add_subcommand(
      "scaling", "Steps of all ranks of a node beside ranks that train by themselves");
  ScalingBenchOptions& options = arguments->scaling;
  arguments->config.add_to(*command);
  command->add_option("--steps", options.steps, "Steps a round")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--rounds", options.rounds, "Rounds")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", options.json, "One JSON object a row");
  command->callback([arguments, &program] {
    ScalingBenchOptions& scaling = arguments->scaling;
    scaling.config = configs::load(arguments->config.files, arguments->config.overrides);
    parallel::Communicator& world = program.world(scaling.config);
    const auto plain = program.plain_world();
    bench_scaling(scaling, world, plain.get());
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

void add_attention(CLI::App& bench, const std::shared_ptr<Arguments>& arguments, Program& program) {
  CLI::App* command = bench.add_subcommand(
      "attention",
      "Attention, forward and all gradients, beside LibTorch's own; exit 1 if answers differ");
  AttentionBenchOptions& options = arguments->attention;
  command->add_option("--device", options.device, "cpu or cuda")
      ->capture_default_str()
      ->check(CLI::IsMember({"cpu", "cuda"}));
  command->add_option("--kind", options.kind, "As attention.kind")
      ->capture_default_str()
      ->check(CLI::IsMember(attention_kind_names()));
  command
      ->add_option("--type", options.type,
                   "float32 or float64, on cuda also bfloat16 or float16; default: float32, on "
                   "cuda bfloat16")
      ->check(CLI::IsMember({"float32", "float64", "bfloat16", "float16"}));
  const CLI::Range positive(int64_t{1}, int64_t{1} << 20);
  command
      ->add_option("--lengths", options.lengths,
                   "Tokens a sequence; default: 128 to 1024, on cuda 512 to 8192")
      ->delimiter(',')
      ->check(positive);
  command->add_option("--width", options.widths, "Widths of a head; default: 32,64, on cuda 64,128")
      ->delimiter(',')
      ->check(positive);
  command->add_option("--heads", options.heads, "Default: 256 / width, on cuda 2048 / width")
      ->check(positive);
  command
      ->add_option("--batch", options.batch,
                   "Sequences; default: 2048 tokens in all, on cuda 16384")
      ->check(positive);
  command->add_flag("--full", options.full, "Every query sees every key; default: causal");
  command->add_flag("--deterministic", options.deterministic,
                    "Sums of backward in a fixed order, as train.deterministic has them");
  command->add_option("--rounds", options.rounds, "Rounds")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", options.json, "One JSON object a row");
  command->callback([arguments, &program] {
    if (!bench_attention(arguments->attention)) program.exit_code = ExitCode::kDifferent;
  });
}

void add_decode(CLI::App& bench, const std::shared_ptr<Arguments>& arguments) {
  CLI::App* command = bench.add_subcommand(
      "decode", "Time of a token in generation, beside reading the bytes that it needs");
  DecodeBenchOptions& options = arguments->decode;
  arguments->config.add_to(*command);
  command->add_option("--batch", options.batches, "Sequences at once")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--past", options.past, "Tokens before")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--tokens", options.tokens, "Tokens a round")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--rounds", options.rounds, "Rounds")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", options.json, "One JSON object a row");
  command->callback([arguments] {
    arguments->decode.config = configs::load(arguments->config.files, arguments->config.overrides);
    bench_decode(arguments->decode);
  });
}

}  // namespace

void add_bench_command(CLI::App& app, Program& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* bench = app.add_subcommand("bench", "Measure speed, beside a peer in the same run");
  bench->require_subcommand(1);
  add_step(*bench, arguments, program);
  add_data(*bench, arguments);
  add_comm(*bench, arguments, program);
  add_scaling(*bench, arguments, program);
  add_checkpoint(*bench, arguments);
  add_attention(*bench, arguments, program);
  add_decode(*bench, arguments);
}

}  // namespace dagpam::launch
