#include "data/spm_tokenizer.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "configs/errors.h"
#include "data/base64.h"
#include "data/input_file.h"
#include "data/lines.h"
#include "data/spm_process.h"
#include "data/strict_json.h"
#include "data/utf8.h"

namespace dagpam::data {
namespace {

constexpr int64_t kLargestModel = int64_t{1} << 26;
constexpr int32_t kLargestVocabulary = 1 << 24;

std::string read_model(const std::string& path) {
  const InputFile file(path);
  if (file.size() < 1 || file.size() > kLargestModel) {
    throw DataError(path + ": its size is " + std::to_string(file.size()) +
                    " bytes, expected a SentencePiece model of 1 to " +
                    std::to_string(kLargestModel));
  }
  std::string bytes(static_cast<size_t>(file.size()), '\0');
  file.read(0, bytes.data(), bytes.size());
  return bytes;
}

int32_t id_field(const nlohmann::json& object, const std::string& name, int32_t least, int32_t most,
                 const std::string& source) {
  const auto found = object.find(name);
  const bool number = found != object.end() && found->is_number_integer();
  const int64_t value = number ? found->get<int64_t>() : int64_t{INT64_MIN};
  if (value >= least && value <= most) return static_cast<int32_t>(value);
  throw DataError(source + ": field '" + name + "': expected a whole number from " +
                  std::to_string(least) + " to " + std::to_string(most));
}

}  // namespace

std::unique_ptr<SpmTokenizer> SpmTokenizer::from_file(const std::string& path) {
  std::string model = read_model(path);
  std::shared_ptr<SpmProcess> process = SpmProcess::with_model(model, path);
  auto made = std::make_unique<SpmTokenizer>(std::move(model), process->facts(), path);
  made->process_ = std::move(process);
  return made;
}

SpmTokenizer::SpmTokenizer(std::string model, const SpmFacts& facts, std::string source)
    : model_(std::move(model)), facts_(facts), source_(std::move(source)) {}

SpmTokenizer::~SpmTokenizer() = default;

SpmProcess& SpmTokenizer::process() const {
  const std::lock_guard lock(mutex_);
  if (process_) return *process_;
  std::shared_ptr<SpmProcess> started = SpmProcess::with_model(model_, source_);
  if (started->facts() != facts_) {
    throw DataError(source_ +
                    ": its vocabulary size or special ids are not those of its model, "
                    "which has " +
                    std::to_string(started->facts().vocab) + " symbols: the file is damaged");
  }
  process_ = std::move(started);
  return *process_;
}

void SpmTokenizer::encode(std::string_view text, std::vector<int32_t>& out) const {
  require_utf8(text, "text");
  if (!text.empty()) process().encode(text, out);
}

// All lines in one request; the line ends' ids are taken out again.
void SpmTokenizer::encode_lines(std::string_view text, std::vector<int32_t>& out,
                                std::vector<size_t>& ends) const {
  if (facts_.line_end < 0) return Tokenizer::encode_lines(text, out, ends);
  const auto lines = static_cast<size_t>(count_lines(text));
  if (text.ends_with('\n')) text.remove_suffix(1);
  std::vector<int32_t> ids;
  encode(text, ids);
  const size_t first = ends.size();
  for (const int32_t id : ids) {
    if (id == facts_.line_end) {
      ends.push_back(out.size());
    } else {
      out.push_back(id);
    }
  }
  if (lines > 0) ends.push_back(out.size());
  if (ends.size() - first == lines) return;
  throw DataError(source_ + ": " + std::to_string(lines) + " lines became " +
                  std::to_string(ends.size() - first) +
                  ": the model gives its line end for something else too");
}

std::string SpmTokenizer::decode(std::span<const int32_t> ids) const {
  for (const int32_t id : ids) require_id(id);
  return ids.empty() ? "" : process().decode(ids);
}

std::string SpmTokenizer::to_json() const {
  return nlohmann::json{{"kind", "spm"},
                        {"vocab_size", facts_.vocab},
                        {"pad", facts_.pad},
                        {"unk", facts_.unknown},
                        {"bos", facts_.bos},
                        {"eos", facts_.eos},
                        {"line_end", facts_.line_end},
                        {"model", to_base64(model_)}}
      .dump();
}

size_t SpmTokenizer::cut(std::string_view text, size_t limit) const {
  return cut_behind_line(text, limit);
}

std::unique_ptr<Tokenizer> spm_from_json(std::string_view json) {
  const std::string source = "tokenizer description";
  const nlohmann::json object = parse_object(json, source);
  require_only(object, {"kind", "vocab_size", "pad", "unk", "bos", "eos", "line_end", "model"},
               source);
  SpmFacts facts;
  facts.vocab = id_field(object, "vocab_size", 1, kLargestVocabulary, source);
  const auto id = [&](const char* name) {
    return id_field(object, name, -1, facts.vocab - 1, source);
  };
  facts.pad = id("pad");
  facts.unknown = id("unk");
  facts.bos = id("bos");
  facts.eos = id("eos");
  facts.line_end = id("line_end");
  std::optional<std::string> model = from_base64(string_field(object, "model", source));
  if (!model || model->empty() || std::ssize(*model) > kLargestModel) {
    throw DataError(source + ": field 'model': expected the base64 of a SentencePiece model");
  }
  return std::make_unique<SpmTokenizer>(std::move(*model), facts, source);
}

}  // namespace dagpam::data
