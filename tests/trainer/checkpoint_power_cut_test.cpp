// A power cut takes what was not made durable. At every call of a run's saves, and for samples of
// what a disk may then hold, every checkpoint that shows is whole and none that was reported is
// lost. And it is the fsyncs that see to it: without any one of them the promise breaks.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/trainer/checkpoint_fixtures.h"
#include "tests/trainer/memory_file_system.h"

namespace dagpam::checkpoint::testing {
namespace {

const std::string kDirectory = "/run/checkpoints";

// Samples for each call; DAGPAM_POWER_CUTS=1000 for a long run by hand.
int samples_each_cut() {
  const char* text = std::getenv("DAGPAM_POWER_CUTS");
  return text == nullptr ? 6 : std::atoi(text);
}

struct PowerCut {};

// Loses power at its n-th change; may leave out its n-th fsync and say that it was done.
class Machine final : public MemoryFileSystem {
 public:
  Machine(int cut_at, int lazy_fsync) : cut_at_(cut_at), lazy_fsync_(lazy_fsync) {}

  int open_write(const std::string& path) override {
    change();
    return MemoryFileSystem::open_write(path);
  }
  ssize_t write(int fd, std::span<const std::byte> bytes) override {
    change();
    return MemoryFileSystem::write(fd, bytes);
  }
  int fsync(int fd) override {
    change();
    return fsyncs_++ == lazy_fsync_ ? 0 : MemoryFileSystem::fsync(fd);
  }
  int rename(const std::string& from, const std::string& to) override {
    change();
    return MemoryFileSystem::rename(from, to);
  }
  int mkdir(const std::string& path) override {
    change();
    return MemoryFileSystem::mkdir(path);
  }
  int unlink(const std::string& path) override {
    change();
    return MemoryFileSystem::unlink(path);
  }
  int rmdir(const std::string& path) override {
    change();
    return MemoryFileSystem::rmdir(path);
  }

  int changes() const { return changes_; }
  int fsyncs() const { return fsyncs_; }

 private:
  void change() {
    if (changes_ == cut_at_) throw PowerCut{};
    ++changes_;
  }

  const int cut_at_, lazy_fsync_;
  int changes_ = 0, fsyncs_ = 0;
};

// What the program has said so far.
struct Reported {
  int64_t newest = -1;          // step of the last save that returned
  std::vector<int64_t> saved;   // steps whose save has begun
  bool may_be_damaged = false;  // a damaged checkpoint lies there
};

using Story = std::function<void(FileSystem&, Reported&)>;

void save(FileSystem& fs, Reported& reported, int64_t step) {
  reported.saved.push_back(step);
  Save{.fs = fs, .directory = kDirectory, .step = step}.run();
  reported.newest = step;
}

// A new run: three saves, of which the third removes the first.
void new_run(FileSystem& fs, Reported& reported) {
  for (const int64_t step : {100, 200, 300}) {
    remove_stale(fs, kDirectory, kLease);
    save(fs, reported, step);
    prune(fs, kDirectory, {.keep = 2}, kLease);
  }
}

// A save of a step whose checkpoint is damaged: that one is set aside.
void over_a_damaged_one(FileSystem& fs, Reported& reported) {
  save(fs, reported, 100);
  save(fs, reported, 200);
  reported.may_be_damaged = true;
  reported.newest = 100;
  const std::string file = kDirectory + "/" + step_name(200) + "/" + kConfigName;
  OutputFile damage(fs, file);
  damage.write(as_bytes("damage"));
  damage.finish();
  Save{.fs = fs, .directory = kDirectory, .step = 200, .lease = kOtherLease}.run();
  reported.newest = 200;
  reported.may_be_damaged = false;
}

// "" or why the checkpoint is not what was saved at that step.
std::string flaw_of(FileSystem& fs, const StepFolder& folder) {
  std::unique_ptr<Checkpoint> checkpoint;
  try {
    checkpoint = open_checkpoint(fs, folder.path);
  } catch (const CheckpointError& error) {
    return error.what();
  }
  for (const TestTensor& tensor : small_state()) {
    const std::vector<float> expected = whole(tensor, folder.step);
    if (read(*checkpoint, tensor.name, {}, expected.size()) != expected) {
      return folder.path + ": " + tensor.name + " holds other values than were saved";
    }
  }
  return "";
}

// "" or which promise the disk does not keep after the power cut.
std::string broken_promise(MemoryFileSystem& disk, const Reported& reported) {
  int64_t newest = -1;
  for (const StepFolder& folder : list_checkpoints(disk, kDirectory)) {
    const std::string flaw = flaw_of(disk, folder);
    if (!flaw.empty() && reported.may_be_damaged && folder.step == 200) continue;
    if (!flaw.empty()) return "in part: " + flaw;
    newest = folder.step;
  }
  if (newest < reported.newest) {
    return "lost: step " + std::to_string(reported.newest) + " was reported, " +
           std::to_string(newest) + " is there";
  }
  if (newest >= 0 && newest != reported.newest && newest != reported.saved.back()) {
    return "neither old nor new: " + std::to_string(newest);
  }
  // The next start cleans up and saves.
  const std::string lease(32, 'c');
  remove_stale(disk, kDirectory, lease);
  Save{.fs = disk, .directory = kDirectory, .step = 400, .lease = lease}.run();
  prune(disk, kDirectory, {.keep = 1}, lease);
  for (const std::string& name : list_folder(disk, kDirectory)) {
    if (name != step_name(400) && !name.starts_with(".damaged-")) return "left over: " + name;
  }
  return "";
}

struct Outcome {
  int cuts = 0, states = 0;
  std::string broken;  // the first promise
};

// Tells the story until each of its changes, and looks at what a disk may hold then: nothing of
// what was not synced, all of it, and `samples` parts of it.
Outcome tell(const Story& story, int lazy_fsync, int samples) {
  Outcome outcome;
  std::mt19937_64 random(5);
  for (bool finished = false; !finished; ++outcome.cuts) {
    Machine machine(outcome.cuts, lazy_fsync);
    Reported reported;
    try {
      story(machine, reported);
      finished = true;
    } catch (const PowerCut&) {
      EXPECT_EQ(machine.changes(), outcome.cuts);
    }
    for (int i = 0; i < samples + 2; ++i) {
      const auto keep = i == 0   ? MemoryFileSystem::Keep::kNothing
                        : i == 1 ? MemoryFileSystem::Keep::kEverything
                                 : MemoryFileSystem::Keep::kAnyPart;
      MemoryFileSystem disk = machine.power_cut(keep, random);
      ++outcome.states;
      const std::string broken = broken_promise(disk, reported);
      if (broken.empty()) continue;
      outcome.broken = "cut at change " + std::to_string(outcome.cuts) + ": " + broken;
      return outcome;
    }
  }
  return outcome;
}

int fsyncs_of(const Story& story) {
  Machine machine(-1, -1);
  Reported reported;
  story(machine, reported);
  return machine.fsyncs();
}

TEST(CheckpointPowerCut, OldOrNewIsThereAndWhole) {
  for (const Story& story : {Story(new_run), Story(over_a_damaged_one)}) {
    const Outcome outcome = tell(story, -1, samples_each_cut());
    EXPECT_EQ(outcome.broken, "");
    EXPECT_GT(outcome.cuts, 50);
    EXPECT_GE(outcome.states, 500);
    std::printf("%d cuts, %d states of the disk\n", outcome.cuts, outcome.states);
  }
}

TEST(CheckpointPowerCut, EveryFsyncIsNeeded) {
  const int fsyncs = fsyncs_of(new_run);
  EXPECT_EQ(fsyncs, 2 + 3 * 7 + 1);  // folders above; a save: 5 files, 2 folders; retention
  for (int lazy = 0; lazy < fsyncs; ++lazy) {
    EXPECT_NE(tell(new_run, lazy, 2).broken, "") << "fsync " << lazy << " could be left out";
  }
}

// The model itself: what is not synced can be lost, what is synced cannot.
TEST(CheckpointPowerCut, TheModelLosesWhatIsNotSynced) {
  std::mt19937_64 random(1);
  MemoryFileSystem fs;
  make_folder(fs, "/a");
  sync_folder(fs, "/");
  {
    OutputFile file(fs, "/a/x");
    file.write(as_bytes("123"));
    file.finish();
  }
  const auto nothing = [&] { return fs.power_cut(MemoryFileSystem::Keep::kNothing, random); };
  MemoryFileSystem disk = nothing();
  EXPECT_TRUE(list_folder(disk, "/a").empty());  // the content is durable, the name is not
  sync_folder(fs, "/a");
  EXPECT_EQ(nothing().get("/a/x"), "123");
  const int fd = fs.open_write("/a/x");
  fs.write(fd, as_bytes("12345678"));
  EXPECT_EQ(nothing().get("/a/x"), "123");
  EXPECT_EQ(fs.power_cut(MemoryFileSystem::Keep::kEverything, random).get("/a/x"), "12345678");
  fs.close(fd);
  rename_path(fs, "/a/x", "/a/y");
  disk = nothing();
  EXPECT_EQ(list_folder(disk, "/a"), std::vector<std::string>{"x"});
}

}  // namespace
}  // namespace dagpam::checkpoint::testing
