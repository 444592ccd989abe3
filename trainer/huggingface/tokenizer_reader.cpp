#include "trainer/huggingface/tokenizer_reader.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "configs/errors.h"
#include "data/gpt2_files.h"
#include "data/gpt2_tokenizer.h"
#include "trainer/checkpoint/file_operations.h"
#include "trainer/huggingface/export.h"
#include "trainer/huggingface/json_file.h"

namespace dagpam::huggingface {

using nlohmann::json;

namespace {

constexpr char kRemedy[] = ": say --tokenizer byte, gpt2:DIR, spm:MODEL or json:FILE";

// The text of a field of `object`, "" where there is none.
std::string text_of(const json& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// A field that is there and is not what it would be without it.
bool is_set(const json& object, const char* name, const json& usual) {
  const auto found = object.find(name);
  return found != object.end() && !found->is_null() && *found != usual;
}

// Tokens by id.
std::vector<std::string> read_tokens(const JsonFile& file, const json& vocabulary) {
  if (!vocabulary.is_object()) file.refuse("model", "a vocabulary: an object of ids by token");
  std::vector<std::string> tokens(vocabulary.size());
  for (const auto& [token, id] : vocabulary.items()) {
    const bool fits = id.is_number_unsigned() && id.get<uint64_t>() < tokens.size();
    if (!fits || !tokens[id.get<uint64_t>()].empty() || token.empty()) {
      throw CheckpointError(file.path() + ": token " + checkpoint::in_quotes(token) +
                            ": expected ids from 0 on, each once");
    }
    tokens[id.get<uint64_t>()] = token;
  }
  return tokens;
}

std::vector<std::string> read_merges(const JsonFile& file, const json& merges) {
  std::vector<std::string> lines;
  if (!merges.is_array()) file.refuse("model", "merges: an array");
  for (const json& merge : merges) {
    const bool pair =
        merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
    if (!pair && !merge.is_string()) file.refuse("model", "merges: pairs of tokens");
    lines.push_back(pair ? merge[0].get<std::string>() + " " + merge[1].get<std::string>()
                         : merge.get<std::string>());
  }
  return lines;
}

// Tokens that stand beside the vocabulary are taken where they follow it, as <|endoftext|> may.
void add_tokens(const JsonFile& file, std::vector<std::string>& tokens) {
  if (!file.has("added_tokens")) return;
  const json& added = file.object()["added_tokens"];
  if (!added.is_array()) file.refuse("added_tokens", "an array");
  for (const json& token : added) {
    const std::string text = text_of(token, "content");
    const auto id = token.is_object() ? token.find("id") : token.end();
    if (text.empty() || id == token.end() || !id->is_number_unsigned()) {
      file.refuse("added_tokens", "objects with content and id");
    }
    const auto place = id->get<uint64_t>();
    if (place == tokens.size()) tokens.push_back(text);
    if (place >= tokens.size() || tokens[place] != text) {
      throw CheckpointError(file.path() + ": added token " + checkpoint::in_quotes(text) +
                            " does not fit the vocabulary" + kRemedy);
    }
  }
}

// tokenizer.json of the `tokenizers` package.
std::unique_ptr<data::Tokenizer> read_package_file(const JsonFile& file) {
  const json &object = file.object(), none = json::object();
  const json& model = file.has("model") ? object["model"] : none;
  const json& before = file.has("pre_tokenizer") ? object["pre_tokenizer"] : none;
  const bool byte_level = text_of(before, "type") == "ByteLevel" &&
                          !is_set(before, "add_prefix_space", false) &&
                          !is_set(before, "use_regex", true);
  const bool plain = model.is_object() && model.contains("vocab") && model.contains("merges") &&
                     !is_set(model, "type", "BPE") && !is_set(model, "byte_fallback", false) &&
                     !is_set(model, "ignore_merges", false) && !is_set(model, "dropout", 0.0) &&
                     !is_set(model, "continuing_subword_prefix", "") &&
                     !is_set(model, "end_of_word_suffix", "");
  if (!byte_level || !plain || file.has("normalizer")) {
    throw CheckpointError(file.path() + ": no byte-level BPE that splits words as GPT-2's does" +
                          kRemedy);
  }
  data::Gpt2Vocabulary vocabulary{read_tokens(file, model["vocab"]),
                                  read_merges(file, model["merges"]), file.path()};
  add_tokens(file, vocabulary.tokens);
  return std::make_unique<data::Gpt2Tokenizer>(vocabulary);
}

}  // namespace

std::unique_ptr<data::Tokenizer> read_tokenizer(checkpoint::FileSystem& fs,
                                                const std::string& folder,
                                                const std::string& spec) {
  if (spec == "char" || spec == "word") {
    throw ConfigError("--tokenizer: " + spec +
                      " takes its vocabulary from a text: say json:FILE, a data set of "
                      "`dagpam data prepare`");
  }
  if (!spec.empty()) return data::make_tokenizer(spec, "");
  const auto has = [&](const char* name) {
    return checkpoint::status_of(fs, folder + "/" + name).has_value();
  };
  if (has(kOwnTokenizerName)) {
    const JsonFile file(fs, folder + "/" + kOwnTokenizerName);
    return data::tokenizer_from_json(file.object().dump());
  }
  if ((has("vocab.json") && has("merges.txt")) || (has("encoder.json") && has("vocab.bpe"))) {
    return std::make_unique<data::Gpt2Tokenizer>(data::read_gpt2_files(folder));
  }
  if (has("tokenizer.json")) return read_package_file(JsonFile(fs, folder + "/tokenizer.json"));
  throw CheckpointError(folder + ": holds no tokenizer" + kRemedy);
}

}  // namespace dagpam::huggingface
