#include "attention/notes.h"

#include <mutex>
#include <set>
#include <utility>

namespace dagpam::attention {
namespace {

struct Notes {
  std::mutex mutex;
  std::set<std::string> said;
  std::vector<std::string> waiting;
};

Notes& notes() {
  static Notes all;
  return all;
}

}  // namespace

void note(const std::string& line) {
  Notes& all = notes();
  const std::lock_guard<std::mutex> lock(all.mutex);
  if (all.said.insert(line).second) all.waiting.push_back(line);
}

std::vector<std::string> take_notes() {
  Notes& all = notes();
  const std::lock_guard<std::mutex> lock(all.mutex);
  return std::exchange(all.waiting, {});
}

}  // namespace dagpam::attention
