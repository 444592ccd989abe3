// Made to deceive: manifests and shards whose digests are true and whose content is not. All are
// refused by one line, nothing outside the folder is opened, and little memory is taken.
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>

#include "tests/trainer/checkpoint_fixtures.h"
#include "tests/trainer/forwarding_file_system.h"

namespace dagpam::checkpoint::testing {
namespace {

using configs::Manifest;
namespace fs = std::filesystem;

class CheckpointHostile : public ::testing::Test {
 protected:
  void SetUp() override { path_ = Save{.directory = folder_.path()}.run(); }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

  void expect_refused(const std::string& because) {
    const std::string problem = problem_of(path_);
    EXPECT_NE(problem.find(because), std::string::npos)
        << "expected '" << because << "', got: '" << problem << "'";
    EXPECT_EQ(problem.find('\n'), std::string::npos);
    EXPECT_LT(problem.size(), 1000u);
  }

  TemporaryFolder folder_;
  std::string path_;
};

struct Edit {
  const char* because;
  std::function<void(Manifest&)> edit;
};

// Files 0 and 1 are the copies, 2 and 3 the shards; tensor 0 is embedding.weight [10, 6] cut along
// 0.
const std::vector<Edit>& edits() {
  static const std::vector<Edit> table{
      {"use the program that wrote it", [](Manifest& m) { m.set_format_version(2); }},
      {"format_version", [](Manifest& m) { m.set_format_version(0); }},
      {"format_version", [](Manifest& m) { m.clear_format_version(); }},
      {"program_version", [](Manifest& m) { m.set_program_version("a\nb"); }},
      {"run_id", [](Manifest& m) { m.set_run_id("../x"); }},
      {"run_id", [](Manifest& m) { m.clear_run_id(); }},
      {"step", [](Manifest& m) { m.set_step(-1); }},
      {"renamed", [](Manifest& m) { m.set_step(INT64_MAX); }},
      {"tokens_seen", [](Manifest& m) { m.set_tokens_seen(-1); }},
      {"seed", [](Manifest& m) { m.clear_seed(); }},
      {"config_digest", [](Manifest& m) { m.set_config_digest(std::string(32, 'A')); }},
      {"config_digest", [](Manifest& m) { m.set_config_digest(std::string(31, 'a')); }},
      {"tokenizer_digest", [](Manifest& m) { m.set_tokenizer_digest(std::string(32, 'g')); }},
      {"grid", [](Manifest& m) { m.mutable_grid()->set_data(0); }},
      {"grid", [](Manifest& m) { m.mutable_grid()->set_tensor(INT64_MAX); }},
      {"shard-00000-of-00004", [](Manifest& m) { m.mutable_grid()->set_data(2); }},
      {"shard-00000-of-00001", [](Manifest& m) { m.mutable_grid()->set_tensor(1); }},
      {"next_sample", [](Manifest& m) { m.mutable_position()->set_next_sample(-1); }},
      {"drawn", [](Manifest& m) { m.mutable_position()->mutable_sources(0)->set_drawn(-5); }},
      {"drawn_before_weights",
       [](Manifest& m) { m.mutable_position()->mutable_sources(0)->set_drawn_before_weights(-1); }},
      {"drawn_before_weights",
       [](Manifest& m) {
         m.mutable_position()->mutable_sources(0)->set_drawn_before_weights(4801);
       }},
      {"digest", [](Manifest& m) { m.mutable_position()->mutable_sources(0)->set_digest(""); }},
      {"decay_steps", [](Manifest& m) { m.mutable_schedule()->set_decay_steps(-1); }},
      {"lr", [](Manifest& m) { m.mutable_schedule()->set_lr(NAN); }},
      {"loss", [](Manifest& m) { m.set_loss(INFINITY); }},
      {"block_bytes", [](Manifest& m) { m.set_block_bytes(0); }},
      {"block_bytes", [](Manifest& m) { m.set_block_bytes(1); }},
      {"no folder", [](Manifest& m) { m.mutable_files(2)->set_name("../x"); }},
      {"no folder", [](Manifest& m) { m.mutable_files(2)->set_name("/etc/passwd"); }},
      {"no folder", [](Manifest& m) { m.mutable_files(2)->set_name(".."); }},
      {"no folder", [](Manifest& m) { m.mutable_files(2)->set_name(""); }},
      {"no folder", [](Manifest& m) { m.mutable_files(2)->set_name(std::string("a\0b", 3)); }},
      {"no folder", [](Manifest& m) { m.mutable_files(2)->set_name(kManifestName); }},
      {"twice", [](Manifest& m) { m.mutable_files(2)->set_name(m.files(3).name()); }},
      {"config.textproto", [](Manifest& m) { m.mutable_files(0)->set_name("x"); }},
      {"bytes", [](Manifest& m) { m.mutable_files(2)->set_bytes(-1); }},
      {"blocks", [](Manifest& m) { m.mutable_files(2)->set_bytes(INT64_MAX); }},
      {"has ", [](Manifest& m) { m.mutable_files(2)->set_bytes(m.files(2).bytes() + 1); }},
      {"blocks", [](Manifest& m) { m.mutable_files(2)->add_blocks(std::string(32, '0')); }},
      {"blocks", [](Manifest& m) { m.mutable_files(2)->clear_blocks(); }},
      {"lower-case", [](Manifest& m) { m.mutable_files(2)->set_blocks(0, std::string(32, 'F')); }},
      {"shards for the grid",
       [](Manifest& m) { *m.add_files() = m.files(2), m.mutable_files(4)->set_name("shard-9"); }},
      {"printable name", [](Manifest& m) { m.mutable_tensors(0)->set_name("a b"); }},
      {"printable name", [](Manifest& m) { m.mutable_tensors(0)->set_name("__metadata__"); }},
      {"twice", [](Manifest& m) { m.mutable_tensors(0)->set_name(m.tensors(1).name()); }},
      {"dtype", [](Manifest& m) { m.mutable_tensors(0)->set_dtype("PICKLE"); }},
      {"dimensions",
       [](Manifest& m) {
         for (int i = 0; i < 9; ++i) m.mutable_tensors(0)->add_shape(1);
       }},
      {"counted", [](Manifest& m) { m.mutable_tensors(0)->set_shape(0, INT64_MIN); }},
      {"counted", [](Manifest& m) { m.mutable_tensors(0)->set_shape(0, int64_t{1} << 62); }},
      {"counted",
       [](Manifest& m) {
         m.mutable_tensors(0)->set_shape(0, int64_t{1} << 32),
             m.mutable_tensors(0)->set_shape(1, int64_t{1} << 32);
       }},
      {"in no piece", [](Manifest& m) { m.mutable_tensors(0)->set_shape(0, 11); }},
      {"not inside", [](Manifest& m) { m.mutable_tensors(0)->set_shape(0, 9); }},
      {"in no piece", [](Manifest& m) { m.mutable_tensors(0)->mutable_pieces()->RemoveLast(); }},
      {"in no piece", [](Manifest& m) { m.mutable_tensors(0)->clear_pieces(); }},
      {"two pieces in one file",
       [](Manifest& m) { *m.mutable_tensors(0)->add_pieces() = m.tensors(0).pieces(0); }},
      {"stand in two pieces",
       [](Manifest& m) { m.mutable_tensors(0)->mutable_pieces(1)->set_start(0, 4); }},
      {"not inside",
       [](Manifest& m) { m.mutable_tensors(0)->mutable_pieces(1)->set_start(0, INT64_MAX); }},
      {"not inside",
       [](Manifest& m) { m.mutable_tensors(0)->mutable_pieces(1)->set_start(0, -5); }},
      {"not inside", [](Manifest& m) { m.mutable_tensors(0)->mutable_pieces(1)->add_start(0); }},
      {"index of a shard",
       [](Manifest& m) { m.mutable_tensors(0)->mutable_pieces(0)->set_file(0); }},
      {"index of a shard",
       [](Manifest& m) { m.mutable_tensors(0)->mutable_pieces(0)->set_file(-1); }},
      {"index of a shard",
       [](Manifest& m) { m.mutable_tensors(0)->mutable_pieces(0)->set_file(4); }},
      {"index of a shard",
       [](Manifest& m) { m.mutable_tensors(0)->mutable_pieces(0)->clear_file(); }},
      {"expected [10]",
       [](Manifest& m) {
         auto* t = m.mutable_tensors(2);  // [7], whole, in shard 0
         t->set_shape(0, 10), t->mutable_pieces(0)->set_shape(0, 10);
       }},
      {"of F32, expected", [](Manifest& m) { m.mutable_tensors(2)->set_dtype("I32"); }},
      {"too many", [](Manifest& m) { m.mutable_tensors()->DeleteSubrange(2, 1); }},
      {"tensors, expected",
       [](Manifest& m) {
         *m.add_tensors() = m.tensors(2), m.mutable_tensors(m.tensors_size() - 1)->set_name("new");
       }},
      {"block 0", [](Manifest& m) { m.mutable_files(2)->set_blocks(0, m.files(3).blocks(0)); }},
  };
  return table;
}

TEST_F(CheckpointHostile, ManifestsThatContradictThemselvesOrTheShards) {
  const std::string good = read_file(file(kManifestName));
  for (size_t i = 0; i < edits().size(); ++i) {
    SCOPED_TRACE("edit " + std::to_string(i));
    edit_manifest(path_, edits()[i].edit);
    expect_refused(edits()[i].because);
    write_file(file(kManifestName), good);
  }
  EXPECT_EQ(problem_of(path_), "");
}

TEST_F(CheckpointHostile, ManifestTextThatIsNoManifest) {
  const std::string good = read_file(file(kManifestName));
  const std::string body = good.substr(0, good.rfind("digest: "));
  std::string nested;
  for (int i = 0; i < 100'000; ++i) nested += "tensors{";
  const std::string nested_lists = "tensors: " + std::string(100'000, '[');
  const std::vector<std::pair<std::string, std::string>> table{
      {body + "colour: 7\n", "colour"},
      {body + "step: 1\n", "step"},  // a second value for a field
      {body + "grid { data: 1 }\n", "grid"},
      {body + "step: nine\n", ":"},
      {body + std::string(1, '\0'), ":"},
      {body + nested, "no field named"},
      {body + nested_lists, "Expected"},
      {std::string(300'000, '{'), "limit"},
      {std::string(900'000, '"'), "limit"},
      {std::string(2'000'001, ','), "limit"},
      {std::string(static_cast<size_t>(kMaxManifestBytes) + 1, ' '), "limit"},
      {"", "missing or bad"},
      {"\x80\x04\x95.", ":"},  // a pickle
  };
  for (size_t i = 0; i < table.size(); ++i) {
    SCOPED_TRACE("text " + std::to_string(i));
    write_file(file(kManifestName), sealed(table[i].first));
    expect_refused(table[i].second);
  }
}

TEST_F(CheckpointHostile, ALaterFormatNamesTheProgramThatIsNeeded) {
  std::string body = read_file(file(kManifestName));
  body.resize(body.rfind("digest: "));
  const std::string version = "program_version: \"" + program_version() + "\"";
  body.replace(body.find(version), version.size(), "program_version: \"7.3.1\"");
  write_file(file(kManifestName), sealed(body + "colour: 7\n"));
  expect_refused("written by dagpam '7.3.1' in format '1', this is dagpam " + program_version());
  body.replace(body.find("format_version: 1"), 17, "format_version: 2");
  write_file(file(kManifestName), sealed(body));
  expect_refused("written by dagpam '7.3.1' in format '2'");
}

TEST_F(CheckpointHostile, LinksPipesAndFoldersInPlaceOfFiles) {
  for (const std::string& name :
       {std::string(kManifestName), std::string(kConfigName), shard_name(1, 2)}) {
    const std::string away = folder_.path() + "/away";
    fs::rename(file(name), away);
    fs::create_symlink(away, file(name));  // the same bytes behind it
    expect_refused(name + ": not a regular file");
    fs::remove(file(name));
    fs::create_symlink("/nowhere", file(name));
    expect_refused(name + ": not a regular file");
    fs::remove(file(name));
    ASSERT_EQ(::mkfifo(file(name).c_str(), 0600), 0);  // opening it for reading would wait for ever
    expect_refused(name + ": not a regular file");
    fs::remove(file(name));
    fs::create_directory(file(name));
    expect_refused(name + ": not a regular file");
    fs::remove(file(name));
    fs::rename(away, file(name));
  }
  EXPECT_EQ(problem_of(path_), "");
}

TEST_F(CheckpointHostile, ShardsWithTrueDigestsAndFalseContent) {
  const std::string name = shard_name(0, 2);
  const std::string good = read_file(file(name));
  uint64_t length = 0;
  std::memcpy(&length, good.data(), sizeof length);
  const std::string header = good.substr(8, length);
  const std::string data = good.substr(8 + length);
  const auto with_length = [](uint64_t n, const std::string& rest) {
    return std::string(reinterpret_cast<const char*>(&n), sizeof n) + rest;
  };
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = header;
    text.replace(text.find(from), from.size(), to);
    return with_length(text.size(), text + data);
  };
  const std::vector<std::pair<std::string, std::string>> table{
      {"", "shorter than 8"},
      {with_length(UINT64_MAX, header + data), "passes the end"},
      {with_length(uint64_t{1} << 63, header + data), "passes the end"},
      {with_length(length, header), "tensors end"},
      {with_length(2, "{}" + data), "tensors end"},
      {with_length(2, "{}"), "run_id is ''"},
      {changed("run-7", "run-8"), "run_id"},
      {changed("\"100\"", "\"101\""), "step"},
      {changed("shard-00000", "shard-00001"), "shard is"},
      {changed("embedding.weight", "embedding.wEight"), "too many"},
      {changed("[5,6]", "[6,5]"), "expected [5, 6]"},
      {changed("F32", "I32"), "of I32"},
      {with_length(length + 400'000, header + std::string(400'000, ' ') + data), "limit"},
      {"\x80\x04\x95 pickle bytes", "passes the end"},
      {"PK\x03\x04 zip archive bytes", "passes the end"},
  };
  for (size_t i = 0; i < table.size(); ++i) {
    SCOPED_TRACE("shard " + std::to_string(i));
    replace_file(path_, name, table[i].first);
    expect_refused(table[i].second);
    EXPECT_NE(problem_of(path_).find(name), std::string::npos);
  }
}

// A line of /proc/self/status, in KiB.
int64_t status_kib(const std::string& field) {
  const std::string text = read_file("/proc/self/status");
  const size_t at = text.find(field + ":");
  return at == std::string::npos ? 0 : std::stoll(text.substr(at + field.size() + 1));
}

// Manifests of the largest size that is read at all, made of what takes the most memory.
TEST_F(CheckpointHostile, TakesLittleMemory) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer's own memory is not ours";
#endif
  const auto fill = [](const std::string& head, const std::string& part, int64_t count,
                       const std::string& tail) {
    std::string body = head;
    for (int64_t i = 0; i < count; ++i) body += part;
    return sealed(body + tail);
  };
  const std::vector<std::function<std::string()>> texts{
      [&] { return fill("", "files{}\n", kMaxManifestMessages - 10, ""); },
      [&] { return fill("tensors{", "pieces{file:1}", kMaxManifestMessages - 10, "}\n"); },
      [&] { return fill("files{blocks:[\"\"", ",\"\"", kMaxManifestStrings - 10, "]}\n"); },
      [&] { return fill("tensors{shape:[0", ",0", kMaxManifestValues - 50, "]}\n"); },
      [&] { return fill("run_id:\"", "a", kMaxManifestBytes - 80, "\"\n"); },
  };
  for (size_t i = 0; i < texts.size(); ++i) {
    write_file(file(kManifestName), texts[i]());
    ::malloc_trim(0);
    write_file("/proc/self/clear_refs", "5\n");  // the peak starts anew
    const int64_t before = status_kib("VmRSS");
    expect_refused("missing or bad");
    const int64_t growth = (status_kib("VmHWM") - before) / 1024;
    EXPECT_LT(growth, 64) << "MiB, text " << i;
    EXPECT_GT(growth, 0) << "text " << i << ": nothing was measured";
  }
}

TEST_F(CheckpointHostile, OpensNothingOutsideTheFolder) {
  RecordingFileSystem recorder;
  EXPECT_EQ(problem_of(path_, recorder), "");
  edit_manifest(path_, [](Manifest& m) { m.mutable_files(2)->set_name("../x"); });
  EXPECT_NE(problem_of(path_, recorder), "");
  int opened = 0;
  for (const auto& [operation, path] : recorder.attempts()) {
    if (operation != "open_read" && operation != "lstat") continue;
    ++opened;
    EXPECT_TRUE(path == path_ || path.starts_with(path_ + "/")) << path;
    EXPECT_EQ(path.find(".."), std::string::npos) << path;
  }
  EXPECT_GT(opened, 5);
}

}  // namespace
}  // namespace dagpam::checkpoint::testing
