#include "parallel/comm_checks.h"

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <chrono>
#include <string>
#include <vector>

namespace dagpam::parallel {

std::string comm_failure(const CommCall& call, const std::string& expression,
                         const std::string& text) {
  return c10::str("rank ", call.rank, " of '", call.group, "' (", call.size, " ranks), call ",
                  call.sequence, ", ", call.collective, ": ", expression, ": ", text);
}

std::string overdue(std::chrono::milliseconds timeout) {
  const double seconds = std::chrono::duration<double>(timeout).count();
  return c10::str("not complete after the timeout of ", seconds,
                  " s: a peer has died, is stuck, or made other calls than this rank");
}

const char* name_of(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return "sum";
    case ReduceOp::kMax:
      return "max";
    case ReduceOp::kMin:
      return "min";
  }
  TORCH_CHECK(false, "no such reduction: ", static_cast<int>(op));
}

std::string describe(const at::Tensor& t) { return c10::str(t.scalar_type(), " ", t.sizes()); }

void check_tensor(const char* collective, const at::Tensor& t, at::DeviceType device) {
  TORCH_CHECK(t.defined(), collective, " of an undefined tensor");
  TORCH_CHECK(t.device().type() == device, collective, " of a tensor on ", t.device(),
              ": this call carries tensors on ", device, " only");
  TORCH_CHECK(t.is_contiguous(), collective, " of a tensor that is not contiguous: ", t.sizes(),
              " of strides ", t.strides());
  switch (t.scalar_type()) {
    case at::kFloat:
    case at::kDouble:
    case at::kLong:
    case at::kInt:
    case at::kByte:
    case at::kBFloat16:
      return;
    case at::kHalf:
      TORCH_CHECK(device != at::kCPU, collective, " of Half: it is carried between GPUs only");
      return;
    default:
      TORCH_CHECK(false, collective, " of ", t.scalar_type(),
                  ": only Float, Double, BFloat16, Long, Int and Byte are carried");
  }
}

void check_reduced(const char* collective, const at::Tensor& t) {
  check_tensor(collective, t);
  TORCH_CHECK(t.scalar_type() != at::kBFloat16, collective,
              " of BFloat16: sums are formed in Float, convert it first");
}

void check_whole_and_part(const char* collective, const at::Tensor& whole, const at::Tensor& part,
                          int size, at::DeviceType device) {
  check_tensor(collective, whole, device);
  check_tensor(collective, part, device);
  TORCH_CHECK(whole.scalar_type() == part.scalar_type(), collective, " between ",
              whole.scalar_type(), " and ", part.scalar_type());
  std::vector<int64_t> expected = part.dim() == 0 ? std::vector<int64_t>{1} : part.sizes().vec();
  expected[0] *= size;
  TORCH_CHECK(whole.sizes() == c10::IntArrayRef(expected), collective, " over ", size,
              " ranks with a part of ", part.sizes(), " takes a whole of ",
              c10::IntArrayRef(expected), ", not ", whole.sizes());
}

void check_rank(const char* collective, int rank, int size) {
  TORCH_CHECK(rank >= 0 && rank < size, collective, ": rank ", rank, " is not in [0, ", size, ")");
}

void count_call(CommCounts::Op& op, const at::Tensor& t) {
  ++op.calls;
  op.bytes += static_cast<int64_t>(t.nbytes());
}

}  // namespace dagpam::parallel
