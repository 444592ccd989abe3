// trainer/evaluation/beam_search.h: translations by beam search.
//
// Each step extends the `beam` likeliest unfinished texts of a source by every token; of the 2 beam
// best extensions those that end and stand among the first `beam` are finished, and the `beam` best
// of the others go on. A source's translation is the finished text of the highest score
//   log p(text, end) / ((5 + tokens) / 6)^length_penalty     (Wu et al. 2016, arXiv 1609.08144)
// It is done when its length limit is reached, or `beam` texts are finished and the best that goes
// on, if it ended here for nothing, would not be better than the best of them. Beam 1 stops at the
// first end: greedy decoding.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/model/encoder_decoder.h"

namespace dagpam::trainer {

struct BeamOptions {
  int64_t beam = 4;
  double length_penalty = 0.6;
  double max_ratio = 3;  // most tokens of a translation: max_ratio x those of the source, + 10
  int32_t begin = 0, end = 0;       // ids that a target starts after and ends with
  std::vector<int32_t> never = {};  // ids that are no text: padding, begin, unknown
};

struct Translation {
  std::vector<int32_t> tokens;  // without begin and end
  double log_probability = 0;   // nats, of the tokens and, where `ended`, of the end
  double score = 0;             // what was compared
  bool ended = false;           // false: cut at the length limit
};

// Each source with its end token; none is empty or longer than the model's context. One rank
// computes; run it without gradients. A source's translation does not depend on the others, but for
// rounding.
std::vector<Translation> translate(const EncoderDecoder& model,
                                   const std::vector<std::vector<int32_t>>& sources,
                                   const BeamOptions& options);

}  // namespace dagpam::trainer
