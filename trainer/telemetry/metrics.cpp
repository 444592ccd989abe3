#include "trainer/telemetry/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>
#include <utility>

#include "configs/errors.h"
#include "trainer/telemetry/log.h"

namespace dagpam::trainer {

namespace {

std::string reason() { return std::strerror(errno); }

void sync_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  const bool good = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL);
  const std::string why = good ? "" : reason();
  if (fd >= 0) ::close(fd);
  if (!good) throw IoError(path + ": cannot flush: " + why);
}

// A number that JSON cannot hold is written as null.
nlohmann::ordered_json number(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

std::string to_line(const StepMetrics& m) {
  nlohmann::ordered_json line{{"step", m.step},
                              {"tokens", m.tokens},
                              {"loss", number(m.loss)},
                              {"lr", number(m.lr)},
                              {"grad_norm", number(m.grad_norm)},
                              {"tokens_per_s", number(m.tokens_per_s)},
                              {"step_ms", number(m.step_ms)},
                              {"mfu", m.mfu ? number(*m.mfu) : nlohmann::ordered_json(nullptr)},
                              {"memory_gib", number(m.memory_gib)},
                              {"skipped", m.skipped}};
  return line.dump() + "\n";
}

std::string to_line(const EvaluationMetrics& m) {
  nlohmann::ordered_json line{
      {"step", m.step}, {"split", m.split}, {"nll", number(m.nll)}, {"ppl", number(m.ppl)}};
  return line.dump() + "\n";
}

}  // namespace

struct MetricsWriter::State {
  std::string path;
  std::FILE* file = nullptr;
  std::mutex mutex;
  std::condition_variable changed;
  std::string queued;
  std::string error;  // of the first write that failed
  bool stopping = false, writing = false;
  std::thread thread;

  void run() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return stopping || !queued.empty(); });
      if (queued.empty()) return;
      const std::string batch = std::exchange(queued, {});
      writing = true;
      lock.unlock();
      const bool good = std::fwrite(batch.data(), 1, batch.size(), file) == batch.size() &&
                        std::fflush(file) == 0;
      const std::string why = good ? "" : reason();
      lock.lock();
      writing = false;
      if (!good && error.empty()) error = path + ": cannot write: " + why;
      changed.notify_all();
    }
  }

  void add(const std::string& line) {
    const std::lock_guard lock(mutex);
    queued += line;
    changed.notify_all();
  }
};

MetricsWriter::MetricsWriter(const std::string& path) : state_(std::make_unique<State>()) {
  state_->path = path;
  state_->file = std::fopen(path.c_str(), "ab");
  if (!state_->file) throw IoError(path + ": cannot open for writing: " + reason());
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

MetricsWriter::~MetricsWriter() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    state_->changed.notify_all();
  }
  state_->thread.join();
  if (!state_->error.empty()) log_error(state_->error);
  std::fclose(state_->file);
}

void MetricsWriter::add(const StepMetrics& metrics) { state_->add(to_line(metrics)); }
void MetricsWriter::add(const EvaluationMetrics& metrics) { state_->add(to_line(metrics)); }

void MetricsWriter::add_line(const std::string& object) { state_->add(object + "\n"); }

void MetricsWriter::flush() {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [&] { return state_->queued.empty() && !state_->writing; });
  if (state_->error.empty() && fsync(fileno(state_->file)) != 0 && errno != EINVAL) {
    state_->error = state_->path + ": cannot flush: " + reason();
  }
  if (!state_->error.empty()) throw IoError(state_->error);
}

std::set<std::string> evaluated_splits(const std::string& path, int64_t step) {
  std::set<std::string> splits;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object() || object.value("step", int64_t{-1}) != step) continue;
    if (object.contains("split") && object["split"].is_string()) {
      splits.insert(object["split"].get<std::string>());
    }
  }
  return splits;
}

void truncate_metrics(const std::string& path, int64_t step) {
  std::ifstream in(path);
  if (!in) return;
  std::ostringstream kept;
  std::string line;
  while (std::getline(in, line)) {
    const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    // A line cut short by a crash is dropped too.
    if (!object.is_object() || !object.contains("step") || !object["step"].is_number_integer())
      continue;
    if (object["step"].get<int64_t>() <= step) kept << line << '\n';
  }
  const std::string temporary = path + ".tmp";
  std::ofstream out(temporary, std::ios::trunc);
  out << kept.str();
  out.close();
  if (!out) throw IoError(temporary + ": cannot write: " + reason());
  sync_file(temporary);  // or a power cut after the rename could leave neither
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error) throw IoError(path + ": cannot replace: " + error.message());
}

}  // namespace dagpam::trainer
