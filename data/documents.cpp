#include "data/documents.h"

#include <algorithm>
#include <utility>

#include "configs/errors.h"
#include "configs/text.h"
#include "data/json_text.h"
#include "data/lines.h"

namespace dagpam::data {
namespace {

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos;
}

std::string_view without_line_end(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

// First byte of the line that ends before `end`, a place behind a line end.
size_t line_before(std::string_view text, size_t end) {
  if (end < 2) return 0;
  const size_t found = text.rfind('\n', end - 2);
  return found == std::string_view::npos ? 0 : found + 1;
}

// Behind a blank line no document goes on.
size_t cut_behind_blank_line(std::string_view text, size_t limit) {
  const auto good = [&text](size_t place) {
    const size_t line = line_before(text, place);
    return text[place - 1] == '\n' && is_blank(text.substr(line, place - line));
  };
  if (limit == text.size()) return limit;
  size_t place = cut_behind_line(text, limit);
  while (place <= limit && place > 0) {
    if (good(place)) return place;
    place = line_before(text, place);
  }
  for (place = limit; place < text.size();) {
    place = cut_behind_line(text.substr(place), 1) + place;
    if (place < text.size() && good(place)) return place;
  }
  return text.size();
}

// A place among the files: byte `byte` of file `file`, which it is not the end of.
struct Place {
  size_t file = 0, byte = 0;
};

Place place_of(std::span<const MappedFile> files, size_t byte, const Cut& cut) {
  for (size_t file = 0; file < files.size(); ++file) {
    const std::string_view text = files[file].bytes();
    if (byte >= text.size()) {
      byte -= text.size();
      continue;
    }
    const size_t at = byte == 0 ? 0 : cut(text, byte);
    return at == text.size() ? Place{file + 1, 0} : Place{file, at};
  }
  return {files.size(), 0};
}

}  // namespace

DocumentForm parse_document_form(const std::string& name) {
  if (name == "file") return DocumentForm::kFile;
  if (name == "line") return DocumentForm::kLine;
  if (name == "blank-line") return DocumentForm::kBlankLine;
  throw ConfigError("--documents '" + configs::one_line(name) +
                    "': expected file, line or blank-line");
}

Cut document_cut(DocumentForm form, Cut inside) {
  if (form == DocumentForm::kFile) return inside;
  return form == DocumentForm::kBlankLine ? cut_behind_blank_line : cut_behind_line;
}

std::vector<TextPart> share_of_texts(std::span<const MappedFile> files, int rank, int size,
                                     const Cut& cut) {
  size_t total = 0;
  for (const MappedFile& file : files) total += file.bytes().size();
  const auto place = [&](int r) {
    if (r == size) return Place{files.size(), 0};
    const auto part = static_cast<size_t>(r), parts = static_cast<size_t>(size);
    return place_of(files, total / parts * part + total % parts * part / parts, cut);
  };
  const Place begin = place(rank), end = place(rank + 1);
  std::vector<TextPart> share;
  for (size_t file = begin.file; file < files.size() && file <= end.file; ++file) {
    const size_t first = file == begin.file ? begin.byte : 0;
    const size_t last = file == end.file ? end.byte : files[file].bytes().size();
    if (first < last) share.push_back({&files[file], first, last});
  }
  return share;
}

bool DocumentReader::next() {
  switch (options_.form) {
    case DocumentForm::kFile:
      if (next_ == part_.end) return false;
      text_ = part_.file->bytes().substr(next_, part_.end - next_);
      ends_ = part_.end == part_.file->bytes().size();
      next_ = part_.end;
      return true;
    case DocumentForm::kLine:
      if (!next_line(text_)) return false;
      text_ = without_line_end(text_);
      return true;
    case DocumentForm::kBlankLine:
      return next_block();
    case DocumentForm::kJsonLines:
      for (std::string_view line; next_line(line);) {
        line_ = static_cast<size_t>(line.data() - part_.file->bytes().data());
        // The number of the line costs a look at all before it: only a refusal needs it.
        try {
          read_json_text(without_line_end(line), options_.json_key, "", json_text_);
        } catch (const DataError& error) {
          throw DataError(json_source() + error.what());
        }
        text_ = json_text_;
        if (!text_.empty()) return true;
      }
      return false;
  }
  return false;
}

void DocumentReader::refuse(const TextError& error, size_t offset) const {
  if (options_.form == DocumentForm::kJsonLines) {
    throw error.within(json_source() + ": field '" + options_.json_key + "'", text_, offset);
  }
  const std::string_view whole = part_.file->bytes();
  const auto begin = static_cast<size_t>(text_.data() - whole.data());
  throw error.within(part_.file->path(), whole, begin + offset);
}

// The next line that is not blank, with its line end.
bool DocumentReader::next_line(std::string_view& line) {
  const std::string_view text = part_.file->bytes().substr(0, part_.end);
  while (next_ < part_.end) {
    const size_t begin = std::exchange(next_, std::min(text.find('\n', next_), part_.end - 1) + 1);
    line = text.substr(begin, next_ - begin);
    if (!is_blank(line)) return true;
  }
  return false;
}

bool DocumentReader::next_block() {
  std::string_view line;
  if (!next_line(line)) return false;
  const std::string_view whole = part_.file->bytes();
  const auto begin = static_cast<size_t>(line.data() - whole.data());
  size_t end = next_;
  // Its further lines: as long as the next line that is not blank stands right behind.
  while (next_line(line) && static_cast<size_t>(line.data() - whole.data()) == end) end = next_;
  next_ = end;
  text_ = without_line_end(whole.substr(begin, end - begin));
  return true;
}

std::string DocumentReader::json_source() const {
  const std::string_view before = part_.file->bytes().substr(0, line_);
  const auto number = std::count(before.begin(), before.end(), '\n') + 1;
  return part_.file->path() + ": line " + std::to_string(number);
}

}  // namespace dagpam::data
