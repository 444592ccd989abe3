// tests/fuzz/checkpoint_in_memory.h: a small checkpoint of one rank that never touches a disk.
#pragma once

#include <string>

#include "tests/fuzz/target.h"
#include "tests/trainer/checkpoint_fixtures.h"
#include "tests/trainer/memory_file_system.h"

namespace dagpam::fuzz {

inline constexpr char kCheckpointFolder[] = "/c/step-00000100";

inline checkpoint::testing::MemoryFileSystem checkpoint_in_memory() {
  checkpoint::testing::MemoryFileSystem file_system;
  checkpoint::testing::Save{.fs = file_system, .directory = "/c", .ranks = 1}.run();
  return file_system;
}

inline std::string manifest_text() {
  return checkpoint_in_memory().get(std::string(kCheckpointFolder) + "/MANIFEST.textproto");
}

}  // namespace dagpam::fuzz
