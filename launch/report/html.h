// launch/report/html.h: text into pages. Torch-free.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace dagpam::launch {

// Any bytes as text of a page or of a quoted attribute: what could be markup is written as
// entities, control characters and bytes that are not UTF-8 as \n or \xff.
std::string escape_html(std::string_view text);

// JSON that may stand in a <script type="application/json">: no '<', '>' or '&' is left in it.
std::string escape_json_for_html(std::string_view json);

// The template with each {{name}} replaced, once: what is put in is not looked at again. Throws
// std::logic_error for a name without a value.
std::string fill_template(std::string_view page, const std::map<std::string, std::string>& values);

// A cell is HTML already.
struct Table {
  std::vector<std::string> heads;
  std::vector<std::vector<std::string>> rows;
  size_t words = 1;  // the first so many columns hold words and stand left
};
std::string to_html(const Table& table);

}  // namespace dagpam::launch
