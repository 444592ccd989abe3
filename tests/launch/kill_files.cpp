// The linker puts this in the place of checkpoint::posix_file_system() (--wrap), so that the
// program itself knows nothing of it: with DAGPAM_KILL="WHEN OPERATION PART N" in the environment,
// the process kills itself there (tests/trainer/killing_file_system.h).
#include <cstdlib>

#include "tests/trainer/killing_file_system.h"

namespace dagpam::checkpoint {

FileSystem& real_file_system() __asm__("__real__ZN6dagpam10checkpoint17posix_file_systemEv");
FileSystem& wrapped_file_system() __asm__("__wrap__ZN6dagpam10checkpoint17posix_file_systemEv");

FileSystem& wrapped_file_system() {
  static const char* order = std::getenv("DAGPAM_KILL");
  if (order == nullptr) return real_file_system();
  static testing::KillingFileSystem killing(real_file_system(), order);
  return killing;
}

}  // namespace dagpam::checkpoint
