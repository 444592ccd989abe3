// A target as a libFuzzer program. `--write-seeds=FOLDER` as the only argument writes its seeds
// there and ends.
#include <cstdint>
#include <fstream>

#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
  constexpr std::string_view kOption = "--write-seeds=";
  const std::string_view argument = *count == 2 ? (*arguments)[1] : "";
  if (!argument.starts_with(kOption)) return 0;
  int number = 0;
  for (const dagpam::fuzz::Seed& seed : dagpam::fuzz::seeds()) {
    std::ofstream file(
        std::string(argument.substr(kOption.size())) + "/seed-" + std::to_string(number++),
        std::ios::binary);
    file << seed.bytes;
    dagpam::fuzz::require(file.good(), "seeds can be written");
  }
  std::exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  dagpam::fuzz::run({reinterpret_cast<const char*>(data), size});
  return 0;
}
