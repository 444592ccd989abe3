#include "trainer/checkpoint/boxes.h"

#include <algorithm>
#include <numeric>
#include <set>

namespace dagpam::checkpoint {
namespace {

bool is_empty(const Box& box) {
  return std::any_of(box.shape.begin(), box.shape.end(), [](int64_t n) { return n == 0; });
}

int64_t volume(const Box& box) {
  return std::accumulate(box.shape.begin(), box.shape.end(), int64_t{1}, std::multiplies<>());
}

bool overlap(const Box& a, const Box& b) {
  for (size_t d = 0; d < a.start.size(); ++d) {
    if (a.start[d] >= b.start[d] + b.shape[d] || b.start[d] >= a.start[d] + a.shape[d])
      return false;
  }
  return true;
}

// Dimension in which the boxes start at the most places: sorted along it, few of them overlap.
size_t busiest_dim(const std::vector<Box>& boxes, size_t dims) {
  size_t best = 0;
  size_t most = 0;
  for (size_t d = 0; d < dims; ++d) {
    std::set<int64_t> starts;
    for (const Box& box : boxes) starts.insert(box.start[d]);
    if (starts.size() > most) {
      most = starts.size();
      best = d;
    }
  }
  return best;
}

// Offset of the first index of `inner` within `outer`.
int64_t offset_in(const Shape& index, const Box& outer) {
  int64_t offset = 0;
  for (size_t d = 0; d < index.size(); ++d) {
    offset = offset * outer.shape[d] + (index[d] - outer.start[d]);
  }
  return offset;
}

}  // namespace

std::optional<int64_t> elements(const Shape& shape) {
  int64_t product = 1;
  bool zero = false;
  for (const int64_t n : shape) {
    if (n < 0) return std::nullopt;
    if (n == 0) {
      zero = true;
    } else if (__builtin_mul_overflow(product, n, &product)) {
      return std::nullopt;
    }
  }
  return zero ? 0 : product;
}

std::optional<Box> slice_of(const Shape& global, int cut_dim, int64_t offset, int64_t size) {
  Box box{Shape(global.size(), 0), global};
  if (cut_dim == -1) return box;
  if (cut_dim < 0 || static_cast<size_t>(cut_dim) >= global.size()) return std::nullopt;
  box.start[static_cast<size_t>(cut_dim)] = offset;
  box.shape[static_cast<size_t>(cut_dim)] = size;
  if (!is_inside(box, global)) return std::nullopt;
  return box;
}

bool is_inside(const Box& box, const Shape& global) {
  if (box.start.size() != global.size() || box.shape.size() != global.size()) return false;
  for (size_t d = 0; d < global.size(); ++d) {
    if (box.start[d] < 0 || box.shape[d] < 0) return false;
    if (box.start[d] > global[d] || box.shape[d] > global[d] - box.start[d]) return false;
  }
  return true;
}

std::optional<Box> intersection(const Box& a, const Box& b) {
  Box out = a;
  for (size_t d = 0; d < a.start.size(); ++d) {
    out.start[d] = std::max(a.start[d], b.start[d]);
    const int64_t end = std::min(a.start[d] + a.shape[d], b.start[d] + b.shape[d]);
    out.shape[d] = end - out.start[d];
    if (out.shape[d] <= 0) return std::nullopt;
  }
  return out;
}

std::string cover_problem(const Shape& global, std::vector<Box> boxes) {
  std::erase_if(boxes, is_empty);
  const size_t sweep = busiest_dim(boxes, global.size());
  std::sort(boxes.begin(), boxes.end(), [&](const Box& a, const Box& b) {
    return !global.empty() && a.start[sweep] < b.start[sweep];
  });
  int64_t covered = 0;  // no overlap so far, so it cannot pass the volume of `global`
  for (size_t i = 0; i < boxes.size(); ++i) {
    for (size_t j = i + 1; j < boxes.size(); ++j) {
      if (!global.empty() &&
          boxes[j].start[sweep] >= boxes[i].start[sweep] + boxes[i].shape[sweep]) {
        break;
      }
      if (!overlap(boxes[i], boxes[j])) continue;
      return "elements " + to_text(*intersection(boxes[i], boxes[j])) + " stand in two pieces";
    }
    covered += volume(boxes[i]);
  }
  const int64_t all = elements(global).value_or(-1);
  if (covered == all) return "";
  return std::to_string(all - covered) + " of " + std::to_string(all) + " elements are in no piece";
}

void for_each_run(const Box& common, const Box& a, const Box& b,
                  const std::function<void(int64_t, int64_t, int64_t)>& run) {
  // Dimensions from `outer` on form one stretch: all after the first of them are whole in a and in
  // b.
  size_t outer = common.shape.size();
  int64_t length = 1;
  while (outer > 0) {
    --outer;
    length *= common.shape[outer];
    if (common.shape[outer] != a.shape[outer] || common.shape[outer] != b.shape[outer]) break;
  }
  Shape index = common.start;
  while (true) {
    run(offset_in(index, a), offset_in(index, b), length);
    size_t d = outer;
    while (d > 0) {
      --d;
      if (++index[d] < common.start[d] + common.shape[d]) break;
      index[d] = common.start[d];
      if (d == 0) return;
    }
    if (outer == 0) return;
  }
}

std::string to_text(const Shape& shape) {
  std::string out = "[";
  for (size_t d = 0; d < shape.size(); ++d) {
    out += (d == 0 ? "" : ", ") + std::to_string(shape[d]);
  }
  return out + "]";
}

std::string to_text(const Box& box) {
  if (box.start.empty()) return "scalar";
  std::string out;
  for (size_t d = 0; d < box.start.size(); ++d) {
    out += (d == 0 ? "[" : " x [") + std::to_string(box.start[d]) + ", " +
           std::to_string(box.start[d] + box.shape[d]) + ")";
  }
  return out;
}

}  // namespace dagpam::checkpoint
