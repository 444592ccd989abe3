#include "data/peers.h"

#include <cstdint>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <utility>

#include "configs/errors.h"

namespace dagpam::data {
namespace {

constexpr int kGood = -1;   // in place of an exit code
constexpr int kOther = -2;  // an error without a code
constexpr int kQuiet = -3;  // ended for a peer's failure

struct Outcome {
  int code = kGood;
  std::string text;  // what the work gave, or the message
};

Outcome attempt(const std::function<std::string()>& work) {
  try {
    return {kGood, work()};
  } catch (const PeerFailed&) {
    return {kQuiet, ""};
  } catch (const Error& error) {
    return {static_cast<int>(error.code()), error.what()};
  } catch (const std::exception& error) {
    return {kOther, error.what()};
  }
}

[[noreturn]] void raise(const Outcome& outcome) {
  switch (static_cast<ExitCode>(outcome.code)) {
    case ExitCode::kBadConfig:
      throw ConfigError(outcome.text);
    case ExitCode::kBadData:
      throw DataError(outcome.text);
    case ExitCode::kIo:
      throw IoError(outcome.text);
    case ExitCode::kInterrupted:
      throw Interrupted(outcome.text);
    default:
      throw std::runtime_error(outcome.text);
  }
}

}  // namespace

std::vector<std::string> together(Peers& peers, const std::function<std::string()>& work,
                                  const std::function<void()>& failed) {
  if (peers.size() == 1) return {work()};  // errors keep their own type
  const Outcome mine = attempt(work);
  if (mine.code != kGood && failed) failed();
  std::vector<std::string> given;
  std::vector<Outcome> bad;
  bool all_good = true;
  for (const std::string& packed : peers.all_gather(pack({std::to_string(mine.code), mine.text}))) {
    std::vector<std::string> parts = unpack(packed);
    const int code = std::stoi(parts.at(0));
    if (code != kGood && code != kQuiet) bad.push_back({code, parts.at(1)});
    all_good = all_good && code == kGood;
    given.push_back(std::move(parts.at(1)));
  }
  if (!bad.empty()) raise(bad.front());
  if (!all_good) throw std::logic_error("a peer was told of a failure that none had");
  return given;
}

std::string pack(const std::vector<std::string>& strings) {
  std::string packed;
  for (const std::string& string : strings) {
    const uint64_t size = string.size();
    packed.append(reinterpret_cast<const char*>(&size), sizeof(size));
    packed += string;
  }
  return packed;
}

std::vector<std::string> unpack(const std::string& packed) {
  std::vector<std::string> strings;
  for (size_t at = 0; at < packed.size();) {
    uint64_t size = 0;
    if (packed.size() - at < sizeof(size)) throw DataError("a message of a peer is cut off");
    std::memcpy(&size, packed.data() + at, sizeof(size));
    at += sizeof(size);
    if (packed.size() - at < size) throw DataError("a message of a peer is cut off");
    strings.push_back(packed.substr(at, size));
    at += size;
  }
  return strings;
}

}  // namespace dagpam::data
