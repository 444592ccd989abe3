// launch/doctor/report.h: what `dagpam doctor` saw, as text and as JSON. Torch-free.
#pragma once

#include <string>
#include <vector>

#include "launch/doctor/finding.h"
#include "launch/doctor/folder_probe.h"
#include "launch/doctor/link_probe.h"
#include "launch/doctor/surroundings.h"

namespace dagpam::launch {

struct DoctorReport {
  std::vector<Surroundings> ranks;  // empty where MPI was not opened
  std::string backend;              // in words; "" where it was not opened
  bool folder_asked = false;
  FolderReport folder;
  ReduceReport reduce;
  std::vector<double> clocks;  // as probe_clocks()
  Findings findings;
};

std::string to_text(const DoctorReport& report, bool strict);
// One object on one line: "healthy", "code", "findings", and what was seen.
std::string to_json_line(const DoctorReport& report, bool strict);

}  // namespace dagpam::launch
