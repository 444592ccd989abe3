// tests/configs/fixture.h: config files that last as long as a test, and the shape of a good error.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "configs/errors.h"
#include "configs/run_config.h"

namespace dagpam::configs {

// The smallest config that validate() lets through.
inline constexpr const char* kGood =
    "data { train { prefix: \"data/a\" } valid: \"data/a\" }\n"
    "train { steps: 100 }\n";

// A folder of its own, gone at the end.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "configs_XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp " + pattern);
    path_ = pattern;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }

  // Writes a file and returns its path.
  std::string file(const std::string& name, const std::string& text) const {
    std::string where = path_ + "/" + name;
    std::ofstream out(where, std::ios::binary);
    out << text;
    out.close();
    if (!out) throw std::runtime_error("cannot write " + where);
    return where;
  }

 private:
  std::string path_;
};

// What `act` throws: a ConfigError of one printable line. "" and a failed test otherwise.
template <typename Act>
std::string config_error(const Act& act) {
  try {
    act();
  } catch (const ConfigError& error) {
    std::string message = error.what();
    EXPECT_EQ(error.code(), ExitCode::kBadConfig);
    EXPECT_TRUE(std::none_of(message.begin(), message.end(), [](unsigned char c) {
      return c < 0x20 || c == 0x7F;
    })) << message;
    EXPECT_LT(message.size(), 700U) << message;
    return message;
  } catch (const std::exception& error) {
    ADD_FAILURE() << "not a ConfigError: " << error.what();
    return "";
  }
  ADD_FAILURE() << "no error";
  return "";
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace dagpam::configs
