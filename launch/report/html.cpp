#include "launch/report/html.h"

#include <stdexcept>

#include "configs/text.h"

namespace dagpam::launch {

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : configs::one_line(text, std::string_view::npos)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string escape_json_for_html(std::string_view json) {
  std::string out;
  for (const char c : json) {
    if (c == '<' || c == '>' || c == '&') {  // in strings alone
      out += c == '<' ? "\\u003c" : c == '>' ? "\\u003e" : "\\u0026";
    } else {
      out += c;
    }
  }
  return out;
}

std::string fill_template(std::string_view page, const std::map<std::string, std::string>& values) {
  std::string out;
  while (true) {
    const size_t begin = page.find("{{");
    out += page.substr(0, begin);
    if (begin == std::string_view::npos) return out;
    const size_t end = page.find("}}", begin);
    const std::string name(page.substr(begin + 2, end - begin - 2));
    const auto found = values.find(name);
    if (found == values.end()) throw std::logic_error("report template: no value for " + name);
    out += found->second;
    page.remove_prefix(end + 2);
  }
}

std::string to_html(const Table& table) {
  std::string out = "<div class=\"scroll\"><table>\n<thead><tr>";
  for (size_t i = 0; i < table.heads.size(); ++i) {
    out += (i < table.words ? "<th class=\"words\">" : "<th>") + table.heads[i] + "</th>";
  }
  out += "</tr></thead>\n<tbody>\n";
  for (const auto& row : table.rows) {
    out += "<tr>";
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string kind = i < table.words ? " class=\"words\"" : "";
      out += i == 0 ? "<th scope=\"row\"" + kind + ">" + row[i] + "</th>"
                    : "<td" + kind + ">" + row[i] + "</td>";
    }
    out += "</tr>\n";
  }
  return out + "</tbody>\n</table></div>";
}

}  // namespace dagpam::launch
