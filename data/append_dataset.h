// data/append_dataset.h: tokens of one file behind those of another.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "data/file_dataset.h"
#include "data/indexed_writer.h"

namespace dagpam::data {

// Fills `ids` with the tokens from `offset` on, as many as `wide` has place for; `wide` is scratch.
// DataError as below.
void read_narrow(const FileDataset& dataset, int64_t offset, int64_t vocab,
                 std::vector<int64_t>& wide, std::vector<int32_t>& ids);

// Appends the tokens [begin, end) of `dataset`, with a document boundary in `writer` wherever one
// of its documents starts after `begin`; the last document stays open. `check`, called now and
// then, may throw. DataError where an id is negative or not below `vocab`.
void append_tokens(const FileDataset& dataset, int64_t begin, int64_t end, int64_t vocab,
                   IndexedWriter& writer, const std::function<void()>& check);

// All of them.
void append_dataset(const FileDataset& dataset, int64_t vocab, IndexedWriter& writer,
                    const std::function<void()>& check);

// The `vocab` of data whose vocabulary nobody knows: any id that an i32 holds.
inline constexpr int64_t kAnyId = int64_t{INT32_MAX} + 1;

}  // namespace dagpam::data
