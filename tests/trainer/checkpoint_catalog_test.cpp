// Which checkpoints there are, which one is meant, which go, and how they are shown.
#include <gtest/gtest.h>

#include "tests/trainer/checkpoint_fixtures.h"
#include "trainer/checkpoint/compare.h"
#include "trainer/checkpoint/report.h"

namespace dagpam::checkpoint::testing {
namespace {

namespace fs = std::filesystem;

class CheckpointCatalog : public ::testing::Test {
 protected:
  std::string run_dir() const { return folder_.path(); }
  std::string directory() const { return folder_.path() + "/checkpoints"; }
  std::string save(int64_t step) const {
    return Save{.directory = directory(), .step = step}.run();
  }

  static void damage(const std::string& path) { write_file(path + "/" + kConfigName, "damage"); }

  std::vector<int64_t> steps() const {
    std::vector<int64_t> out;
    for (const StepFolder& folder : list_checkpoints(fs_, directory())) out.push_back(folder.step);
    return out;
  }
  std::string resolved(const std::string& spec) const { return resolve(fs_, run_dir(), spec).path; }

  FileSystem& fs_ = posix_file_system();
  TemporaryFolder folder_;
};

using Steps = std::vector<int64_t>;

TEST_F(CheckpointCatalog, NamesAreReadBackExactly) {
  EXPECT_EQ(step_name(7), "step-00000007");
  EXPECT_EQ(step_name(123456789012), "step-123456789012");
  for (const int64_t step : {int64_t{0}, int64_t{99999999}, int64_t{100000000}, INT64_MAX}) {
    EXPECT_EQ(step_of("/a/b/" + step_name(step)), step);
    EXPECT_EQ(step_of(step_name(step) + "/"), step);
  }
  for (const char* name : {"step-1", "step-", "step-0000001x", "step--0000001", "step-+0000001", "",
                           "step-000000001", "step-99999999999999999999", "xstep-00000001", "/"}) {
    EXPECT_EQ(step_of(name), std::nullopt) << name;
  }
}

TEST_F(CheckpointCatalog, ListsCommittedOnesByStep) {
  EXPECT_EQ(steps(), Steps{});
  save(200);
  save(100);
  fs::create_directory(directory() + "/" + temporary_name(300, kLease));
  fs::create_directory(directory() + "/step-4");
  write_file(directory() + "/step-00000500", "a file");
  fs::create_symlink(directory() + "/step-00000100", directory() + "/step-00000600");
  EXPECT_EQ(steps(), (Steps{100, 200}));
}

TEST_F(CheckpointCatalog, ResolvesWhatIsMeant) {
  EXPECT_EQ(resolved("auto"), "");
  for (const char* spec : {"latest", "latest-valid", "100", "elsewhere"}) {
    EXPECT_THROW(resolved(spec), CheckpointError) << spec;
  }
  const std::string first = save(100);
  const std::string second = save(200);
  const std::string third = save(300);
  for (const char* spec : {"auto", "latest", "latest-valid", "300"})
    EXPECT_EQ(resolved(spec), third);
  EXPECT_EQ(resolved("100"), first);
  EXPECT_EQ(resolved(second), second);
  EXPECT_THROW(resolved("150"), CheckpointError);

  damage(third);
  EXPECT_EQ(resolved("latest"), third);  // opening it says what is wrong: no silent step back
  const Resolved valid = resolve(fs_, run_dir(), "latest-valid");
  EXPECT_EQ(valid.path, second);
  ASSERT_EQ(valid.skipped.size(), 1u);
  EXPECT_NE(valid.skipped[0].find("step-00000300/config.textproto"), std::string::npos);
  damage(first);
  damage(second);
  EXPECT_THROW(resolved("latest-valid"), CheckpointError);
}

TEST_F(CheckpointCatalog, FindsTheCheckpointOfARunOrItsFolder) {
  EXPECT_THROW(find_checkpoint(fs_, run_dir()), CheckpointError);
  save(100);
  const std::string newest = save(200);
  EXPECT_EQ(find_checkpoint(fs_, run_dir()), newest);
  EXPECT_EQ(find_checkpoint(fs_, directory()), newest);
  EXPECT_EQ(find_checkpoint(fs_, newest), newest);
}

TEST_F(CheckpointCatalog, RemovesWhatDiedAndNothingElse) {
  save(100);
  const std::vector<std::string> stale{temporary_name(200, kOtherLease),
                                       trash_name(50, kOtherLease)};
  const std::vector<std::string> kept{temporary_name(200, kLease),
                                      damaged_name(1, kOtherLease),
                                      ".tmp-notes",
                                      ".tmp-step-00000200-short",
                                      ".tmp-step-2-" + kOtherLease,
                                      "tmp-step-00000200-" + kOtherLease};
  for (const auto& names : {stale, kept}) {
    for (const std::string& name : names) {
      fs::create_directory(directory() + "/" + name);
      write_file(directory() + "/" + name + "/file", "x");
    }
  }
  EXPECT_EQ(remove_stale(fs_, directory(), kLease), stale);
  for (const std::string& name : stale) EXPECT_FALSE(fs::exists(directory() + "/" + name));
  for (const std::string& name : kept) EXPECT_TRUE(fs::exists(directory() + "/" + name)) << name;
  EXPECT_EQ(steps(), Steps{100});
  EXPECT_TRUE(remove_stale(fs_, directory() + "/none", kLease).empty());
}

TEST_F(CheckpointCatalog, PruneKeepsTheNewestAndTheMultiples) {
  for (const int64_t step : {100, 200, 300, 400, 500, 600}) save(step);
  EXPECT_EQ(prune(fs_, directory(), {.keep = 0}, kLease), Steps{});
  EXPECT_EQ(prune(fs_, directory(), {.keep = 6}, kLease), Steps{});
  EXPECT_EQ(prune(fs_, directory(), {.keep = 2, .keep_every = 300}, kLease),
            (Steps{100, 200, 400}));
  EXPECT_EQ(steps(), (Steps{300, 500, 600}));
  EXPECT_EQ(prune(fs_, directory(), {.keep = 1}, kLease), (Steps{300, 500}));
  EXPECT_EQ(prune(fs_, directory(), {.keep = 1}, kLease), Steps{});
  EXPECT_EQ(steps(), Steps{600});
  EXPECT_EQ(std::distance(fs::directory_iterator(directory()), fs::directory_iterator()), 1);
}

TEST_F(CheckpointCatalog, PruneKeepsTheBestOfThoseEvaluated) {
  // Step 300 has no loss, 400 is damaged though its manifest says that it is the best of all.
  for (const int64_t step : {100, 200, 300, 400, 500, 600}) {
    const std::string path = save(step);
    if (step == 300) continue;
    edit_manifest(path, [&](configs::Manifest& manifest) {
      manifest.set_valid_nll(step == 200 || step == 500 ? 2 : 3);
    });
  }
  write_file(directory() + "/step-00000400/" + kManifestName, "damage");
  EXPECT_EQ(prune(fs_, directory(), {.keep = 1, .keep_best = 1}, kLease),
            (Steps{100, 300, 400, 500}));
  EXPECT_EQ(steps(), (Steps{200, 600}));  // of equal ones the older
  for (const int64_t step : {700, 800}) {
    edit_manifest(save(step),
                  [&](configs::Manifest& m) { m.set_valid_nll(step == 700 ? 1 : 1.5); });
  }
  EXPECT_EQ(prune(fs_, directory(), {.keep = 1, .keep_best = 2}, kLease), (Steps{200, 600}));
  EXPECT_EQ(steps(), (Steps{700, 800}));
}

TEST_F(CheckpointCatalog, PruneRemovesNothingWhenTheNewestIsDamaged) {
  for (const int64_t step : {100, 200, 300}) save(step);
  damage(directory() + "/step-00000300");
  EXPECT_THROW(prune(fs_, directory(), {.keep = 1}, kLease), CheckpointError);
  EXPECT_EQ(steps(), (Steps{100, 200, 300}));
}

TEST_F(CheckpointCatalog, RowsAndTextSayWhatIsThere) {
  save(100);
  save(200);
  write_file(directory() + "/step-00000200/" + kManifestName, "damage");
  const std::vector<CheckpointRow> table = rows(fs_, directory());
  ASSERT_EQ(table.size(), 2u);
  EXPECT_EQ(table[0].step, 100);
  EXPECT_EQ(table[0].tokens, 123456);
  EXPECT_EQ(table[0].loss, 1.25);
  EXPECT_EQ(table[0].tensor_ranks, 2);
  EXPECT_EQ(table[0].problem, "");
  EXPECT_NE(table[1].problem, "");
  const std::string text = to_table(table);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
  EXPECT_NE(text.find("1.2500"), std::string::npos);
  EXPECT_NE(text.find("damaged: "), std::string::npos);

  const std::string shown = show(read_manifest(fs_, directory() + "/step-00000100"));
  for (const char* part :
       {"123456", "run-7", "1337", "4800", "1 data x 2 tensor", "embedding.weight", "[10, 6]",
        "2 pieces along dimension 0", "whole, file 2", "0.1", "shard-00001-of-00002.safetensors"}) {
    EXPECT_NE(shown.find(part), std::string::npos) << part << "\n" << shown;
  }
}

TEST_F(CheckpointCatalog, CompareFindsEveryDifferentBit) {
  const std::string one = Save{.directory = directory(), .step = 1000, .ranks = 1}.run();
  const std::string other =
      Save{.directory = folder_.path() + "/other", .step = 2000, .ranks = 4}.run();
  // value_at repeats every 1000 steps, so the two hold the same numbers under other cuts.
  const auto a = open_checkpoint(fs_, one);
  EXPECT_TRUE(compare(*a, *open_checkpoint(fs_, other)).equal());

  std::string bytes = read_file(other + "/" + shard_name(0, 4));
  bytes.back() = static_cast<char>(bytes.back() ^ 0x80);  // a sign
  replace_file(other, shard_name(0, 4), bytes);
  const Comparison flipped = compare(*a, *open_checkpoint(fs_, other));
  ASSERT_EQ(flipped.differences.size(), 1u);
  EXPECT_NE(flipped.differences[0].what.find("1 of "), std::string::npos);

  std::vector<TestTensor> state = small_state();
  state[0].name = "other.weight";
  state[1].shape = {4, 8};
  const auto c = open_checkpoint(
      fs_, Save{.directory = folder_.path() + "/third", .step = 1000, .state = state}.run());
  const Comparison others = compare(*a, *c);
  ASSERT_EQ(others.differences.size(), 3u);
  EXPECT_EQ(others.differences[0].tensor, "embedding.weight");
  EXPECT_EQ(others.differences[1].what, "F32 [4, 7] against F32 [4, 8]");
  EXPECT_EQ(others.differences[2].tensor, "other.weight");
}

TEST_F(CheckpointCatalog, CompareWalksLargeTensorsInParts) {
  const std::string one = Save{.directory = directory(), .step = 1, .state = large_state()}.run();
  const std::string other = Save{.directory = directory(), .step = 2, .state = large_state()}.run();
  const Comparison all = compare(*open_checkpoint(fs_, one), *open_checkpoint(fs_, other));
  ASSERT_EQ(all.differences.size(), large_state().size() - 1);  // all but the empty one
  EXPECT_EQ(all.differences.back().what, "2252800 of 2252800 elements differ, the first at [0, 0]");
}

}  // namespace
}  // namespace dagpam::checkpoint::testing
