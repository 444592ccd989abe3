// A target as a plain program: REGRESSIONS-FOLDER MUTATIONS. Seeds and regression files first, then
// that many mutations of them, always the same ones. A crash is the failure.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <sstream>

#include "tests/fuzz/target.h"

namespace dagpam::fuzz {
namespace {

namespace fs = std::filesystem;
using Random = std::mt19937_64;

// Regression files are hexadecimal text, so that they can be read and reviewed.
std::string read_hex(const fs::path& path) {
  std::ifstream file(path);
  std::string digits;
  std::copy_if(std::istreambuf_iterator<char>(file), {}, std::back_inserter(digits),
               [](unsigned char c) { return std::isxdigit(c) != 0; });
  std::string bytes;
  for (size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

void change_a_number(Random& random, std::string& bytes) {
  constexpr uint64_t kExtremes[] = {0,
                                    1,
                                    0x7f,
                                    0xff,
                                    0x7fff'ffff,
                                    0xffff'ffff,
                                    uint64_t{1} << 62,
                                    uint64_t{1} << 63,
                                    ~uint64_t{0},
                                    ~uint64_t{0} >> 1};
  const uint64_t value = kExtremes[random() % std::size(kExtremes)];
  const size_t width = size_t{1} << random() % 4;
  if (bytes.size() < width) return;
  const size_t at = random() % (bytes.size() - width + 1);
  for (size_t i = 0; i < width; ++i) bytes[at + i] = static_cast<char>(value >> (8 * i));
}

void mutate_once(Random& random, const std::vector<std::string>& all, std::string& bytes) {
  const size_t at = bytes.empty() ? 0 : random() % bytes.size();
  const size_t length = bytes.empty() ? 0 : std::min(bytes.size() - at, size_t{1} << random() % 6);
  switch (random() % 6) {
    case 0:
      if (!bytes.empty()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
      break;
    case 1:
      bytes.erase(at, length);
      break;
    case 2:
      bytes.insert(at, bytes.substr(at, length));
      break;
    case 3:
      change_a_number(random, bytes);
      break;
    case 4:
      bytes.insert(at, 1, static_cast<char>(random()));
      break;
    default: {  // the end of another one
      const std::string& other = all[random() % all.size()];
      bytes = bytes.substr(0, at) + other.substr(other.empty() ? 0 : random() % other.size());
    }
  }
}

int replay(const fs::path& regressions, int64_t mutations) {
  std::vector<std::string> all;
  int64_t good = 0;
  for (const Seed& seed : seeds()) {
    require(run(seed.bytes) == seed.is_good, std::string("seed ") + std::to_string(all.size()) +
                                                 (seed.is_good ? " is taken" : " is refused"));
    good += seed.is_good;
    all.push_back(seed.bytes);
  }
  require(good > 0, "a target has a seed that is taken");
  const size_t own = all.size();
  if (fs::exists(regressions)) {
    for (const auto& entry : fs::directory_iterator(regressions)) {
      std::printf("%s\n", entry.path().filename().c_str());
      std::fflush(stdout);
      all.push_back(read_hex(entry.path()));
      require(!all.back().empty(), "a regression file holds hexadecimal digits");
      run(all.back());
    }
  }
  Random random(1);
  int64_t taken = 0;
  for (int64_t i = 0; i < mutations; ++i) {
    std::string bytes = all[random() % all.size()];
    for (uint64_t n = 1 + random() % 4; n > 0; --n) mutate_once(random, all, bytes);
    taken += run(bytes);
  }
  std::printf("%zu seeds, %zu regressions, %lld mutations of which %lld were taken\n", own,
              all.size() - own, static_cast<long long>(mutations), static_cast<long long>(taken));
  return 0;
}

}  // namespace
}  // namespace dagpam::fuzz

int main(int count, char** arguments) {
  if (count != 3) {
    std::fprintf(stderr, "usage: %s REGRESSIONS-FOLDER MUTATIONS\n", arguments[0]);
    return 2;
  }
  return dagpam::fuzz::replay(arguments[1], std::stoll(arguments[2]));
}
