#include "trainer/start_record.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "configs/errors.h"
#include "trainer/checkpoint/this_start.h"

namespace dagpam::trainer {

namespace {

using nlohmann::ordered_json;

constexpr size_t kStartsInVain = 3;

std::vector<ordered_json> read_lines(const std::string& path) {
  std::vector<ordered_json> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    auto object = ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (object.is_object()) lines.push_back(std::move(object));
  }
  return lines;
}

int64_t whole(const ordered_json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_number_integer() ? found->get<int64_t>() : -1;
}

}  // namespace

int64_t reached_step(const std::string& metrics) {
  int64_t reached = 0;
  for (const ordered_json& line : read_lines(metrics)) {
    reached = std::max(reached, whole(line, "step"));
  }
  return reached;
}

StartRecord::StartRecord(const std::string& run_dir, int64_t from, int64_t reached)
    : path_(run_dir + "/starts.jsonl") {
  std::vector<ordered_json> in_vain, lines = read_lines(path_);
  // A start drops the lines of metrics that it will write again, so `reached` can be less than an
  // earlier start had got to.
  for (const ordered_json& line : lines) {
    if (whole(line, "from") == from) reached = std::max(reached, whole(line, "reached"));
  }
  for (ordered_json& line : lines) {
    if (whole(line, "from") == from && whole(line, "reached") == reached) {
      in_vain.push_back(std::move(line));
    } else {
      in_vain.clear();
    }
  }
  if (in_vain.size() >= kStartsInVain) {
    throw CheckpointError(
        path_ + ": the last " + std::to_string(in_vain.size()) + " starts went on from step " +
        std::to_string(from) + " and none got past step " + std::to_string(reached) +
        ": look for the cause in logs/, then remove this file, or resume from an earlier step");
  }
  in_vain.push_back({{"from", from},
                     {"reached", reached},
                     {"host", checkpoint::host_name()},
                     {"pid", ::getpid()},
                     {"time", checkpoint::utc_now()}});
  std::ofstream out(path_, std::ios::trunc);
  for (const ordered_json& line : in_vain) out << line.dump() << '\n';
  out.close();
  if (!out) throw IoError(path_ + ": cannot write: " + std::strerror(errno));
}

void StartRecord::ended_cleanly() noexcept { std::remove(path_.c_str()); }

}  // namespace dagpam::trainer
