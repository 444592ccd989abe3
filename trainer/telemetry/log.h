// trainer/telemetry/log.h: where a run's words go. Torch-free; spdlog stays behind it.
//
// The console (standard error) gets rank 0's lines, and warnings of every rank; each rank has a
// file logs/rank_NNNNN.log in the run folder once the run has one.
#pragma once

#include <string>

namespace dagpam::trainer {

// Once, after the rank is known. `to_file`: path of this rank's file, or "".
void open_log(int rank, int size, const std::string& to_file = "");

void log_info(const std::string& line);
void log_warning(const std::string& line);
void log_error(const std::string& line);
void flush_log();

// Where standard error is a terminal: one line that is written over again and again. Else nothing.
void show_progress(const std::string& line);

}  // namespace dagpam::trainer
