// The tokenizer whose work another process does: `dagpam-tokenize`, built beside this test.
#include "data/spm_tokenizer.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <random>
#include <thread>

#include "configs/errors.h"
#include "data/lines.h"
#include "data/pair_dataset.h"
#include "data/prepare.h"
#include "data/prepare_pairs.h"
#include "data/spm_process.h"
#include "data/text_error.h"
#include "data/utf8.h"
#include "tests/data/scratch_folder.h"

namespace dagpam::data {
namespace {

using Ids = std::vector<int32_t>;

const std::string& program() {
  static const std::string path =
      (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "dagpam-tokenize").string();
  return path;
}

int run(const std::string& arguments) {
  return WEXITSTATUS(std::system((program() + " " + arguments).c_str()));
}

Ids encode(const Tokenizer& tokenizer, std::string_view text) {
  Ids ids;
  tokenizer.encode(text, ids);
  return ids;
}

class SpmTokenizerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<ScratchFolder>();
    std::string english, german;
    std::mt19937 random(1);
    const char* const words[][2] = {{"the", "das"},
                                    {"house", "Haus"},
                                    {"dog", "Hund"},
                                    {"runs", "l\xC3\xA4uft"},
                                    {"a", "ein"},
                                    {"green", "gr\xC3\xBCn"},
                                    {"street",
                                     "Stra\xC3\x9F"
                                     "e"},
                                    {"two", "zwei"}};
    for (int line = 0; line < 400; ++line) {
      for (int word = 0; word < 6; ++word) {
        const auto pick = random() % 8;
        english += std::string(word > 0 ? " " : "") + words[pick][0];
        german += std::string(word > 0 ? " " : "") + words[pick][1];
      }
      english += ".\n";
      german += ".\n";
    }
    write_bytes(*folder_ / "en", english);
    write_bytes(*folder_ / "de", german);
    ASSERT_EQ(run("train --input " + *folder_ / "en" + " " + *folder_ / "de" +
                  " --vocab-size 320 --out " + *folder_ / "joint >/dev/null"),
              0);
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::string model() { return *folder_ / "joint.model"; }
  static std::unique_ptr<Tokenizer> make() { return make_tokenizer("spm:" + model(), ""); }

  static std::unique_ptr<ScratchFolder> folder_;
};

std::unique_ptr<ScratchFolder> SpmTokenizerTest::folder_;

TEST_F(SpmTokenizerTest, TrainingRepeatsItself) {
  ASSERT_EQ(run("train --input " + *folder_ / "en" + " " + *folder_ / "de" +
                " --vocab-size 320 --out " + *folder_ / "again >/dev/null"),
            0);
  EXPECT_EQ(read_bytes(*folder_ / "again.model"), read_bytes(model()));
  EXPECT_EQ(read_bytes(*folder_ / "again.vocab"), read_bytes(*folder_ / "joint.vocab"));
  std::filesystem::remove(*folder_ / "again.model");
}

TEST_F(SpmTokenizerTest, FixedIds) {
  const auto tokenizer = make();
  EXPECT_EQ(tokenizer->kind(), "spm");
  EXPECT_EQ(tokenizer->vocab_size(), 320);
  const SpecialIds special = tokenizer->special_ids();
  EXPECT_EQ(special.pad, 0);
  EXPECT_EQ(special.bos, 2);
  EXPECT_EQ(special.eos, 3);
  EXPECT_EQ(tokenizer->end_of_text(), 3);
  EXPECT_EQ(tokenizer->decode(Ids{2, 3, 0}), "");
  // Their names within a text are text.
  const Ids ids = encode(*tokenizer, "</s><pad>");
  for (const int32_t id : ids) EXPECT_GE(id, 4);
  EXPECT_EQ(tokenizer->decode(ids), "</s><pad>");
}

TEST_F(SpmTokenizerTest, DecodeGivesTheTextBack) {
  const auto tokenizer = make();
  const std::string texts[] = {"",
                               " ",
                               "\n",
                               "a",
                               " a ",
                               "a\n",
                               "\n\n a  b",
                               "das Haus.\n",
                               "\ta\r\nb",
                               "\xF0\x9F\x98\x80",
                               "日本 und\n  Хлеб",
                               std::string("\0x", 2)};
  for (const std::string& text : texts) {
    EXPECT_EQ(tokenizer->decode(encode(*tokenizer, text)), text);
  }
  std::mt19937 random(2);
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (int i = 0; i < 40; ++i) {
      const auto kind = random() % 8;
      const auto letter = static_cast<char32_t>(random() % 26);
      const char32_t point = kind == 0   ? U' '
                             : kind == 1 ? U'\n'
                             : kind < 6  ? U'a' + letter
                                         : static_cast<char32_t>(random() % 0xD000);
      if (point != 0x2581) append_code_point(point, text);
    }
    EXPECT_EQ(tokenizer->decode(encode(*tokenizer, text)), text);
  }
}

TEST_F(SpmTokenizerTest, PartsGiveTheIdsOfTheWhole) {
  const auto tokenizer = make();
  const std::string text = "das Haus\n\n ein Hund \nthe dog";
  const Ids whole = encode(*tokenizer, text);
  for (size_t limit = 1; limit <= text.size(); ++limit) {
    Ids ids;
    for (size_t begin = 0; begin < text.size();) {
      const std::string_view rest = std::string_view(text).substr(begin);
      const size_t size = tokenizer->cut(rest, std::min(limit, rest.size()));
      tokenizer->encode(rest.substr(0, size), ids);
      begin += size;
    }
    EXPECT_EQ(ids, whole);
  }
  // The text of more ids begins with that of the first ones.
  for (size_t count = 0; count <= whole.size(); ++count) {
    EXPECT_TRUE(text.starts_with(tokenizer->decode(std::span(whole).first(count))));
  }
}

TEST_F(SpmTokenizerTest, LinesAtOnceAreTheLines) {
  const auto tokenizer = make();
  const auto words = make_tokenizer("word", "the dog <unk>\n");
  for (const std::string text :
       {"", "the", "the\n", "\n", "\n\n", "the dog\n\n the\n", "\nthe\ndog"}) {
    for (const Tokenizer* each : {tokenizer.get(), words.get()}) {
      Ids ids{7}, expected{7};
      std::vector<size_t> ends, expected_ends;
      each->encode_lines(text, ids, ends);
      LineReader lines(text);
      for (std::string_view line; lines.next(line);) {
        each->encode_prompt(line, expected);
        expected_ends.push_back(expected.size());
      }
      EXPECT_EQ(ids, expected) << text;
      EXPECT_EQ(ends, expected_ends) << text;
    }
  }
}

TEST_F(SpmTokenizerTest, DescriptionCarriesTheModel) {
  const auto tokenizer = make();
  const std::string json = tokenizer->to_json();
  const auto again = tokenizer_from_json(json);
  EXPECT_EQ(again->to_json(), json);
  EXPECT_EQ(again->digest(), tokenizer->digest());
  EXPECT_EQ(again->vocab_size(), 320);
  EXPECT_EQ(again->special_ids().eos, 3);
  EXPECT_EQ(encode(*again, "ein Hund"), encode(*tokenizer, "ein Hund"));
}

TEST_F(SpmTokenizerTest, BadDescriptions) {
  const std::string good = make()->to_json();
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string bad = good;
    const size_t at = bad.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return bad.replace(at, from.size(), to);
  };
  for (const auto& [json, part] : std::vector<std::pair<std::string, std::string>>{
           {changed("\"eos\":3", "\"eos\":320"), "'eos'"},
           {changed("\"eos\":3", "\"eos\":-2"), "'eos'"},
           {changed("\"eos\":3", "\"eos\":3.5"), "'eos'"},
           {changed("\"eos\":3,", ""), "'eos'"},
           {changed("\"vocab_size\":320", "\"vocab_size\":99999999"), "'vocab_size'"},
           {changed("\"model\":\"", "\"model\":\"*"), "'model'"},
           {changed("\"pad\":0", "\"pad\":0,\"more\":1"), "more"}}) {
    expect_message(message_of<DataError>([&] { tokenizer_from_json(json); }), {part});
  }
  // What does not hold once the model has been read.
  const auto wrong = tokenizer_from_json(changed("\"eos\":3", "\"eos\":4"));
  expect_message(message_of<DataError>([&] { encode(*wrong, "a"); }), {"320 symbols", "damaged"});
  const auto no_model =
      tokenizer_from_json(good.substr(0, good.find("\"model\":\"")) + "\"model\":\"Zm9v\"" +
                          good.substr(good.find(",\"pad\"")));
  expect_message(message_of<DataError>([&] { encode(*no_model, "a"); }),
                 {"tokenizer description", "no SentencePiece model"});
}

TEST_F(SpmTokenizerTest, BadInput) {
  const auto tokenizer = make();
  expect_message(message_of<TextError>([&] { encode(*tokenizer, "a\n\xFF"); }),
                 {"0xFF", "byte 2 (line 2, column 1)"});
  expect_message(message_of<DataError>([&] { tokenizer->decode(Ids{5, 320}); }), {"320"});
  expect_message(message_of<DataError>([&] { tokenizer->decode(Ids{-1}); }), {"-1"});
  expect_message(message_of<DataError>([&] { make_tokenizer("spm:" + *folder_ / "en", ""); }),
                 {*folder_ / "en", "no SentencePiece model", "dagpam-tokenize train"});
  expect_message(message_of<DataError>([&] { make_tokenizer("spm:/nowhere", ""); }), {"/nowhere"});
  EXPECT_EQ(tokenizer->decode(encode(*tokenizer, "still here")), "still here");
}

TEST_F(SpmTokenizerTest, ThreadsShareOneChild) {
  const std::string bytes = read_bytes(model());
  const auto first = SpmProcess::with_model(bytes, "a");
  EXPECT_EQ(SpmProcess::with_model(bytes, "b")->pid(), first->pid());
  const auto tokenizer = make();
  const Ids expected = encode(*tokenizer, "the dog runs\n");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) EXPECT_EQ(encode(*tokenizer, "the dog runs\n"), expected);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(SpmTokenizerTest, ALostChildIsSaidAndReplacedByTheNextTokenizer) {
  const std::string bytes = read_bytes(model());
  const auto process = SpmProcess::with_model(bytes, "a");
  ASSERT_EQ(::kill(process->pid(), SIGKILL), 0);
  Ids ids;
  for (int i = 0; i < 2; ++i) {
    expect_message(message_of<IoError>([&] { process->encode("a", ids); }),
                   {"dagpam-tokenize: ended by signal 9"});
  }
  const auto next = SpmProcess::with_model(bytes, "a");
  next->encode("a", ids);
  EXPECT_FALSE(ids.empty());
}

TEST_F(SpmTokenizerTest, TheChildEndsWithItsParentAndNotBySignalsOfAGroup) {
  const std::string bytes = read_bytes(model());
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const pid_t parent = ::fork();
  if (parent == 0) {
    const auto process = SpmProcess::with_model(bytes, "a");
    Ids ids;
    process->encode("a", ids);
    ::kill(process->pid(), SIGINT);
    ::kill(process->pid(), SIGTERM);
    process->encode("a", ids);
    const pid_t child = process->pid();
    if (::write(pipe_ends[1], &child, sizeof(child)) != sizeof(child)) ::_exit(1);
    ::kill(::getpid(), SIGKILL);
  }
  pid_t child = 0;
  ASSERT_EQ(::read(pipe_ends[0], &child, sizeof(child)), static_cast<ssize_t>(sizeof(child)));
  int status = 0;
  ::waitpid(parent, &status, 0);
  // An orphan is not ours to wait for: its name in /proc goes, or it is a zombie of the init.
  const auto is_alive = [child] {
    const std::string stat = read_bytes("/proc/" + std::to_string(child) + "/stat");
    return !stat.empty() && stat.find(") Z") == std::string::npos;
  };
  for (int i = 0; i < 500 && is_alive(); ++i) ::usleep(10'000);
  EXPECT_FALSE(is_alive());
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
}

TEST_F(SpmTokenizerTest, PreparedFilesHoldWhatTheProgramEncodes) {
  PreparePairsOptions options;
  options.train = {*folder_ / "en", *folder_ / "de"};
  options.tokenizer = "spm:" + model();
  options.out = *folder_ / "set";
  options.progress = nullptr;
  const PairSidecar made = prepare_pairs(options);
  EXPECT_EQ(made.vocab_size, 320);  // the ids are the model's own
  EXPECT_EQ(made.special.eos, 3);
  const PairDataset dataset(options.out, "train");
  for (const auto side : {PairSideName::kSource, PairSideName::kTarget}) {
    const std::string text = side == PairSideName::kSource ? "en" : "de";
    ASSERT_EQ(run("encode --model " + model() + " <" + *folder_ / text + " >" + *folder_ / "ids"),
              0);
    std::ifstream lines(*folder_ / "ids");
    std::string line;
    for (int64_t pair = 0; pair < dataset.pairs(); ++pair) {
      std::vector<int64_t> ids(static_cast<size_t>(dataset.length(side, pair)));
      dataset.read(side, pair, ids);
      ASSERT_TRUE(std::getline(lines, line));
      std::istringstream words(line);
      std::vector<int64_t> expected;
      for (int64_t id = 0; words >> id;) expected.push_back(id);
      expected.push_back(3);
      EXPECT_EQ(ids, expected);
    }
  }
}

TEST_F(SpmTokenizerTest, PlainTextIsPreparedToo) {
  PrepareOptions options;
  options.train = {*folder_ / "en"};
  options.tokenizer = "spm:" + model();
  options.out = *folder_ / "text";
  options.progress = nullptr;
  const Sidecar made = prepare(options);
  EXPECT_EQ(made.train_tokens, std::ssize(encode(*make(), read_bytes(*folder_ / "en"))));
}

}  // namespace
}  // namespace dagpam::data
