// launch/report/tables.h: the tables of a report, as HTML. Torch-free.
#pragma once

#include <string>
#include <vector>

#include "launch/report/run_history.h"

namespace dagpam::launch {

// "done", "running", "stopped at step 40", ... of a run.
std::string state_of(const RunHistory& run);

// A row a run: how far it came, losses, perplexities, time, speed, memory, what went wrong.
std::string results_table(const std::vector<RunHistory>& runs);

// A row a field of the config that is not the same in all runs, a column a run; with more runs than
// fields the other way round. A sentence where there is none.
std::string settings_table(const std::vector<RunHistory>& runs);

// What each run is called, its folder, its config's name.
std::string folders_table(const std::vector<RunHistory>& runs);

}  // namespace dagpam::launch
