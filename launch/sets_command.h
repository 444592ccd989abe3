// launch/sets_command.h: `dagpam data merge`, `split` and `import`: data sets from token files.
#pragma once

#include <CLI/App.hpp>

namespace dagpam::launch {

void add_sets_commands(CLI::App& data);

}  // namespace dagpam::launch
