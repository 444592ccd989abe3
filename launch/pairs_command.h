// launch/pairs_command.h: `dagpam data pairs`, and what `data info` says of its sets.
#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <string>

namespace dagpam::data {
struct PairSidecar;
}  // namespace dagpam::data

namespace dagpam::launch {

void add_pairs_command(CLI::App& data);

// Vocabulary, special ids, and a line a split.
void print_pairs(const std::string& prefix, const data::PairSidecar& sidecar);

// How an epoch under train.seed 1 is cut into batches of at most so many tokens.
void print_padding(const std::string& prefix, int64_t batch_tokens);

}  // namespace dagpam::launch
