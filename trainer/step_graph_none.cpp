// step_graph.h in a build without CUDA.
#include "trainer/step_graph.h"

namespace dagpam::trainer {

std::unique_ptr<StepGraph> make_step_graph(at::Device) { return nullptr; }

}  // namespace dagpam::trainer
