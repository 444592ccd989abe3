#include "trainer/telemetry/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "configs/errors.h"
#include "trainer/telemetry/background_writer.h"

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

std::string to_object(const StepMetrics& m) {
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
  return line.dump();
}

std::string to_object(const EvaluationMetrics& m) {
  nlohmann::ordered_json line{
      {"step", m.step}, {"split", m.split}, {"nll", number(m.nll)}, {"ppl", number(m.ppl)}};
  return line.dump();
}

Scalars to_scalars(const StepMetrics& m) {
  Scalars scalars{{"train/loss", m.loss},
                  {"train/lr", m.lr},
                  {"train/grad_norm", m.grad_norm},
                  {"train/skipped", static_cast<double>(m.skipped)},
                  {"speed/tokens_per_s", m.tokens_per_s},
                  {"speed/step_ms", m.step_ms},
                  {"speed/memory_gib", m.memory_gib}};
  if (m.mfu) scalars.emplace_back("speed/mfu", *m.mfu);
  return scalars;
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

constexpr size_t kLines = 0, kEvents = 1;  // places among the files

}  // namespace

struct MetricsWriter::State {
  std::string events;  // path of the event file, or ""
  std::unique_ptr<BackgroundWriter> files;
};

MetricsWriter::MetricsWriter(const std::string& path, const std::optional<EventFolder>& folder)
    : state_(std::make_unique<State>()) {
  std::vector<std::string> paths{path};
  if (folder) {
    std::error_code error;
    std::filesystem::create_directories(folder->path, error);
    if (error) throw IoError(folder->path + ": cannot make the folder: " + error.message());
    paths.push_back(next_event_file(folder->path, static_cast<int64_t>(seconds_now())));
    state_->events = paths.back();
  }
  state_->files = std::make_unique<BackgroundWriter>(paths);
  if (!folder) return;
  const double now = seconds_now();
  state_->files->add(kEvents, event_file_head(now, folder->from + 1) +
                                  text_event(now, folder->from + 1, "config", folder->config));
}

MetricsWriter::~MetricsWriter() = default;

void MetricsWriter::add(const StepMetrics& metrics) {
  add_line(to_object(metrics));
  add_scalars(metrics.step, to_scalars(metrics));
}

void MetricsWriter::add(const EvaluationMetrics& metrics) {
  add_line(to_object(metrics));
  add_scalars(metrics.step,
              {{metrics.split + "/nll", metrics.nll}, {metrics.split + "/ppl", metrics.ppl}});
}

void MetricsWriter::add_line(const std::string& object) {
  state_->files->add(kLines, object + "\n");
}

void MetricsWriter::add_scalars(int64_t step, const Scalars& scalars) {
  if (state_->events.empty()) return;
  state_->files->add(kEvents, scalar_event(seconds_now(), step, scalars));
}

void MetricsWriter::flush() { state_->files->flush(); }

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
