#include "data/documents.h"

#include <gtest/gtest.h>

#include "configs/errors.h"
#include "data/json_text.h"
#include "data/lines.h"
#include "data/utf8.h"
#include "scratch_folder.h"

namespace dagpam::data {
namespace {

using Texts = std::vector<std::string>;

class DocumentsTest : public ::testing::Test {
 protected:
  Texts read(const std::string& bytes, const DocumentOptions& options) {
    write_bytes(folder_ / "a", bytes);
    const MappedFile file(folder_ / "a");
    DocumentReader reader({&file, 0, bytes.size()}, options);
    Texts texts;
    while (reader.next()) {
      EXPECT_TRUE(reader.ends());
      texts.emplace_back(reader.text());
    }
    return texts;
  }
  Texts read(const std::string& bytes, DocumentForm form) {
    return read(bytes, DocumentOptions{form, "text"});
  }
  std::string refusal(const std::string& line) {
    return message_of<DataError>([&] { read("{\"text\": \"a\"}\n" + line, jsonl()); });
  }
  static DocumentOptions jsonl() { return {DocumentForm::kJsonLines, "text"}; }

  ScratchFolder folder_;
};

TEST_F(DocumentsTest, Lines) {
  EXPECT_EQ(read("a\n\nb \r\n \t\n\r\n c", DocumentForm::kLine), (Texts{"a", "b ", " c"}));
  EXPECT_EQ(read("a", DocumentForm::kLine), Texts{"a"});
  EXPECT_EQ(read("\n\n", DocumentForm::kLine), Texts{});
}

TEST_F(DocumentsTest, BlankLines) {
  EXPECT_EQ(read("\n \na\nb\r\nc\n\n\nz\n \t\ne", DocumentForm::kBlankLine),
            (Texts{"a\nb\r\nc", "z", "e"}));
  EXPECT_EQ(read("a\r\nb\r\n\r\nc\r\n", DocumentForm::kBlankLine), (Texts{"a\r\nb", "c"}));
  EXPECT_EQ(read("\n", DocumentForm::kBlankLine), Texts{});
}

TEST_F(DocumentsTest, AFileIsOne) {
  EXPECT_EQ(read("a\n\nb\r\n", DocumentForm::kFile), Texts{"a\n\nb\r\n"});
}

TEST_F(DocumentsTest, JsonLines) {
  EXPECT_EQ(read(R"({"text": "a\nb", "id": 7}
{"meta": {"text": 1, "text": [2, {}]}, "text": "\u20ac\u0000"}

{"text": ""}
{"text":"last"})",
                 jsonl()),
            (Texts{"a\nb", std::string("\xE2\x82\xAC\0", 4), "last"}));
  EXPECT_EQ(read(R"({"body": "x"})", {DocumentForm::kJsonLines, "body"}), Texts{"x"});
}

TEST_F(DocumentsTest, WhatIsNoJsonLinesIsRefused) {
  const std::string at = folder_ / "a: line 2: ";
  expect_message(refusal("{\"text\": \"b\""), {at, "bad JSON at byte 13"});
  expect_message(refusal("{\"text\": \"b\"} x"), {at, "bad JSON at byte 15"});
  expect_message(refusal("{\"text\": \"b\"}{\"text\": \"c\"}"), {at, "bad JSON"});
  expect_message(refusal(std::string("{\"text\": \"a\0b\"}", 15)), {at, "bad JSON"});
  expect_message(refusal("{\"text\": \"\\ud800\"}"), {at, "bad JSON"});
  expect_message(refusal("{\"text\": \"\xFF\"}"), {at, "bad JSON"});
  expect_message(refusal("{\"text\": 5}"), {at, "field \"text\" is a number, expected a string"});
  expect_message(refusal("{\"text\": null}"), {at, "field \"text\" is null"});
  expect_message(refusal("{\"text\": [\"a\"]}"), {at, "is an array, expected a string"});
  expect_message(refusal("{\"Text\": \"a\"}"), {at, "field \"text\" is missing"});
  expect_message(refusal("{}"), {at, "is missing"});
  expect_message(refusal("[\"text\"]"), {at, "is an array, expected a JSON object"});
  expect_message(refusal("\"text\""), {at, "is a string, expected a JSON object"});
  expect_message(refusal("{\"text\": \"a\", \"text\": \"b\"}"), {at, "\"text\" appears twice"});
  expect_message(refusal("{\"a\": " + std::string(100'000, '[')), {at, "deeper than 64"});
}

TEST_F(DocumentsTest, RefusalsNameThePlaceInTheFile) {
  write_bytes(folder_ / "b", "ab\n\ncde\nf");
  const MappedFile file(folder_ / "b");
  DocumentReader lines({&file, 3, 9}, {DocumentForm::kLine, ""});
  ASSERT_TRUE(lines.next());
  const TextError error("text", "de", 1, "bad", "mend it");
  expect_message(message_of<TextError>([&] { lines.refuse(error, 1); }),
                 {folder_ / "b: bad at byte 6 (line 3, column 3): mend it"});
  write_bytes(folder_ / "c", "{\"text\": \"a\"}\n{\"text\": \"x\\ny\"}");
  const MappedFile json(folder_ / "c");
  DocumentReader objects({&json, 14, 31}, jsonl());
  ASSERT_TRUE(objects.next());
  expect_message(message_of<TextError>([&] { objects.refuse(error, 1); }),
                 {folder_ / "c: line 2: field 'text': bad at byte 2 (line 2, column 1)"});
}

// The shares of any number are the whole, in order, cut where they may be.
TEST_F(DocumentsTest, Shares) {
  std::vector<MappedFile> files;
  const std::vector<std::string> texts = {"ab\n\n\xC3\xA9\n", "x",
                                          "\n\n\nlong line of a text\n\nz"};
  for (size_t i = 0; i < texts.size(); ++i) {
    write_bytes(folder_ / std::to_string(i), texts[i]);
    files.emplace_back(folder_ / std::to_string(i));
  }
  for (const Cut& cut : {Cut(cut_behind_character), document_cut(DocumentForm::kLine, {}),
                         document_cut(DocumentForm::kBlankLine, {})}) {
    for (int size = 1; size < 40; ++size) {
      std::vector<std::string> joined(texts.size());
      for (int rank = 0; rank < size; ++rank) {
        for (const TextPart& part : share_of_texts(files, rank, size, cut)) {
          const auto file = static_cast<size_t>(part.file - files.data());
          EXPECT_EQ(part.begin, joined[file].size());
          joined[file] += part.file->bytes().substr(part.begin, part.end - part.begin);
        }
      }
      EXPECT_EQ(joined, texts) << size;
    }
  }
}

// As cut() of a tokenizer: the last good place up to the limit, else the first behind.
TEST_F(DocumentsTest, CutsBetweenDocuments) {
  const std::string text = "a\nb\n\nc\n \n\nz\ne";
  const std::set<size_t> good = {5, 9, 10, text.size()};
  const Cut cut = document_cut(DocumentForm::kBlankLine, {});
  for (size_t limit = 1; limit <= text.size(); ++limit) {
    auto expected = good.upper_bound(limit);
    if (expected != good.begin()) --expected;
    EXPECT_EQ(cut(text, limit), *expected) << limit;
  }
}

TEST_F(DocumentsTest, Forms) {
  EXPECT_EQ(parse_document_form("blank-line"), DocumentForm::kBlankLine);
  expect_message(message_of<ConfigError>([] { parse_document_form("page"); }),
                 {"'page'", "file, line or blank-line"});
}

}  // namespace
}  // namespace dagpam::data
