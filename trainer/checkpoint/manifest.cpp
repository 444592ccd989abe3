#include "trainer/checkpoint/manifest.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>

#include "configs/errors.h"
#include "trainer/checkpoint/blocks.h"

namespace dagpam::checkpoint {
namespace {

using google::protobuf::TextFormat;

constexpr int kMaxDepth = 8;  // the schema's own is 3
constexpr std::string_view kDigestBefore = "digest: \"";
constexpr std::string_view kDigestAfter = "\"\n";
constexpr size_t kDigestLine = kDigestBefore.size() + 32 + kDigestAfter.size();

// Keeps the first complaint, on one line.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  std::string text;
  void AddError(int line, int column, const std::string& message) override {
    if (!text.empty()) return;
    text = std::to_string(line + 1) + ":" + std::to_string(column + 1) + ": " + in_quotes(message);
  }
};

// "" or what is wrong where.
std::string parse_text(std::string_view text, configs::Manifest& out) {
  FirstError errors;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  parser.SetRecursionLimit(kMaxDepth);
  google::protobuf::io::ArrayInputStream stream(text.data(), static_cast<int>(text.size()));
  if (parser.Parse(&stream, &out)) return "";
  return errors.text.empty() ? "not a manifest" : errors.text;
}

// What follows `field: ` at the start of a line, without quotes; for a text that does not parse.
std::string value_of_line(std::string_view text, const std::string& field) {
  size_t begin = text.starts_with(field + ": ") ? 0 : text.find("\n" + field + ": ");
  if (begin == std::string_view::npos) return "unknown";
  begin = text.find(' ', begin) + 1;
  std::string value(text.substr(begin, text.find('\n', begin) - begin));
  std::erase(value, '"');
  return value;
}

[[noreturn]] void refuse(const std::string& path, const std::string& problem) {
  throw CheckpointError(path + ": " + problem);
}

void check_size(std::string_view text, const std::string& path) {
  if (static_cast<int64_t>(text.size()) > kMaxManifestBytes) {
    refuse(path, std::to_string(text.size()) + " bytes pass the limit of " +
                     std::to_string(kMaxManifestBytes));
  }
  // A message takes a bracket, a string two quotes, a value a colon or a comma: their counts bound
  // what parsing allocates.
  const auto count = [&](char first, char second) {
    return std::count(text.begin(), text.end(), first) +
           std::count(text.begin(), text.end(), second);
  };
  if (count('{', '<') > kMaxManifestMessages || count('"', '\'') > 2 * kMaxManifestStrings ||
      count(',', ':') > kMaxManifestValues) {
    refuse(path, "more files, tensors and pieces than the limit of " +
                     std::to_string(kMaxManifestMessages));
  }
}

// The bytes that the last line's digest covers.
std::string_view check_digest(std::string_view text, const std::string& path) {
  const std::string_view line =
      text.size() < kDigestLine ? std::string_view() : text.substr(text.size() - kDigestLine);
  if (!line.starts_with(kDigestBefore) || !line.ends_with(kDigestAfter) ||
      !is_digest(line.substr(kDigestBefore.size(), 32))) {
    refuse(path,
           "does not end with a digest line: the file is damaged or cut; choose another "
           "checkpoint");
  }
  const std::string_view body = text.substr(0, text.size() - kDigestLine);
  const std::string found = digest_of(as_bytes(body));
  const std::string_view expected = line.substr(kDigestBefore.size(), 32);
  if (found != expected) {
    refuse(path, "its bytes have digest " + found + ", its last line says " +
                     std::string(expected) + ": the file is damaged; choose another checkpoint");
  }
  return body;
}

}  // namespace

std::string program_version() { return DAGPAM_VERSION; }

std::string print_manifest(configs::Manifest manifest) {
  check_manifest(manifest, kManifestName);
  manifest.clear_digest();
  TextFormat::Printer printer;
  printer.SetUseShortRepeatedPrimitives(true);
  std::string text;
  if (!printer.PrintToString(manifest, &text)) {
    throw CheckpointError("the manifest cannot be printed: out of memory?");
  }
  text += std::string(kDigestBefore) + digest_of(as_bytes(text)) + std::string(kDigestAfter);
  check_size(text, kManifestName);
  return text;
}

configs::Manifest parse_manifest(std::string_view text, const std::string& path) {
  check_size(text, path);
  check_digest(text, path);
  configs::Manifest manifest;
  const std::string error = parse_text(text, manifest);
  const std::string version = value_of_line(text, "program_version");
  const std::string format = value_of_line(text, "format_version");
  // A newer program may write fields that are unknown here: then say which program.
  const bool is_newer = manifest.format_version() > kFormatVersion;
  if (is_newer || (!error.empty() && version != program_version())) {
    refuse(path, error + (error.empty() ? "" : "; ") + "written by dagpam " + in_quotes(version) +
                     " in format " + in_quotes(format) + ", this is dagpam " + program_version() +
                     ", which reads format " + std::to_string(kFormatVersion) +
                     ": use the program that wrote it or a newer one");
  }
  if (!error.empty()) refuse(path, error);
  check_manifest(manifest, path);
  return manifest;
}

}  // namespace dagpam::checkpoint
