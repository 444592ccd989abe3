#include "data/verify.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <vector>

#include "configs/errors.h"
#include "data/digest.h"
#include "data/indexed_writer.h"
#include "tests/data/scratch_folder.h"

namespace dagpam::data {
namespace {

using Ids = std::vector<int32_t>;

class VerifyTest : public ::testing::Test {
 protected:
  VerifyTest() {
    sidecar_.tokenizer_json = R"({"kind":"byte"})";
    sidecar_.tokenizer_digest = xxh3_hex(sidecar_.tokenizer_json);
    sidecar_.vocab_size = 256;
    sidecar_.train_digest = write("train", Ids(200'000, 5));
    sidecar_.train_tokens = 200'000;
    sidecar_.test_digest = write("test", {1, 2, 255});
    sidecar_.test_tokens = 3;
    write_sidecar(prefix(), sidecar_);
  }

  std::string prefix() const { return folder_ / "a"; }

  std::string write(const std::string& split, const Ids& ids) const {
    IndexedWriter writer(prefix() + "." + split, TokenWidth::kU16);
    writer.add_document(std::span(ids).first(1));
    writer.add_document(std::span(ids).subspan(1));
    writer.finish();
    return writer.digest();
  }

  ScratchFolder folder_;
  Sidecar sidecar_;
};

TEST_F(VerifyTest, GoodDataSet) {
  for (const DatasetReport& report : {describe_dataset(prefix()), verify_dataset(prefix())}) {
    EXPECT_TRUE(report.good());
    EXPECT_EQ(report.prefix, prefix());
    ASSERT_TRUE(report.sidecar.has_value());
    EXPECT_EQ(report.sidecar->vocab_size, 256);
    ASSERT_EQ(report.splits.size(), 2u);
    EXPECT_EQ(report.splits[0].name, "train");
    EXPECT_EQ(report.splits[0].token_type, "u16");
    EXPECT_EQ(report.splits[0].tokens, 200'000);
    EXPECT_EQ(report.splits[0].documents, 2);
    EXPECT_EQ(report.splits[0].sequences, 2);
    EXPECT_EQ(report.splits[0].digest, sidecar_.train_digest);
    EXPECT_EQ(report.splits[1].name, "test");
    EXPECT_EQ(report.splits[1].tokens, 3);
  }
  EXPECT_EQ(verify_dataset(prefix()).splits[1].largest_id, 255);
}

TEST_F(VerifyTest, FindsAllBadTokens) {
  Ids ids(200'000, 5);
  for (const size_t at : {70'000, 65'536, 199'999}) ids[at] = 256;
  ids[65'536] = 65'535;
  sidecar_.train_digest = write("train", ids);
  write_sidecar(prefix(), sidecar_);
  const DatasetReport report = verify_dataset(prefix());
  EXPECT_FALSE(report.good());
  const SplitReport& train = report.splits[0];
  EXPECT_EQ(train.bad_tokens, 3);
  EXPECT_EQ(train.first_bad_position, 65'536);
  EXPECT_EQ(train.first_bad_id, 65'535);
  EXPECT_EQ(train.largest_id, 65'535);
  expect_message(train.problem, {"a.train.bin", "3 tokens", "token 65536", "id 65535", "0 to 255"});
  EXPECT_TRUE(report.splits[1].problem.empty());
}

TEST_F(VerifyTest, FindsAChangedTokenThatIsStillInTheVocabulary) {
  std::string bytes = read_bytes(prefix() + ".train.bin");
  bytes[12'344] = 1;
  write_bytes(prefix() + ".train.bin", bytes);
  EXPECT_TRUE(describe_dataset(prefix()).good());
  expect_message(verify_dataset(prefix()).splits[0].problem,
                 {"a.train", "digest", sidecar_.train_digest});
}

TEST_F(VerifyTest, FindsADamagedIndexAndGoesOn) {
  std::string bytes = read_bytes(prefix() + ".train.idx");
  bytes[34] = 9;
  write_bytes(prefix() + ".train.idx", bytes);
  ASSERT_EQ(::truncate((prefix() + ".test.bin").c_str(), 2), 0);
  const DatasetReport report = verify_dataset(prefix());
  expect_message(report.splits[0].problem, {"a.train.idx", "sequence"});
  expect_message(report.splits[1].problem, {"a.test.idx", "sequence length"});
  EXPECT_THROW(describe_dataset(prefix()), DataError);
}

TEST_F(VerifyTest, SplitOfTheSidecarWithoutFiles) {
  ASSERT_EQ(::unlink((prefix() + ".test.bin").c_str()), 0);
  ASSERT_EQ(::unlink((prefix() + ".test.idx").c_str()), 0);
  const DatasetReport report = verify_dataset(prefix());
  ASSERT_EQ(report.splits.size(), 2u);
  expect_message(report.splits[1].problem, {"a.test.bin", "No such file"});
}

TEST_F(VerifyTest, DataOfOtherProgramsHasNoSidecar) {
  ASSERT_EQ(::unlink((prefix() + ".json").c_str()), 0);
  const DatasetReport report = verify_dataset(prefix());
  EXPECT_TRUE(report.good());
  EXPECT_FALSE(report.sidecar.has_value());
  EXPECT_EQ(report.splits[0].digest.size(), 32u);
  EXPECT_EQ(report.splits[1].largest_id, 255);
}

TEST_F(VerifyTest, LlmcFile) {
  const std::string path = folder_ / "tokens.bin";
  write_bytes(path, packed(int32_t{20240801}, int32_t{7}, int32_t{2}) + std::string(1012, '\0') +
                        packed(uint32_t{7}, uint32_t{128'000}));
  const DatasetReport report = verify_dataset(path);
  EXPECT_TRUE(report.good());
  ASSERT_EQ(report.splits.size(), 1u);
  EXPECT_EQ(report.splits[0].token_type, "u32");
  EXPECT_EQ(report.splits[0].tokens, 2);
  EXPECT_EQ(report.splits[0].largest_id, 128'000);
}

TEST_F(VerifyTest, NothingThere) {
  expect_message(message_of<DataError>([&] { verify_dataset(folder_ / "no"); }),
                 {"no", ".train.idx", "data prepare"});
}

}  // namespace
}  // namespace dagpam::data
