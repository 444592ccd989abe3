#include "trainer/layout.h"

#include <charconv>
#include <string_view>

#include "configs/errors.h"

namespace dagpam::trainer {

namespace {

// Takes NAME and a number from 1 off the front of `text`, where they stand.
bool take_size(std::string_view& text, std::string_view name, int& size) {
  if (!text.starts_with(name)) return true;
  text.remove_prefix(name.size());
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), size);
  if (error != std::errc() || size < 1) return false;
  text.remove_prefix(static_cast<size_t>(stop - text.data()));
  return true;
}

}  // namespace

Layout parse_layout(const std::string& text, int ranks) {
  Layout layout;
  std::string_view rest = text;
  bool good = take_size(rest, "dp", layout.dp) && take_size(rest, "tp", layout.tp);
  const auto take_word = [&](std::string_view word) {
    const bool there = rest.starts_with(word);
    if (there) rest.remove_prefix(word.size());
    return there;
  };
  layout.sequence = layout.tp > 1 && take_word("sp");
  layout.zero = take_word("zero");
  good = good && rest.empty() && (text.starts_with("dp") || text.starts_with("tp"));
  if (!good) {
    throw ConfigError(
        "--layouts: '" + text +
        "' is not a layout: expected dpN, tpN or dpNtpN, with sp behind a tpN from 2 "
        "on for sequence parallelism, and zero at the end for ZeRO stage 1, e.g. dp2tp2spzero");
  }
  if (layout.dp > ranks || layout.tp > ranks || layout.ranks() > ranks) {
    const int64_t needed = int64_t{layout.dp} * layout.tp;
    throw ConfigError("--layouts: " + text + " needs " + std::to_string(needed) +
                      " ranks, there are " + std::to_string(ranks) + ": start with mpirun -n " +
                      std::to_string(needed));
  }
  return layout;
}

std::string to_string(const Layout& layout) {
  std::string text;
  if (layout.dp > 1 || layout.tp == 1) text += "dp" + std::to_string(layout.dp);
  if (layout.tp > 1) text += "tp" + std::to_string(layout.tp);
  return text + (layout.sequence ? "sp" : "") + (layout.zero ? "zero" : "");
}

}  // namespace dagpam::trainer
