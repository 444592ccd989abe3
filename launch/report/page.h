// launch/report/page.h: a report of runs as one HTML page that needs nothing beside it. Torch-free.
#pragma once

#include <string>
#include <vector>

#include "launch/report/run_history.h"

namespace dagpam::launch {

struct PageOptions {
  std::string title;
  std::string made;      // when and by what, a line
  size_t points = 1200;  // of a curve at most; fewer where that many curves would make a big page
};

// Curves are condensed (curve.h), so that a page stays below 5 MB. Whatever stands in names and
// settings is text in it: it is escaped, and the page's own policy lets no other script run and
// nothing be fetched.
std::string report_page(const std::vector<RunHistory>& runs, const PageOptions& options);

}  // namespace dagpam::launch
