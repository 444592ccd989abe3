// llm.c's token files. The header's 1024 bytes are mostly zeros: the input is its first 12 bytes,
// then the tokens.
#include "tests/data/scratch_folder.h"
#include "tests/fuzz/dataset_fuzz.h"

namespace dagpam::fuzz {

using data::packed;

std::vector<Seed> seeds() {
  return {{packed(20240520, 1, 3, uint16_t{5}, uint16_t{6}, uint16_t{7}), true},
          {packed(20240801, 7, 2, uint32_t{5}, uint32_t{6}), true},
          {packed(20240520, 1, 3, uint16_t{5}, uint16_t{6}, uint16_t{100}), false},
          {packed(20240520, 1, -1), false},
          {packed(20240520, 1, INT32_MAX), false},
          {packed(20240520, 7, 0), false},
          {packed(20240801, 7, 1 << 30, uint32_t{5}), false},
          {packed(0, 0, 0), false},
          {"ab", false},
          {"", false}};
}

bool run(std::string_view input) {
  constexpr size_t kNumbers = 12, kHeader = 1024;
  std::string bytes(input);
  if (bytes.size() > kNumbers) bytes.insert(kNumbers, kHeader - kNumbers, '\0');
  scratch().put("a.bin", bytes);
  return use_dataset(scratch() / "a.bin", scratch() / "a.bin");
}

}  // namespace dagpam::fuzz
