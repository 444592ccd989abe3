// What describes a tokenizer. The first byte says what the rest is: 'j' the tokenizer.json of a
// checkpoint, 'g' encoder.json, a zero byte and vocab.bpe, 's' PREFIX.json of a text, 'p' that of
// sentence pairs, 'l' lines for `dagpam data encode`.
#include <sstream>

#include "data/encode_stream.h"
#include "data/gpt2_files.h"
#include "data/gpt2_tokenizer.h"
#include "data/pair_sidecar.h"
#include "data/sidecar.h"
#include "data/tokenizer.h"
#include "tests/data/toy_gpt2.h"
#include "tests/fuzz/scratch.h"

namespace dagpam::fuzz {
namespace {

// The ids of a text are of the vocabulary, and where the symbols are bytes they give it back.
void use(const data::Tokenizer& tokenizer, const std::string& text) {
  std::vector<int32_t> ids;
  try {
    tokenizer.encode(text, ids);
  } catch (const DataError& error) {
    require_one_line(error);
    return;
  }
  for (const int32_t id : ids) {
    require(id >= 0 && id < tokenizer.vocab_size(), "an id of the vocabulary");
  }
  const std::string back = tokenizer.decode(ids);
  require(tokenizer.kind() == "word" || back == text, "decode gives back what was encoded");
  require(tokenizer.cut(text, 1) >= 1 && tokenizer.cut(text, 1) <= text.size(),
          "a cut lies in the text");
}

void use(const data::Tokenizer& tokenizer) {
  // What spm and hf encode is another program's to say.
  const bool is_here = tokenizer.kind() != "spm" && tokenizer.kind() != "hf";
  for (const char* text : {"in the beginning", "a\n\n  b\xC3\xA9 <eos> c\t", "\xF0\x9F\x98\x80"}) {
    if (is_here) use(tokenizer, text);
  }
  const std::string json = tokenizer.to_json();
  const auto again = data::tokenizer_from_json(json);
  require(again->to_json() == json && again->digest() == tokenizer.digest(),
          "a tokenizer survives its description");
}

void run_gpt2(std::string_view input) {
  const size_t zero = std::min(input.find('\0'), input.size());
  scratch().put("encoder.json", input.substr(0, zero));
  scratch().put("vocab.bpe", input.substr(std::min(zero + 1, input.size())));
  use(data::Gpt2Tokenizer(data::read_gpt2_files(scratch().path())));
}

void run_sidecar(std::string_view input) {
  scratch().put("s.json", input);
  const data::Sidecar sidecar = data::read_sidecar(scratch() / "s");
  data::write_sidecar(scratch() / "t", sidecar);
  require(data::read_sidecar(scratch() / "t").tokenizer_json == sidecar.tokenizer_json,
          "a description survives its file");
  use(*data::tokenizer_from_json(sidecar.tokenizer_json));
}

void run_pair_sidecar(std::string_view input) {
  scratch().put("p.json", input);
  const data::PairSidecar sidecar = data::read_pair_sidecar(scratch() / "p");
  require(data::is_pair_set(scratch() / "p"), "what is read as pairs is told from a text");
  data::write_pair_sidecar(scratch() / "q", sidecar);
  require(data::read_pair_sidecar(scratch() / "q").splits.size() == sidecar.splits.size(),
          "a description survives its file");
}

void run_lines(std::string_view input) {
  static const auto tokenizer = data::make_tokenizer("char", "abc \n\xC3\xA9");
  std::istringstream in{std::string(input)};
  std::ostringstream out;
  data::encode_json_lines(*tokenizer, in, out);
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string pair_sidecar_json() {
  data::PairSidecar sidecar;
  const auto tokenizer = data::make_tokenizer("byte", "");
  sidecar.tokenizer_json = tokenizer->to_json();
  sidecar.tokenizer_digest = tokenizer->digest();
  sidecar.vocab_size = 259;
  sidecar.special = {256, 257, 258};
  const data::PairSide side{
      5, 3, std::string(32, 'a'), {"train", "a.txt", 4, std::string(32, 'b')}};
  sidecar.splits.push_back({"train", 2, 1, 0, side, side});
  data::write_pair_sidecar(scratch() / "seed", sidecar);
  return text_of(scratch() / "seed.json");
}

std::string sidecar_json() {
  data::Sidecar sidecar;
  const auto tokenizer = data::make_tokenizer("char", "abc");
  sidecar.tokenizer_json = tokenizer->to_json();
  sidecar.tokenizer_digest = tokenizer->digest();
  sidecar.vocab_size = tokenizer->vocab_size();
  sidecar.train_tokens = 3;
  sidecar.train_bytes = 3;
  sidecar.train_characters = 3;
  sidecar.train_digest = std::string(32, 'a');
  sidecar.sources.push_back({"train", "a.txt", 3, std::string(32, 'b')});
  data::write_sidecar(scratch() / "seed", sidecar);
  return text_of(scratch() / "seed.json");
}

}  // namespace

std::vector<Seed> seeds() {
  const data::Gpt2Vocabulary toy = data::toy_gpt2();
  const std::string encoder = data::encoder_json(toy), merges = data::vocab_bpe(toy);
  const std::string zero(1, '\0');
  const std::string words = data::make_tokenizer("word", "in the beginning <unk>\n")->to_json();
  return {
      {"j{\"kind\":\"byte\"}", true},
      {"j" + data::make_tokenizer("char", "abc \n\xC3\xA9")->to_json(), true},
      {"j" + words, true},
      {"j" + data::Gpt2Tokenizer(toy).to_json(), true},
      {"g" + encoder + zero + merges, true},
      {"s" + sidecar_json(), true},
      {"p" + pair_sidecar_json(), true},
      {"j{\"kind\":\"spm\",\"vocab_size\":300,\"pad\":0,\"unk\":1,\"bos\":2,\"eos\":3,"
       "\"line_end\":14,\"model\":\"Zm9v\"}",
       true},
      {"j{\"kind\":\"hf\",\"vocab_size\":300,\"end_of_text\":-1,\"tokenizer_json\":\"{}\"}", true},
      {"p" + sidecar_json(), false},
      {"s" + pair_sidecar_json(), false},
      {"l\"abc\"\n\"a \\u00e9\"\n", true},
      {"j{\"kind\":\"word\",\"words\":[\"\"]}", false},
      {"j{\"kind\":\"word\",\"words\":[\"a\",\"a\",\"<eos>\"]}", false},
      {"j{\"kind\":\"char\",\"characters\":\"\\ud800\"}", false},
      {"j{\"kind\":\"char\",\"characters\":\"aa\"}", false},
      {"j{\"kind\":\"gpt2\",\"tokens\":[],\"merges\":[\"a b\"]}", false},
      {"j" + std::string(2000, '['), false},
      {"j{\"kind\":\"byte\",\"kind\":\"byte\"}", false},
      {"g{\"a\":0,\"b\":18446744073709551615}" + zero + "a b\n", false},
      {"g" + encoder + zero + merges + "a  b\n", false},
      {"g" + encoder + zero + "t h\nt h\n", false},
      {"s{\"vocab_size\":-1}", false},
      {"l\"ab\n", false},
      {"l\"xyz\"\n", false},
      {"", false}};
}

bool run(std::string_view input) {
  const char kind = input.empty() ? '\0' : input.front();
  if (!input.empty()) input.remove_prefix(1);
  try {
    if (kind == 'j') use(*data::tokenizer_from_json(input));
    if (kind == 'g') run_gpt2(input);
    if (kind == 's') run_sidecar(input);
    if (kind == 'p') run_pair_sidecar(input);
    if (kind == 'l') run_lines(input);
    return kind != '\0' && std::string_view("jgspl").find(kind) != std::string_view::npos;
  } catch (const DataError& error) {
    require_one_line(error);
    return false;
  }
}

}  // namespace dagpam::fuzz
