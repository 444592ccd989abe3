// data/documents.h: the documents in text files.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/mapped_file.h"
#include "data/text_error.h"

namespace dagpam::data {

enum class DocumentForm {
  kFile,       // a file is a document, every byte of it
  kLine,       // a line is one, without its line end ("\n" or "\r\n")
  kBlankLine,  // what stands between blank lines is one, without its last line end
  kJsonLines,  // a line is a JSON object, of which one field is one
};
// Lines of white space alone are no documents, nor are empty texts.

struct DocumentOptions {
  DocumentForm form = DocumentForm::kFile;
  std::string json_key = "text";  // kJsonLines: the field
};

// "file", "line" or "blank-line". ConfigError for any other.
DocumentForm parse_document_form(const std::string& name);

// As Tokenizer::cut.
using Cut = std::function<size_t(std::string_view text, size_t limit)>;

// Where a file may be cut: between documents, but for kFile where `inside` says.
Cut document_cut(DocumentForm form, Cut inside);

// A part of a file.
struct TextPart {
  const MappedFile* file = nullptr;
  size_t begin = 0, end = 0;  // bytes
};

// What rank `rank` of `size` takes of files that stand one behind the other: the same bytes or
// nearly so for each, cut where `cut` says. The parts of all ranks in order are the whole.
std::vector<TextPart> share_of_texts(std::span<const MappedFile> files, int rank, int size,
                                     const Cut& cut);

// The documents of a part, in order; where a part of kFile begins or ends inside of the file, so
// does the document.
class DocumentReader {
 public:
  DocumentReader(const TextPart& part, const DocumentOptions& options)
      : part_(part), options_(options), next_(part.begin) {}

  // False where there is no further document that has a text. Throws DataError where a line is not
  // as kJsonLines has it, naming file and line.
  bool next();

  std::string_view text() const { return text_; }  // good until next()
  bool ends() const { return ends_; }              // false: it goes on in the next part
  size_t position() const { return next_; }        // byte of the file behind the document

  // Throws `error`, of text().substr(offset), with its place in the file.
  [[noreturn]] void refuse(const TextError& error, size_t offset) const;

 private:
  bool next_line(std::string_view& line);
  bool next_block();
  std::string json_source() const;

  TextPart part_;
  DocumentOptions options_;
  size_t next_;
  size_t line_ = 0;  // first byte of the line of a JSON document
  std::string_view text_;
  std::string json_text_;
  bool ends_ = true;
};

}  // namespace dagpam::data
