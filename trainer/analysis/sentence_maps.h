// trainer/analysis/sentence_maps.h: the attention maps of one sentence, for pictures.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "configs/run.pb.h"
#include "data/tokenizer.h"
#include "trainer/model/transformer_lm.h"

namespace dagpam::trainer {

// The most numbers that a file of maps holds: some 40 MB of text.
inline constexpr int64_t kMostMapNumbers = 4'000'000;

// One object: sentence, attention, layers, heads, tokens (their texts), and maps: for each layer
// (from 1) and head (from 0; of DIFF one a pair) an object of layer, head, weights, plus and minus
// (rows of queries, columns of keys; null in kinds of one map, 0 where a query does not see a key;
// six digits). `model` is whole on this rank. Throws ConfigError where the sentence is empty,
// longer than the model's context or its maps are more than kMostMapNumbers; what the tokenizer
// throws.
nlohmann::ordered_json sentence_maps(const TransformerLm& model,
                                     const configs::AttentionConfig& attention,
                                     const data::Tokenizer& tokenizer, const std::string& sentence);

}  // namespace dagpam::trainer
