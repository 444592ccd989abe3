#include "data/append_dataset.h"

#include <algorithm>
#include <span>
#include <vector>

namespace dagpam::data {
namespace {

constexpr int64_t kBlock = int64_t{1} << 16;  // tokens

}  // namespace

void read_narrow(const FileDataset& dataset, int64_t offset, int64_t vocab,
                 std::vector<int64_t>& wide, std::vector<int32_t>& ids) {
  dataset.read(offset, wide, vocab);
  ids.resize(wide.size());
  std::transform(wide.begin(), wide.end(), ids.begin(),
                 [](int64_t id) { return static_cast<int32_t>(id); });
}

void append_tokens(const FileDataset& dataset, int64_t begin, int64_t end, int64_t vocab,
                   IndexedWriter& writer, const std::function<void()>& check) {
  const std::span<const int64_t> starts = dataset.document_starts();
  auto start = std::upper_bound(starts.begin(), starts.end(), begin);
  std::vector<int64_t> wide;
  std::vector<int32_t> ids;
  for (int64_t at = begin; at < end;) {
    check();
    wide.resize(static_cast<size_t>(std::min(kBlock, end - at)));
    read_narrow(dataset, at, vocab, wide, ids);
    std::span<const int32_t> rest = ids;
    const int64_t block_end = at + std::ssize(ids);
    for (; start != starts.end() && *start < block_end; ++start) {
      writer.append(rest.first(static_cast<size_t>(*start - at)));
      writer.end_document();
      rest = rest.subspan(static_cast<size_t>(*start - at));
      at = *start;
    }
    writer.append(rest);
    at = block_end;
  }
}

void append_dataset(const FileDataset& dataset, int64_t vocab, IndexedWriter& writer,
                    const std::function<void()>& check) {
  append_tokens(dataset, 0, dataset.tokens(), vocab, writer, check);
}

}  // namespace dagpam::data
