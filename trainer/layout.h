// trainer/layout.h: a way to lay a model out over ranks, as users write it: dp2, tp4, dp2tp2,
// dp2tp2sp, dp4zero.
#pragma once

#include <string>

namespace dagpam::trainer {

struct Layout {
  int dp = 1, tp = 1;     // copies of the model, ranks that share one
  bool sequence = false;  // sequence parallelism
  bool zero = false;      // optimizer state shared out over the copies (ZeRO stage 1)
  int ranks() const { return dp * tp; }
};

// Throws ConfigError for other words, or where `ranks` are too few.
Layout parse_layout(const std::string& text, int ranks);

std::string to_string(const Layout& layout);  // e.g. "dp2tp2spzero"

}  // namespace dagpam::trainer
