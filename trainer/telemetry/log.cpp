#include "trainer/telemetry/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <mutex>
#include <vector>

#include "configs/errors.h"

namespace dagpam::trainer {

namespace {

struct Log {
  std::mutex mutex;  // ranks may be threads of one process
  std::shared_ptr<spdlog::logger> logger;
  bool terminal = false;     // rank 0 on a terminal
  bool on_progress = false;  // the cursor stands behind a progress line
};

Log& instance() {
  static Log log;
  static std::once_flag made;
  std::call_once(made, [] {
    log.logger = std::make_shared<spdlog::logger>(
        "dagpam", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    log.logger->set_pattern("%v");
  });
  return log;
}

void clear_progress(Log& log) {
  if (!log.on_progress) return;
  std::fputs("\r\033[K", stderr);
  log.on_progress = false;
}

void write(spdlog::level::level_enum level, const std::string& line) {
  Log& log = instance();
  const std::lock_guard lock(log.mutex);
  clear_progress(log);
  log.logger->log(level, "{}", line);
}

}  // namespace

void open_log(int rank, int size, const std::string& to_file) {
  Log& log = instance();
  const std::lock_guard lock(log.mutex);
  auto console = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  console->set_pattern(size > 1 && rank > 0 ? fmt::format("[rank {}] %v", rank) : "%v");
  console->set_level(rank == 0 ? spdlog::level::info : spdlog::level::warn);
  std::vector<spdlog::sink_ptr> sinks{console};
  if (!to_file.empty()) {
    try {
      auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(to_file);
      file->set_pattern("%Y-%m-%dT%H:%M:%S.%e %L %v");
      sinks.push_back(file);
    } catch (const spdlog::spdlog_ex& error) {
      throw IoError(to_file + ": cannot open the log: " + error.what());
    }
  }
  log.logger = std::make_shared<spdlog::logger>("dagpam", sinks.begin(), sinks.end());
  log.logger->flush_on(spdlog::level::warn);
  log.terminal = rank == 0 && isatty(STDERR_FILENO) != 0;
}

void log_info(const std::string& line) { write(spdlog::level::info, line); }
void log_warning(const std::string& line) { write(spdlog::level::warn, line); }
void log_error(const std::string& line) { write(spdlog::level::err, line); }

void flush_log() {
  Log& log = instance();
  const std::lock_guard lock(log.mutex);
  log.logger->flush();
}

void show_progress(const std::string& line) {
  Log& log = instance();
  const std::lock_guard lock(log.mutex);
  if (!log.terminal) return;
  std::fprintf(stderr, "\r\033[K%s", line.c_str());
  std::fflush(stderr);
  log.on_progress = true;
}

}  // namespace dagpam::trainer
