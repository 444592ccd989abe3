#include "trainer/saved_config.h"

#include "configs/parse.h"
#include "trainer/checkpoint/manifest.h"

namespace dagpam::trainer {

configs::RunConfig saved_config(const checkpoint::Checkpoint& saved) {
  configs::RunConfig config;
  configs::Written written;
  configs::parse_text(saved.read_copy(checkpoint::kConfigName),
                      {saved.path() + "/" + checkpoint::kConfigName, ""}, config, written);
  return config;
}

}  // namespace dagpam::trainer
