// trainer/checkpoint/boxes.h: integer arithmetic on boxes of a tensor's index space.
//
// A box is given by its first index and its extent in each dimension; row-major order; sizes in
// elements. Nothing here overflows for the boxes and shapes of a checked manifest (see elements()).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace dagpam::checkpoint {

using Shape = std::vector<int64_t>;

inline constexpr size_t kMaxDims = 8;
inline constexpr size_t kMaxPieces = 4096;  // of one tensor

struct Box {
  Shape start, shape;
  bool operator==(const Box&) const = default;
};

// Product of the extents; nullopt where one is negative or the product passes 2^63 - 1 (also where
// a later zero would hide that).
std::optional<int64_t> elements(const Shape& shape);

// Rows [offset, offset + size) of dimension cut_dim; the whole where cut_dim is -1. nullopt where
// that is not inside `global`.
std::optional<Box> slice_of(const Shape& global, int cut_dim, int64_t offset, int64_t size);

bool is_inside(const Box& box, const Shape& global);
std::optional<Box> intersection(const Box& a, const Box& b);  // nullopt where empty

// "" where the boxes hold every index of `global` exactly once, else what is wrong. Boxes are
// inside `global` and at most kMaxPieces; empty ones do not count.
std::string cover_problem(const Shape& global, std::vector<Box> boxes);

// Calls run(offset in a, offset in b, count) for the longest stretches of `common` that are
// contiguous in both; common is not empty and lies in a and in b.
void for_each_run(const Box& common, const Box& a, const Box& b,
                  const std::function<void(int64_t, int64_t, int64_t)>& run);

std::string to_text(const Shape& shape);  // "[3, 4]"
std::string to_text(const Box& box);      // "[0, 4) x [2, 3)"; "scalar"

}  // namespace dagpam::checkpoint
