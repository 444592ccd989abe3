// trainer/saved_config.h: the resolved config of a checkpoint.
#pragma once

#include "configs/run.pb.h"
#include "trainer/checkpoint/reader.h"

namespace dagpam::trainer {

// As it was saved. Throws ConfigError where this program does not understand it.
configs::RunConfig saved_config(const checkpoint::Checkpoint& saved);

}  // namespace dagpam::trainer
