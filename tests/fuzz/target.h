// tests/fuzz/target.h: what a fuzz target gives, and who runs it.
//
// Each target is one NAME_fuzz.cpp with seeds() and run(). libfuzzer.cpp makes a libFuzzer program
// of it (clang, ASan, UBSan; tests/fuzz/run); replay.cpp a plain program for CTest, which runs the
// seeds, every file of regressions/NAME and a fixed number of mutations of them.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "configs/errors.h"

namespace dagpam::fuzz {

struct Seed {
  std::string bytes;
  bool is_good = false;  // run() takes it
};

// Valid files as the program writes them, and hostile ones.
std::vector<Seed> seeds();

// Reads the bytes as the program would. Gives whether they were taken; where they were refused, by
// a dagpam::Error of one line, false. Any other exception leaves it, and aborts the program.
bool run(std::string_view input);

// Ends the program where a promise does not hold: a finding.
inline void require(bool holds, const std::string& promise) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", promise.c_str());
  std::abort();
}

// A refusal is one line of bounded length that a terminal can show: no controls (U+0000 to U+001F,
// U+007F to U+009F), no line separators (U+2028, U+2029).
inline void require_one_line(const Error& error) {
  const std::string message = error.what();
  require(!message.empty() && message.size() < 4096, "a message of 1 to 4095 bytes: " + message);
  for (size_t i = 0; i < message.size(); ++i) {
    const auto byte = [&](size_t at) {
      return at < message.size() ? static_cast<unsigned char>(message[at]) : 0x20U;
    };
    const bool control =
        byte(i) < 0x20 || byte(i) == 0x7f || (byte(i) == 0xC2 && byte(i + 1) < 0xA0);
    const bool separator = byte(i) == 0xE2 && byte(i + 1) == 0x80 && (byte(i + 2) | 1) == 0xA9;
    require(!control && !separator, "one printable line: " + message);
  }
}

}  // namespace dagpam::fuzz
