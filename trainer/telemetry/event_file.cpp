#include "trainer/telemetry/event_file.h"

#include <isa-l/crc.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <climits>
#include <cstdio>
#include <filesystem>
#include <stdexcept>

#include "trainer/checkpoint/this_start.h"
#include "trainer/telemetry/events.pb.h"

namespace dagpam::trainer {

namespace {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they lie");

template <typename Number>
void append(std::string& to, Number value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// A CRC over data that holds CRCs tells little; so TFRecord stores them turned and shifted.
uint32_t masked_crc32c(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8U;
}

events::Event event_at(double wall_time, int64_t step) {
  events::Event event;
  event.set_wall_time(wall_time);
  event.set_step(step);
  return event;
}

constexpr std::string_view kPrefix = "events.out.tfevents.";

// The seconds in the name of an event file; -1 of other files.
int64_t seconds_in(const std::string& name) {
  int64_t seconds = -1;
  if (name.starts_with(kPrefix)) {
    const char* begin = name.data() + kPrefix.size();
    std::from_chars(begin, name.data() + name.size(), seconds);
  }
  return seconds;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  if (bytes.size() > INT_MAX) throw std::length_error("crc32c: more than 2 GiB");
  // The library only reads; it wants neither const nor the inversions at both ends.
  auto* begin = reinterpret_cast<unsigned char*>(const_cast<char*>(bytes.data()));
  return ~crc32_iscsi(begin, static_cast<int>(bytes.size()), ~0U);
}

std::string tf_record(std::string_view bytes) {
  std::string record;
  append(record, uint64_t{bytes.size()});
  append(record, masked_crc32c(record));
  record += bytes;
  append(record, masked_crc32c(bytes));
  return record;
}

std::string event_file_head(double wall_time, int64_t step) {
  events::Event version = event_at(wall_time, 0), start = event_at(wall_time, step);
  version.set_file_version("brain.Event:2");
  start.mutable_session_log()->set_status(events::SessionLog::START);
  return tf_record(version.SerializeAsString()) + tf_record(start.SerializeAsString());
}

std::string scalar_event(double wall_time, int64_t step, const Scalars& scalars) {
  events::Event event = event_at(wall_time, step);
  for (const auto& [tag, number] : scalars) {
    auto& value = *event.mutable_summary()->add_value();
    value.set_tag(tag);
    value.set_simple_value(static_cast<float>(number));
  }
  return tf_record(event.SerializeAsString());
}

std::string text_event(double wall_time, int64_t step, const std::string& tag,
                       const std::string& text) {
  events::Event event = event_at(wall_time, step);
  auto& value = *event.mutable_summary()->add_value();
  value.set_tag(tag);
  value.mutable_metadata()->mutable_plugin_data()->set_plugin_name("text");
  value.mutable_tensor()->set_dtype(events::Tensor::STRING);
  value.mutable_tensor()->mutable_tensor_shape();  // of one string: no dimension
  // The plugin takes Markdown: lines that begin with four spaces are left as they are.
  std::string shown = "    ";
  for (const char c : text) {
    shown += c;
    if (c == '\n') shown += "    ";
  }
  value.mutable_tensor()->add_string_val(shown);
  return tf_record(event.SerializeAsString());
}

std::string next_event_file(const std::string& folder, int64_t seconds) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    seconds = std::max(seconds, seconds_in(entry.path().filename().string()) + 1);
  }
  char digits[24];
  std::snprintf(digits, sizeof digits, "%010lld", static_cast<long long>(seconds));
  return folder + "/" + std::string(kPrefix) + digits + "." + checkpoint::host_name() + "." +
         std::to_string(::getpid()) + ".0";
}

}  // namespace dagpam::trainer
