// Every number of the schema has a range, every range is of a field, and each of its ends holds.
#include "configs/ranges.h"

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "configs/text.h"
#include "tests/configs/fixture.h"

namespace dagpam::configs {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

void collect_numbers(const Descriptor& type, const std::string& prefix,
                     std::map<std::string, const FieldDescriptor*>& numbers) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    const std::string path = prefix + field->name();
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        collect_numbers(*field->message_type(), path + ".", numbers);
        break;
      case FieldDescriptor::CPPTYPE_STRING:
      case FieldDescriptor::CPPTYPE_BOOL:
      case FieldDescriptor::CPPTYPE_ENUM:
        break;
      default:
        numbers[path] = field;
    }
  }
}

std::map<std::string, const FieldDescriptor*> numbers_of_schema() {
  std::map<std::string, const FieldDescriptor*> numbers;
  collect_numbers(*RunConfig::descriptor(), "", numbers);
  return numbers;
}

// A config in which the number at `path` is `value`.
RunConfig config_with(std::string path, const std::string& value) {
  if (path == "data.train.weight") path = "data.train.0.weight";
  return load({}, {path + "=" + value});
}

bool refused(const Range& range, const std::string& value) {
  try {
    check_fields(config_with(std::string(range.path), value));
  } catch (const ConfigError& error) {
    EXPECT_TRUE(contains(error.what(), value + " is not ")) << error.what();
    EXPECT_TRUE(contains(error.what(), std::string(range.remedy))) << error.what();
    return true;
  }
  return false;
}

TEST(RangesTest, AreThoseOfTheNumbersOfTheSchema) {
  std::set<std::string> with_range;
  for (const Range& range : ranges()) {
    EXPECT_TRUE(with_range.insert(std::string(range.path)).second) << range.path;
    EXPECT_LT(range.low, range.high) << range.path;
    EXPECT_FALSE(range.remedy.empty()) << range.path;
  }
  std::set<std::string> numbers;
  for (const auto& [path, field] : numbers_of_schema()) numbers.insert(path);
  EXPECT_EQ(with_range, numbers);
}

TEST(RangesTest, HoldAtBothEndsOfEveryNumber) {
  const auto numbers = numbers_of_schema();
  for (const Range& range : ranges()) {
    SCOPED_TRACE(std::string(range.path));
    const FieldDescriptor* field = numbers.at(std::string(range.path));
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
      EXPECT_FALSE(refused(range, "0"));
      EXPECT_FALSE(refused(range, "18446744073709551615"));
      continue;
    }
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
      const auto low = static_cast<int64_t>(range.low);
      const auto high = static_cast<int64_t>(range.high);
      EXPECT_FALSE(refused(range, std::to_string(low)));
      EXPECT_FALSE(refused(range, std::to_string(high)));
      EXPECT_TRUE(refused(range, std::to_string(low - 1)));
      // 2^10 is the step of doubles at 2^62.
      EXPECT_TRUE(refused(range, std::to_string(high + 1024)));
      EXPECT_TRUE(refused(range, std::to_string(std::numeric_limits<int64_t>::min())));
      EXPECT_TRUE(refused(range, std::to_string(std::numeric_limits<int64_t>::max())));
      continue;
    }
    constexpr double kFar = std::numeric_limits<double>::infinity();
    EXPECT_EQ(refused(range, shown(range.low)), range.low_open);
    EXPECT_EQ(refused(range, shown(range.high)), range.high_open);
    EXPECT_TRUE(refused(range, shown(std::nextafter(range.low, -kFar))));
    EXPECT_TRUE(refused(range, shown(std::nextafter(range.high, kFar))));
    EXPECT_FALSE(refused(range, shown(std::nextafter(range.low, kFar))));
    EXPECT_TRUE(refused(range, "nan"));
    EXPECT_TRUE(refused(range, "inf"));
    EXPECT_TRUE(refused(range, "-inf"));
  }
}

TEST(RangesTest, HoldForEveryDefault) { check_fields(with_defaults(RunConfig())); }

}  // namespace
}  // namespace dagpam::configs
