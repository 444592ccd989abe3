// launch.h in a program without CUDA.
#include <stdexcept>

#include "attention/hopper/launch.h"

namespace dagpam::attention::hopper {

bool built() { return false; }
int architecture(int) { return 0; }

void forward(const Problem&, const ForwardResult&) {
  throw std::runtime_error("the fused attention kernel is not in a program built without CUDA");
}

void backward(const Problem&, const BackwardBuffers&) {
  throw std::runtime_error("the fused attention kernel is not in a program built without CUDA");
}

}  // namespace dagpam::attention::hopper
