#include "trainer/telemetry/event_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "trainer/telemetry/events.pb.h"

namespace dagpam::trainer {
namespace {

// The examples of RFC 3720, appendix B.4, and the CRC catalogue's check value.
TEST(Crc32cTest, PublishedVectors) {
  std::string up(32, '\0');
  std::iota(up.begin(), up.end(), '\0');
  const std::string down(up.rbegin(), up.rend());
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43U);
  EXPECT_EQ(crc32c(up), 0x46dd794eU);
  EXPECT_EQ(crc32c(down), 0x113fdb5cU);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
  EXPECT_EQ(crc32c(""), 0U);
}

template <typename Number>
Number number_at(const std::string& bytes, size_t at) {
  Number value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

uint32_t masked(uint32_t crc) { return ((crc >> 15U) | (crc << 17U)) + 0xa282ead8U; }

TEST(TfRecordTest, LengthBytesAndTheirMaskedSums) {
  const std::string record = tf_record("123456789");
  ASSERT_EQ(record.size(), 8U + 4U + 9U + 4U);
  EXPECT_EQ(number_at<uint64_t>(record, 0), 9U);
  EXPECT_EQ(number_at<uint32_t>(record, 8), masked(crc32c(record.substr(0, 8))));
  EXPECT_EQ(record.substr(12, 9), "123456789");
  EXPECT_EQ(number_at<uint32_t>(record, 21), masked(0xe3069283U));
}

// The events of a file, each in its record.
std::vector<events::Event> events_of(std::string bytes) {
  std::vector<events::Event> found;
  while (!bytes.empty()) {
    const size_t length = number_at<uint64_t>(bytes, 0);
    EXPECT_TRUE(found.emplace_back().ParseFromString(bytes.substr(12, length)));
    bytes.erase(0, length + 16);
  }
  return found;
}

TEST(EventTest, AFileBeginsWithItsVersionAndWhereItGoesOn) {
  const auto found = events_of(event_file_head(12.5, 41));
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].file_version(), "brain.Event:2");
  EXPECT_EQ(found[1].step(), 41);
  EXPECT_EQ(found[1].session_log().status(), events::SessionLog::START);
}

TEST(EventTest, EachLineOfATextIsIndented) {
  const auto found = events_of(text_event(0, 1, "config", "# a\n``` <b>\n"));
  ASSERT_EQ(found.size(), 1U);
  const auto& value = found[0].summary().value(0);
  EXPECT_EQ(value.metadata().plugin_data().plugin_name(), "text");
  EXPECT_EQ(value.tensor().string_val(0), "    # a\n    ``` <b>\n    ");
}

TEST(EventFileNameTest, SortsAfterAllThatAreThere) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("dagpam_events_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  std::string last;
  // The clock stands still, and goes back.
  for (const int64_t now : {1'700'000'000, 1'700'000'000, 1'600'000'000}) {
    const std::string path = next_event_file(folder.string(), now);
    EXPECT_LT(last, path);
    EXPECT_FALSE(std::filesystem::exists(path));
    std::ofstream(path) << "";
    last = path;
  }
  EXPECT_EQ(std::filesystem::path(last).filename().string().substr(0, 31),
            "events.out.tfevents.1700000002.");
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace dagpam::trainer
