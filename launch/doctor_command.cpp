// `dagpam doctor`: what is wrong with this machine, or with the job that mpirun or srun would
// start, before a run finds out.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "configs/run_config.h"
#include "launch/doctor/before_mpi.h"
#include "launch/doctor/judge.h"
#include "launch/doctor/report.h"
#include "launch/doctor/system_limits.h"
#include "launch/program.h"
#include "parallel/backend.h"
#include "parallel/comm_error.h"
#include "parallel/communicator.h"
#include "parallel/launcher.h"
#include "parallel/session.h"
#include "parallel/watchdog.h"
#include "trainer/memory_plan.h"
#include "trainer/parameter_counts.h"
#include "trainer/run_plan.h"

namespace dagpam::launch {

namespace {

struct Arguments {
  ConfigArguments config;
  std::string run_dir, hostfile, backend = "AUTO";
  double seconds = 1;
  double least_gb_s = 0;
  int64_t write_mib = 64, timeout_s = 60;
  bool json = false, strict = false;
};

// A stage that never ends is a finding too, of the rank that is in it.
parallel::Watchdog::Options tell_and_end(int64_t timeout_s) {
  return {[timeout_s](const parallel::Watchdog::Expired& expired) {
            const int rank = parallel::launched_rank(std::getenv);
            const Finding finding{
                Level::kError, "ranks.unreachable",
                "rank " + std::to_string(rank) + " has waited " + std::to_string(timeout_s) +
                    " s in the stage '" + expired.section + "'",
                "look for firewalls between the nodes, name the network that they share "
                "(OMPI_MCA_btl_tcp_if_include, NCCL_SOCKET_IFNAME), see NCCL_DEBUG=INFO",
                ExitCode::kHang};
            std::fprintf(stderr, "%s\n", to_line(finding).c_str());
            std::_Exit(static_cast<int>(ExitCode::kHang));
          },
          std::chrono::milliseconds(200)};
}

// With a config: what its run will want of memory and disk.
void read_config(const Arguments& arguments, const std::vector<Surroundings>& ranks, Needs& needs,
                 FolderWishes& wishes) {
  configs::RunConfig config = configs::load(arguments.config.files, arguments.config.overrides);
  configs::validate(config);
  needs.backend = configs::ParallelConfig::Backend_Name(config.parallel().backend());
  const trainer::RunPlan plan = trainer::plan_run(config, static_cast<int>(ranks.size()));
  const trainer::MemoryPlan memory = trainer::plan_memory(plan);
  const bool on_gpus =
      needs.backend == "NCCL" ||
      (needs.backend == "AUTO" && std::all_of(ranks.begin(), ranks.end(), [](const auto& rank) {
         return rank.gpus >= rank.local_size;
       }));
  // On GPUs the host holds the copies for saves alone.
  needs.rank_memory = memory.snapshot + (on_gpus ? 0 : memory.total());
  // Weights and two moments in float32, of the newest ones and the one that is being written.
  const auto numbers = static_cast<double>(trainer::count_parameters(plan.config).all);
  const auto kept = static_cast<double>(std::max<int64_t>(plan.config.checkpoint().keep(), 1) + 1);
  wishes.needed_bytes = 12 * numbers * kept;
}

// "what: mend", as launcher.h words it.
Finding singletons(const std::string& text) {
  const size_t colon = std::min(text.find(": "), text.size() - 2);
  return {Level::kError, "launch.singletons", text.substr(0, colon), text.substr(colon + 2)};
}

void append(Findings& all, const Findings& some) {
  all.insert(all.end(), some.begin(), some.end());
}

Findings judge_before_mpi(const Arguments& arguments) {
  Findings findings;
  const std::string unconnected = parallel::unconnected_launch(std::getenv);
  if (!unconnected.empty()) findings.push_back(singletons(unconnected));
  append(findings, judge_interfaces(std::getenv, network_interfaces()));
  if (!arguments.hostfile.empty()) {
    const auto claim = parallel::launcher_claim(std::getenv);
    append(findings,
           judge_hostfile(arguments.hostfile, claim ? claim->processes : 0, host_resolves));
  }
  return findings;
}

// The back end that the run would take, and a second of sums over it. `world` is over MPI alone.
void probe_links(const Arguments& arguments, const Needs& needs, parallel::Session& session,
                 parallel::Communicator& world, DoctorReport& report) {
  const double bytes = double{4 << 20};
  try {
    const auto opened = parallel::open_world(session, parallel::parse_backend(needs.backend),
                                             std::chrono::seconds(arguments.timeout_s));
    report.backend = opened.describe;
    report.reduce = probe_all_reduce(*opened.communicator, bytes, arguments.seconds);
  } catch (const parallel::BackendUnavailable&) {
    return;  // judge_gpus() has said so, for each node
  }
  if (!report.reduce.right) {
    report.findings.push_back(
        {Level::kError, "sums.wrong", "an all-reduce gave wrong sums",
         "leave nodes out until it is right: one has bad memory or a bad link",
         ExitCode::kCorruption});
  }
  if (arguments.least_gb_s > 0 && world.size() > 1 &&
      report.reduce.bus_gb_s < arguments.least_gb_s) {
    report.findings.push_back({Level::kError, "sums.slow",
                               "all-reduces reach " + std::to_string(report.reduce.bus_gb_s) +
                                   " GB/s on the bus, --least-gbs asks for " +
                                   std::to_string(arguments.least_gb_s),
                               "see NCCL_DEBUG=INFO for the network that NCCL chose, and dagpam "
                               "bench comm for every size"});
  }
}

void examine(const Arguments& arguments, Program& program, DoctorReport& report) {
  parallel::Watchdog watchdog(tell_and_end(arguments.timeout_s));
  const auto stage = [&](const char* name) {
    watchdog.enter(name, 0, std::chrono::seconds(arguments.timeout_s));
  };
  stage("opening MPI");
  parallel::Session& session = program.open_session();
  const auto world = session.world(std::chrono::seconds(arguments.timeout_s));
  const std::string mine = to_text(look_around(session, program_digest()));
  for (const std::string& text : world->all_gather_bytes(mine)) {
    report.ranks.push_back(surroundings_from_text(text));
  }
  Needs needs{arguments.backend, 0};
  FolderWishes wishes;
  wishes.write_bytes = arguments.write_mib << 20;
  if (!arguments.config.files.empty()) read_config(arguments, report.ranks, needs, wishes);
  append(report.findings, judge(report.ranks, needs));
  if (!arguments.run_dir.empty()) {
    stage("writing to the run folder");
    report.folder_asked = true;
    report.folder = probe_folder(arguments.run_dir, wishes, *world);
    append(report.findings, report.folder.findings);
    if (session.rank() == 0) append(report.findings, judge_lock(arguments.run_dir));
  }
  stage("reading clocks");
  report.clocks = probe_clocks(*world);
  if (session.rank() == 0) {
    std::vector<std::string> hosts;
    for (const Surroundings& rank : report.ranks) hosts.push_back(rank.host);
    append(report.findings, judge_clocks(report.clocks, hosts));
  }
  stage("all-reduce");
  probe_links(arguments, needs, session, *world, report);
}

void print(const Arguments& arguments, const DoctorReport& report) {
  const std::string text = arguments.json ? to_json_line(report, arguments.strict) + "\n"
                                          : to_text(report, arguments.strict);
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

void run(const Arguments& arguments, Program& program) {
  DoctorReport report;
  report.findings = judge_before_mpi(arguments);
  int rank = parallel::launched_rank(std::getenv);
  // Of these, ranks that cannot meet: each speaks for itself, and those that can say nothing more.
  if (report.findings.empty()) {
    try {
      examine(arguments, program, report);
      rank = program.session->rank();
    } catch (const parallel::LaunchMismatch& error) {
      report.findings.push_back(singletons(error.what()));
    } catch (const parallel::CommError& error) {
      report.findings.push_back({Level::kError, "ranks.unreachable", error.what(),
                                 "look for firewalls between the nodes, and name the network that "
                                 "they share: OMPI_MCA_btl_tcp_if_include, NCCL_SOCKET_IFNAME",
                                 ExitCode::kHang});
    }
  }
  if (rank == 0) print(arguments, report);
  program.exit_code = exit_code_of(report.findings, arguments.strict);
}

}  // namespace

void add_doctor_command(CLI::App& app, Program& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "doctor",
      "Say what is wrong with this machine or job, and how to mend it; start it as a run");
  arguments->config.add_to(*command, false);
  command->add_option("--run-dir", arguments->run_dir, "Folder of the run: its disk is tried too")
      ->type_name("DIR");
  command->add_option("--hostfile", arguments->hostfile, "mpirun's: names and slots are looked at")
      ->type_name("FILE");
  add_backend_option(*command, arguments->backend);
  command->add_option("--seconds", arguments->seconds, "How long all-reduces are timed")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 600.0));
  command
      ->add_option("--least-gbs", arguments->least_gb_s,
                   "Bus bandwidth of all-reduces, GB/s, below which the job is refused")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--write-mib", arguments->write_mib, "MiB that rank 0 writes to the run folder")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--timeout", arguments->timeout_s, "Seconds that each stage may take")
      ->capture_default_str()
      ->check(CLI::Range(1, 86400));
  command->add_flag("--strict", arguments->strict, "Warnings end with 2 too");
  command->add_flag("--json", arguments->json, "One JSON object");
  command->callback([arguments, &program] { run(*arguments, program); });
}

}  // namespace dagpam::launch
