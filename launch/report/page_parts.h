// launch/report/page_parts.h: the files of launch/report/page, built into the program by CMake.
#pragma once

namespace dagpam::launch::page_parts {

extern const char* const kPage;    // page.html: {{names}} are filled in
extern const char* const kStyle;   // style.css
extern const char* const kSeries;  // series.js, chart.js, main.js: one script, in this order
extern const char* const kChart;
extern const char* const kMain;

}  // namespace dagpam::launch::page_parts
