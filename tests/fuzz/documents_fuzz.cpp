// The documents of texts. The first byte says what the rest is: 'f' a file, 'l' lines, 'b' blocks
// between blank lines, 'j' JSON lines, 'o' what `data split --out` takes.
#include "data/documents.h"
#include "data/lines.h"
#include "data/split_set.h"
#include "data/utf8.h"
#include "tests/fuzz/scratch.h"

namespace dagpam::fuzz {
namespace {

using data::DocumentForm;
using Texts = std::vector<std::string>;

// What `size` peers read of the files, in order; the parts of a file that is one document joined.
Texts read(const std::vector<data::MappedFile>& files, const data::DocumentOptions& options,
           int size) {
  Texts texts;
  bool open = false;
  for (int rank = 0; rank < size; ++rank) {
    const data::Cut cut = data::document_cut(options.form, data::cut_behind_character);
    for (const data::TextPart& part : data::share_of_texts(files, rank, size, cut)) {
      require(part.begin < part.end && part.end <= part.file->bytes().size(), "a part of a file");
      data::DocumentReader reader(part, options);
      while (reader.next()) {
        require(!reader.text().empty(), "a document has a text");
        require(reader.position() > part.begin && reader.position() <= part.end, "a place in it");
        if (!open) texts.emplace_back();
        texts.back() += reader.text();
        open = !reader.ends();
      }
    }
  }
  return texts;
}

void run_texts(DocumentForm form, std::string_view input) {
  // Two files, so that borders of files come in.
  const size_t half = data::cut_behind_line(input, input.size() / 2 + 1);
  scratch().put("a", input.substr(0, half));
  scratch().put("b", input.substr(half));
  std::vector<data::MappedFile> files;
  files.emplace_back(scratch() / "a");
  files.emplace_back(scratch() / "b");
  const data::DocumentOptions options{form, "text"};
  const Texts whole = read(files, options, 1);
  for (const int size : {2, 3, 5}) {
    require(read(files, options, size) == whole, "the same documents for any number of peers");
  }
  for (const std::string& text : whole) {
    require(form != DocumentForm::kJsonLines || data::find_invalid_utf8(text) == text.size(),
            "a text of JSON is UTF-8");
  }
}

}  // namespace

std::vector<Seed> seeds() {
  return {
      {"fab\n\n\xC3\xA9\n", true},
      {"la\nb\r\n\n \nc", true},
      {"ba\nb\n\n\nc\n \t\nz\r\n\r\ne", true},
      {"j{\"text\": \"a\\nb\"}\n{\"id\": [1, {\"text\": null}], \"text\": \"\\u20ac\"}\n", true},
      {"j\n\n{\"text\": \"\"}\n{\"text\": \"x\"}", true},
      {"omine:valid=0.1", true},
      {"oa=1", true},
      {"j{\"text\": 1}", false},
      {"j{\"text\": \"a\", \"text\": \"b\"}", false},
      {"j{\"text\": \"\\ud800\"}", false},
      {"j{\"a\": " + std::string(2000, '['), false},
      {"oa=nan", false},
      {"o=", false},
      {"", false}};
}

bool run(std::string_view input) {
  const char kind = input.empty() ? '\0' : input.front();
  if (!input.empty()) input.remove_prefix(1);
  try {
    if (kind == 'o') {
      const data::SplitPart part = data::parse_split_part(std::string(input));
      require(part.share > 0 && part.share <= 1 && !part.prefix.empty(), "a share of something");
      return true;
    }
    constexpr std::string_view kForms = "flbj";
    const size_t form = kForms.find(kind);
    if (form == std::string_view::npos || input.empty()) return false;
    run_texts(static_cast<DocumentForm>(form), input);
    return true;
  } catch (const Error& error) {
    require_one_line(error);
    return false;
  }
}

}  // namespace dagpam::fuzz
