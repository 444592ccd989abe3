#include "trainer/checkpoint/this_start.h"

#include <unistd.h>

#include <array>
#include <cstdio>
#include <ctime>
#include <random>

namespace dagpam::checkpoint {

std::string host_name() {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) return "";
  return host.data();
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text.data();
}

std::string random_hex(int words) {
  std::random_device random;
  std::string text;
  char digits[9];
  for (int i = 0; i < words; ++i) {
    std::snprintf(digits, sizeof digits, "%08x", random());
    text += digits;
  }
  return text;
}

}  // namespace dagpam::checkpoint
