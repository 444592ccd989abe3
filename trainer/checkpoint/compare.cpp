#include "trainer/checkpoint/compare.h"

#include <algorithm>
#include <cstring>

#include "trainer/checkpoint/blocks.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/safetensors.h"

namespace dagpam::checkpoint {
namespace {

using configs::Manifest;

Shape index_of(int64_t element, const Shape& shape) {
  Shape index(shape.size());
  for (size_t d = shape.size(); d-- > 0;) {
    index[d] = element % shape[d];
    element /= shape[d];
  }
  return index;
}

// Walks both along the first dimension, as many rows at once as fill a block.
class TensorComparison {
 public:
  TensorComparison(const Checkpoint& a, const Checkpoint& b, const Manifest::Tensor& tensor)
      : a_(a),
        b_(b),
        tensor_(tensor),
        shape_(shape_of(tensor)),
        width_(dtype_bytes(tensor.dtype())) {}

  // "" where all bits are equal.
  std::string run() {
    const int64_t all = elements(shape_).value_or(0);
    if (all == 0) return "";
    if (shape_.empty()) {
      compare_part({}, 1, 0);
    } else {
      const int64_t row = all / shape_[0];
      const int64_t rows = std::max<int64_t>(1, kBlockBytes / (row * width_));
      for (int64_t first = 0; first < shape_[0]; first += rows) {
        const int64_t size = std::min(rows, shape_[0] - first);
        compare_part({0, first, size}, size * row, first * row);
      }
    }
    if (different_ == 0) return "";
    return std::to_string(different_) + " of " + std::to_string(all) +
           " elements differ, the first at " + to_text(index_of(first_, shape_));
  }

 private:
  void compare_part(const TensorRange& range, int64_t count, int64_t begin) {
    const size_t bytes = static_cast<size_t>(count * width_);
    left_.resize(bytes);
    right_.resize(bytes);
    a_.read_tensor(tensor_.name(), range, left_);
    b_.read_tensor(tensor_.name(), range, right_);
    if (std::memcmp(left_.data(), right_.data(), bytes) == 0) return;
    const size_t width = static_cast<size_t>(width_);
    for (int64_t i = 0; i < count; ++i) {
      const size_t at = static_cast<size_t>(i) * width;
      if (std::memcmp(&left_[at], &right_[at], width) == 0) continue;
      if (different_ == 0) first_ = begin + i;
      ++different_;
    }
  }

  const Checkpoint& a_;
  const Checkpoint& b_;
  const Manifest::Tensor& tensor_;
  const Shape shape_;
  const int64_t width_;
  std::vector<std::byte> left_, right_;
  int64_t different_ = 0, first_ = 0;
};

}  // namespace

Comparison compare(const Checkpoint& a, const Checkpoint& b, Compared compared) {
  Comparison out;
  const auto counts = [compared](const Manifest::Tensor& tensor) {
    return compared == Compared::kAll || is_weight(tensor.name());
  };
  for (const Manifest::Tensor& tensor : a.manifest().tensors()) {
    if (!counts(tensor)) continue;
    ++out.tensors;
    const Manifest::Tensor* other = b.find(tensor.name());
    std::string what;
    if (other == nullptr) {
      what = "only in " + a.path();
    } else if (tensor.dtype() != other->dtype() || shape_of(tensor) != shape_of(*other)) {
      what = tensor.dtype() + " " + to_text(shape_of(tensor)) + " against " + other->dtype() + " " +
             to_text(shape_of(*other));
    } else {
      what = TensorComparison(a, b, tensor).run();
    }
    if (!what.empty()) out.differences.push_back({tensor.name(), what});
  }
  for (const Manifest::Tensor& tensor : b.manifest().tensors()) {
    if (counts(tensor) && a.find(tensor.name()) == nullptr) {
      out.differences.push_back({tensor.name(), "only in " + b.path()});
    }
  }
  return out;
}

}  // namespace dagpam::checkpoint
