// `dagpam report`: one HTML page that compares runs.
#include <cstdio>
#include <filesystem>

#include "data/atomic_file.h"
#include "launch/program.h"
#include "launch/report/page.h"
#include "launch/version.h"
#include "trainer/checkpoint/this_start.h"

namespace dagpam::launch {

namespace {

struct Arguments {
  std::vector<std::string> folders;
  std::string out = "report.html", title;
  size_t points = 1200;
};

void run(const Arguments& arguments) {
  std::error_code ignored;
  if (std::filesystem::is_directory(arguments.out, ignored)) {
    throw ConfigError("--out " + arguments.out + ": is a folder: name a file in it");
  }
  const auto runs = read_runs(arguments.folders);
  const std::string count = std::to_string(runs.size());
  const std::string title = !arguments.title.empty() ? arguments.title
                            : runs.size() == 1       ? "Run " + runs[0].label
                                                     : count + " runs compared";
  const std::string page =
      report_page(runs, {.title = title,
                         .made = "Made at " + checkpoint::utc_now() + " by dagpam " + kVersion,
                         .points = arguments.points});
  data::AtomicFile out(arguments.out);
  out.write(page.data(), page.size());
  out.commit();
  std::printf("%s\n", arguments.out.c_str());
}

}  // namespace

void add_report_command(CLI::App& app, Program&) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "report", "One HTML page that compares runs: settings, results, interactive curves");
  command->add_option("runs", arguments->folders, "Run folders, finished or not")
      ->required()
      ->type_name("RUN");
  command->add_option("--out", arguments->out, "The page; a file of that name is replaced")
      ->capture_default_str()
      ->type_name("FILE");
  command->add_option("--title", arguments->title, "Its title; default: how many runs");
  command
      ->add_option("--points", arguments->points,
                   "Points a curve at most; longer ones are condensed to means and ranges")
      ->capture_default_str()
      ->check(CLI::Range(10, 100'000));
  command->callback([arguments] { run(*arguments); });
}

}  // namespace dagpam::launch
