// Cluster files: the ready ones load, and what cannot be is refused with its field.
#include "configs/cluster.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <string>

#include "configs/errors.h"

namespace dagpam::configs {
namespace {

constexpr const char* kGood = R"(
name: "box" nodes: 2 ranks_per_node: 8 memory_gib: 80 reserve_gib: 2
device {
  bf16 { peak_tflops: 900 sustained_tflops: 700 half_size: 64 }
  memory_gbs: 3000
  attention { head_width: 64 forward_tflops: 300 backward_tflops: 300 }
}
node_link { bandwidth_gbs: 300 all_reduce_gbs: 400 }
network { bandwidth_gbs: 40 }
)";

std::string refusal(const std::string& text) {
  try {
    parse_cluster(text, "box.textproto");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

// With `from` replaced, and where it is empty, `to` appended.
std::string changed(const std::string& from, const std::string& to) {
  std::string text = kGood;
  if (from.empty()) return text + to;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(ClusterTest, FillsInWhatFollows) {
  const ClusterConfig cluster = parse_cluster(kGood, "box.textproto");
  EXPECT_EQ(cluster.device().norm_gbs(), 3000);
  EXPECT_EQ(cluster.device().update_gbs(), 3000);
  EXPECT_EQ(cluster.node_link().bucket_gbs(), 400);
  EXPECT_EQ(cluster.network().all_reduce_gbs(), 40);
  EXPECT_EQ(cluster.origin(), ClusterConfig::NOMINAL);
}

TEST(ClusterTest, PrintsWhatItReads) {
  const ClusterConfig cluster = parse_cluster(kGood, "box.textproto");
  EXPECT_EQ(print(parse_cluster(print(cluster), "again")), print(cluster));
}

TEST(ClusterTest, ReadyOnesLoad) {
  int count = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(DAGPAM_SOURCE_DIR "/configs/clusters")) {
    SCOPED_TRACE(entry.path());
    const ClusterConfig cluster = load_cluster(entry.path());
    EXPECT_TRUE(cluster.has_origin()) << "says nothing of where its rates are from";
    EXPECT_GT(cluster.sources_size(), 0);
    ++count;
  }
  EXPECT_GE(count, 3);
}

TEST(ClusterTest, RefusesWhatCannotBe) {
  struct Case {
    const char *from, *to, *said;
  };
  for (const Case& c : std::vector<Case>{
           {"", "colour: 3", "box.textproto:10:1: colour: unknown field"},
           {"", "node_count: 3", "unknown field"},
           {"memory_gbs: 3000", "memory_gbs: 0", "device.memory_gbs: 0 is not in"},
           {"memory_gbs: 3000", "memory_gbs: -1", "device.memory_gbs: -1 is not in"},
           {"memory_gbs: 3000", "memory_gbs: nan", "device.memory_gbs: nan is not in"},
           {"memory_gbs: 3000", "memory_gbs: inf", "device.memory_gbs: inf is not in"},
           {"memory_gbs: 3000", "memory_gbs: 3e12", "device.memory_gbs: 3e+12 is not in"},
           {"memory_gbs: 3000", "", "device.memory_gbs: missing"},
           {"memory_gbs: 3000", "memory_gbs: '3 TB'", "is not a number"},
           {"sustained_tflops: 700", "sustained_tflops: 7e14", "device.bf16.sustained_tflops"},
           {"sustained_tflops: 700", "sustained_tflops: 950", "is more than device.bf16.peak"},
           {"sustained_tflops: 700", "", "device.bf16.sustained_tflops: missing"},
           {"head_width: 64", "", "device.attention.0.head_width: missing"},
           {"attention {",
            "attention { head_width: 64 forward_tflops: 1 backward_tflops: 1 } "
            "attention {",
            "stands there twice"},
           {"memory_gib: 80", "memory_gib: 85899345920", "memory_gib"},
           {"memory_gib: 80", "", "memory_gib: missing"},
           {"reserve_gib: 2", "reserve_gib: 90", "leaves nothing"},
           {"name: \"box\"", "", "name: missing"},
           {"nodes: 2", "nodes: 0", "nodes: 0 is not from 1"},
           {"nodes: 2", "nodes: 2.5", "is not a whole number"},
           {"network { bandwidth_gbs: 40 }", "", "network: missing"},
           {"bandwidth_gbs: 300 all", "all", "node_link.bandwidth_gbs: missing"},
           {"bandwidth_gbs: 40", "bandwidth_gbs: 40 overlap_loss: 3", "network.overlap_loss"},
           {"bandwidth_gbs: 40", "bandwidth_gbs: 40 hop_us: 1e9", "network.hop_us"},
           {"", "storage { }", "storage.write_gbs: missing"},
           {"", "price_per_rank_hour: -3", "price_per_rank_hour"}}) {
    const std::string message = refusal(changed(c.from, c.to));
    EXPECT_NE(message.find(c.said), std::string::npos)
        << c.from << " -> " << c.to << ": " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos);
    EXPECT_NE(message.find("box.textproto"), std::string::npos) << message;
  }
}

// A number that has no range would be refused whatever it is.
TEST(ClusterTest, EveryNumberHasARange) {
  const std::function<void(google::protobuf::Message&)> fill =
      [&](google::protobuf::Message& message) {
        const auto& reflection = *message.GetReflection();
        const auto* type = message.GetDescriptor();
        for (int i = 0; i < type->field_count(); ++i) {
          const auto* field = type->field(i);
          using Field = google::protobuf::FieldDescriptor;
          if (field->cpp_type() == Field::CPPTYPE_MESSAGE) {
            fill(field->is_repeated() ? *reflection.AddMessage(&message, field)
                                      : *reflection.MutableMessage(&message, field));
          } else if (field->cpp_type() == Field::CPPTYPE_DOUBLE) {
            reflection.SetDouble(&message, field, 1);
          } else if (field->cpp_type() == Field::CPPTYPE_INT64) {
            reflection.SetInt64(&message, field, 1);
          }
        }
      };
  ClusterConfig cluster;
  fill(cluster);
  cluster.set_name("all");
  cluster.set_reserve_gib(0);
  EXPECT_EQ(refusal(print(cluster)), "");
}

TEST(ClusterTest, AFileThatIsNotThereIsNamed) {
  try {
    load_cluster("configs/clusters/none.textproto");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("--cluster configs/clusters/none.textproto"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace dagpam::configs
