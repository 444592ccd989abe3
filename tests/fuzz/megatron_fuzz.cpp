// Megatron's indexed files: one byte n, n bytes of .bin, the rest .idx.
#include "data/indexed_writer.h"
#include "tests/data/scratch_folder.h"
#include "tests/fuzz/dataset_fuzz.h"

namespace dagpam::fuzz {
namespace {

using data::packed;

std::string joined(const std::string& bin, const std::string& idx) {
  return static_cast<char>(bin.size()) + bin + idx;
}

Seed written(data::TokenWidth width, const std::vector<std::vector<int32_t>>& documents) {
  data::IndexedWriter writer(scratch() / "seed", width);
  for (const auto& document : documents) writer.add_document(document);
  writer.finish();
  return {
      joined(data::read_bytes(scratch() / "seed.bin"), data::read_bytes(scratch() / "seed.idx")),
      true};
}

}  // namespace

std::vector<Seed> seeds() {
  const std::string head =
      std::string("MMIDIDX\0\0", 9) + packed(uint64_t{1}) + std::string(1, '\x08');
  const std::string bin(12, '\1');
  return {written(data::TokenWidth::kU16, {{1, 2}, {3}, {4, 5, 6}}),
          written(data::TokenWidth::kI32, {{7, 8, 9}, {10, 11}}),
          {joined(bin, head + packed(uint64_t{0}, uint64_t{1}, int64_t{0})), false},
          {joined(bin, head + packed(uint64_t{1} << 63, uint64_t{1} << 63)), false},
          {joined("", head + packed(uint64_t{0}, uint64_t{1}, int64_t{0})), true},  // no tokens
          {joined(bin, head + packed(uint64_t{1}, uint64_t{2}, int32_t{-1}, int64_t{0}, int64_t{0},
                                     int64_t{1})),
           false},
          {joined(bin, head.substr(0, 20)), false},
          {"", false}};
}

bool run(std::string_view input) {
  const size_t size =
      input.empty() ? 0 : std::min<size_t>(static_cast<unsigned char>(input[0]), input.size() - 1);
  scratch().put("a.train.bin", input.substr(input.empty() ? 0 : 1, size));
  scratch().put("a.train.idx", input.substr(input.empty() ? 0 : 1 + size));
  return use_dataset(scratch() / "a.train", scratch() / "a");
}

}  // namespace dagpam::fuzz
