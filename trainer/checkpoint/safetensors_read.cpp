#include <algorithm>
#include <array>
#include <bit>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "configs/errors.h"
#include "trainer/checkpoint/safetensors.h"

namespace dagpam::checkpoint {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr std::array<std::pair<std::string_view, int64_t>, 17> kDtypes{{
    {"BOOL", 1},
    {"U8", 1},
    {"I8", 1},
    {"F8_E4M3", 1},
    {"F8_E5M2", 1},
    {"F8_E8M0", 1},
    {"U16", 2},
    {"I16", 2},
    {"F16", 2},
    {"BF16", 2},
    {"U32", 4},
    {"I32", 4},
    {"F32", 4},
    {"U64", 8},
    {"I64", 8},
    {"F64", 8},
    {"C64", 8},
}};

// Takes the JSON event by event: no tree is built, depth is bounded by the states, and what does
// not fit the format stops the parse with a sentence in `problem`.
class HeaderHandler final : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<SafetensorsEntry> entries;  // begin and end relative to the data
  std::map<std::string, std::string> metadata;
  std::string problem;

  bool start_object(std::size_t) override {
    if (state_ == State::kStart) return go(State::kNames);
    if (state_ == State::kMetadata) return go(State::kMetadataKeys);
    if (state_ == State::kTensor) return go(State::kFields);
    return unexpected("an object");
  }

  bool key(string_t& name) override {
    if (state_ == State::kNames) return start_entry(name);
    if (state_ == State::kMetadataKeys) {
      metadata_key_ = name;
      if (!metadata.emplace(name, "").second) {
        return fail("__metadata__ has the key " + in_quotes(name) + " twice");
      }
      return go(State::kMetadataValue);
    }
    return start_field(name);
  }

  bool end_object() override {
    if (state_ == State::kMetadataKeys) return go(State::kNames);
    if (state_ == State::kFields) return end_entry();
    return go(State::kEnd);
  }

  bool string(string_t& text) override {
    if (state_ == State::kMetadataValue) {
      metadata[metadata_key_] = text;
      return go(State::kMetadataKeys);
    }
    if (state_ != State::kDtype) return unexpected("a string");
    entries.back().dtype = text;
    return go(State::kFields);
  }

  bool start_array(std::size_t) override {
    if (state_ == State::kShape) return go(State::kShapeItems);
    if (state_ == State::kOffsets) return go(State::kOffsetItems);
    return unexpected("an array");
  }

  bool end_array() override { return go(State::kFields); }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ != State::kShapeItems && state_ != State::kOffsetItems)
      return unexpected("a number");
    if (value > static_cast<uint64_t>(INT64_MAX)) return unexpected("a number past 2^63 - 1");
    if (state_ == State::kShapeItems) {
      if (entries.back().shape.size() == kMaxDims) {
        return fail(here() + " has more than " + std::to_string(kMaxDims) + " dimensions");
      }
      entries.back().shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (offsets_ == 2) return fail(here() + ": data_offsets has more than two numbers");
    (offsets_ == 0 ? entries.back().begin : entries.back().end) = static_cast<int64_t>(value);
    ++offsets_;
    return true;
  }

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    return unexpected("a number that is not a 64-bit integer");
  }
  bool binary(binary_t&) override { return unexpected("bytes"); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    if (problem.empty()) problem = "not valid JSON at byte " + std::to_string(position);
    return false;
  }

 private:
  enum class State {
    kStart,
    kNames,
    kMetadata,
    kMetadataKeys,
    kMetadataValue,
    kTensor,
    kFields,
    kDtype,
    kShape,
    kShapeItems,
    kOffsets,
    kOffsetItems,
    kEnd
  };

  bool go(State state) {
    state_ = state;
    return true;
  }
  bool fail(const std::string& what) {
    problem = what;
    return false;
  }
  std::string here() const {
    return entries.empty() ? "the header" : "tensor " + in_quotes(entries.back().name);
  }
  bool unexpected(const std::string& what) {
    return fail(here() + ": " + what + " has no place there");
  }

  bool start_entry(const std::string& name) {
    if (!names_.insert(name).second) return fail("the name " + in_quotes(name) + " stands twice");
    if (name == "__metadata__") return go(State::kMetadata);
    const bool printable = std::none_of(name.begin(), name.end(), [](char c) {
      return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    });
    if (name.empty() || name.size() > kMaxNameBytes || !printable) {
      return fail("the name " + in_quotes(name) + " is empty, too long or has control characters");
    }
    entries.emplace_back().name = name;
    fields_.clear();
    offsets_ = 0;
    return go(State::kTensor);
  }

  bool start_field(const std::string& name) {
    if (!fields_.insert(name).second) return fail(here() + " has " + in_quotes(name) + " twice");
    if (name == "dtype") return go(State::kDtype);
    if (name == "shape") return go(State::kShape);
    if (name == "data_offsets") return go(State::kOffsets);
    return fail(here() + " has the unknown field " + in_quotes(name));
  }

  bool end_entry() {
    const SafetensorsEntry& entry = entries.back();
    if (fields_.size() != 3 || offsets_ != 2) {
      return fail(here() + ": dtype, shape and two data_offsets are needed");
    }
    const int64_t width = dtype_bytes(entry.dtype);
    if (width == 0) return fail(here() + " has the unknown dtype " + in_quotes(entry.dtype));
    const std::optional<int64_t> count = elements(entry.shape);
    int64_t bytes = 0;
    if (!count || __builtin_mul_overflow(*count, width, &bytes)) {
      return fail(here() + ": shape " + to_text(entry.shape) +
                  " has more bytes than can be counted");
    }
    if (entry.end < entry.begin || entry.end - entry.begin != bytes) {
      return fail(here() + ": data_offsets [" + std::to_string(entry.begin) + ", " +
                  std::to_string(entry.end) + "] do not hold " + std::to_string(bytes) + " bytes");
    }
    return go(State::kNames);
  }

  State state_ = State::kStart;
  std::unordered_set<std::string> names_;
  std::unordered_set<std::string> fields_;  // of the current tensor
  std::string metadata_key_;
  int offsets_ = 0;  // numbers of data_offsets seen
};

[[noreturn]] void refuse(const std::string& path, const std::string& problem) {
  throw CheckpointError(path + ": safetensors header: " + problem);
}

}  // namespace

int64_t dtype_bytes(std::string_view dtype) {
  for (const auto& [name, bytes] : kDtypes) {
    if (name == dtype) return bytes;
  }
  return 0;
}

SafetensorsHeader parse_safetensors_header(std::string_view json, int64_t data_begin,
                                           int64_t file_bytes, const std::string& path) {
  if (json.empty() || json.front() != '{') refuse(path, "does not start with '{'");
  HeaderHandler handler;
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &handler)) refuse(path, handler.problem);

  SafetensorsHeader header{std::move(handler.entries), std::move(handler.metadata)};
  std::stable_sort(header.entries.begin(), header.entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  int64_t end = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    if (entry.begin != end) {
      refuse(path, "tensor " + in_quotes(entry.name) + " begins at " + std::to_string(entry.begin) +
                       ", the data before it ends at " + std::to_string(end));
    }
    end = entry.end;
  }
  if (end != file_bytes - data_begin) {
    refuse(path, "tensors end at byte " + std::to_string(end) + " of the data, which has " +
                     std::to_string(file_bytes - data_begin));
  }
  for (SafetensorsEntry& entry : header.entries) {
    entry.begin += data_begin;
    entry.end += data_begin;
  }
  return header;
}

SafetensorsHeader read_safetensors_header(const InputFile& file, int64_t max_header_bytes) {
  constexpr int64_t kLengthBytes = 8;
  if (file.bytes() < kLengthBytes) refuse(file.path(), "the file is shorter than 8 bytes");
  uint64_t length = 0;
  file.read(0, std::as_writable_bytes(std::span(&length, 1)));
  const int64_t limit = std::min(max_header_bytes, file.bytes() - kLengthBytes);
  if (length > static_cast<uint64_t>(limit)) {
    refuse(file.path(), "its length " + std::to_string(length) +
                            " passes the end of the file or the limit of " +
                            std::to_string(max_header_bytes) + " bytes");
  }
  std::string json(length, '\0');
  file.read(kLengthBytes, std::as_writable_bytes(std::span(json)));
  return parse_safetensors_header(json, kLengthBytes + static_cast<int64_t>(length), file.bytes(),
                                  file.path());
}

}  // namespace dagpam::checkpoint
