// configs/errors.h: the errors that every folder may throw. The codes are the program's exit codes
// (docs/commands.md); launch/main.cpp alone turns one into the other.
//
// A message is one line: the file or field, the value, what was expected, what to do.
#pragma once

#include <stdexcept>
#include <string>

namespace dagpam {

enum class ExitCode : int {
  kDone = 0,
  kDifferent = 1,      // a comparison found a difference
  kBadConfig = 2,      // command line or configuration
  kBadData = 3,        // missing or bad data
  kBadCheckpoint = 4,  // missing or bad checkpoint, or a run folder in use
  kNonFinite = 5,      // non-finite loss or gradient
  kHang = 6,           // hang or lost peer
  kIo = 7,             // input or output error
  kInterrupted = 8,    // stopped by a signal, after a save
  kCorruption = 9,     // ranks that must hold the same weights do not
};

// Base of all errors that carry an exit code.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& what) : std::runtime_error(what), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

class ConfigError : public Error {
 public:
  explicit ConfigError(const std::string& what) : Error(ExitCode::kBadConfig, what) {}
};

class DataError : public Error {
 public:
  explicit DataError(const std::string& what) : Error(ExitCode::kBadData, what) {}
};

class CheckpointError : public Error {
 public:
  explicit CheckpointError(const std::string& what) : Error(ExitCode::kBadCheckpoint, what) {}
};

class NonFiniteError : public Error {
 public:
  explicit NonFiniteError(const std::string& what) : Error(ExitCode::kNonFinite, what) {}
};

class IoError : public Error {
 public:
  explicit IoError(const std::string& what) : Error(ExitCode::kIo, what) {}
};

// A signal asked the run to stop, and its state is saved.
class Interrupted : public Error {
 public:
  explicit Interrupted(const std::string& what) : Error(ExitCode::kInterrupted, what) {}
};

// Ranks that must hold the same weights do not: memory or a processor has gone wrong.
class CorruptionError : public Error {
 public:
  explicit CorruptionError(const std::string& what) : Error(ExitCode::kCorruption, what) {}
};

}  // namespace dagpam
