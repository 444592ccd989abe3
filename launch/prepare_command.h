// launch/prepare_command.h: `dagpam data prepare`.
#pragma once

#include <CLI/App.hpp>

#include "data/sidecar.h"
#include "launch/program.h"

namespace dagpam::launch {

void add_prepare_command(CLI::App& data, Program& program);

// Vocabulary, tokenizer, and a line a split, of a set that was just made.
void print_made(const std::string& prefix, const data::Sidecar& made);

}  // namespace dagpam::launch
