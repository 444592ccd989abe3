#include <cuda.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>

#include "attention/hopper/cuda_check.h"
#include "attention/hopper/tensor_map.h"
#include "attention/hopper/tile.h"

namespace dagpam::attention::hopper {
namespace {

using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                            const cuuint64_t*, const cuuint32_t*, const cuuint32_t*,
                            CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                            CUtensorMapFloatOOBfill);

// The driver's function, asked of the runtime: the program links no driver library.
Encode driver_encode() {
  static const Encode found = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result{};
    DAGPAM_HOPPER_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                                         cudaEnableDefault, &result));
    if (result != cudaDriverEntryPointSuccess || function == nullptr) {
      throw std::runtime_error("the GPU's driver has no cuTensorMapEncodeTiled: it is too old");
    }
    Encode encode_tiled = nullptr;
    std::memcpy(&encode_tiled, &function, sizeof function);
    return encode_tiled;
  }();
  return found;
}

}  // namespace

TensorMap encode(const Operand& x, Type type, int box_rows) {
  static_assert(sizeof(TensorMap) == sizeof(CUtensorMap) &&
                alignof(TensorMap) >= alignof(CUtensorMap));
  const auto bytes = [](int64_t numbers) { return static_cast<cuuint64_t>(numbers) * 2; };
  const auto size = [](int64_t n) { return static_cast<cuuint64_t>(n); };
  // A dimension of one has no stride that matters, but it must be a valid one.
  const auto stride = [&](int64_t numbers, int64_t count) {
    return count > 1 ? bytes(numbers) : bytes(std::max<int64_t>(x.width, 8));
  };
  const cuuint64_t sizes[4] = {size(x.width), size(x.rows), size(x.heads), size(x.batch)};
  const cuuint64_t strides[3] = {stride(x.row_stride, x.rows), stride(x.head_stride, x.heads),
                                 stride(x.batch_stride, x.batch)};
  const cuuint32_t box[4] = {kColumnBlock, static_cast<cuuint32_t>(box_rows), 1, 1};
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  CUtensorMap map;
  const CUresult result = driver_encode()(
      &map,
      type == Type::kBf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 4,
      const_cast<void*>(x.data), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw std::runtime_error("cuTensorMapEncodeTiled: error " + std::to_string(result));
  }
  TensorMap out;
  std::memcpy(&out, &map, sizeof out);
  return out;
}

}  // namespace dagpam::attention::hopper
