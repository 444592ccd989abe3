#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "configs/errors.h"
#include "data/append_dataset.h"
#include "data/prepare_job.h"
#include "data/utf8.h"

namespace dagpam::data {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;

// What a peer made of its share.
struct ShareCounts {
  int64_t tokens = 0, bytes = 0, characters = 0;
  // What it holds, if anything, begins in the document that the share before left open.
  bool continues = true;
};

std::string to_message(const ShareCounts& counts) {
  return nlohmann::json{counts.tokens, counts.bytes, counts.characters, counts.continues}.dump();
}

ShareCounts from_message(const std::string& message) {
  const auto values = nlohmann::json::parse(message);
  return {values.at(0), values.at(1), values.at(2), values.at(3)};
}

// The share of one peer, to one writer.
class ShareEncoder {
 public:
  ShareEncoder(const PrepareJob& job, const Tokenizer& tokenizer, Progress& progress,
               IndexedWriter& writer)
      : job_(job), tokenizer_(tokenizer), progress_(progress), writer_(writer), checks_(job) {}

  ShareCounts encode(const std::vector<TextPart>& parts) {
    counts_.continues = parts.empty() || (parts.front().begin > 0 &&
                                          job_.options.documents.form == DocumentForm::kFile);
    job_.check();
    for (const TextPart& part : parts) encode_part(part);
    counts_.tokens = writer_.tokens();
    return counts_;
  }

 private:
  void encode_part(const TextPart& part) {
    progress_.start(part.file->path(), static_cast<int64_t>(part.end - part.begin));
    DocumentReader documents(part, job_.options.documents);
    while (documents.next()) {
      encode_text(documents, part);
      if (documents.ends()) end_document();
      progress_.at(static_cast<int64_t>(documents.position() - part.begin));
    }
  }

  void encode_text(const DocumentReader& documents, const TextPart& part) {
    const std::string_view text = documents.text();
    for (size_t begin = 0; begin < text.size();) {
      const std::string_view rest = text.substr(begin);
      const size_t size = tokenizer_.cut(rest, std::min(kPieceBytes, rest.size()));
      ids_.clear();
      try {
        tokenizer_.encode(rest.substr(0, size), ids_);
      } catch (const TextError& error) {
        documents.refuse(error, begin);
      }
      writer_.append(ids_);
      counts_.bytes += static_cast<int64_t>(size);
      counts_.characters += count_code_points(rest.substr(0, size));
      begin += size;
      checks_.after(size);
      if (job_.options.documents.form == DocumentForm::kFile) done_with(part, part.begin + begin);
    }
  }

  void end_document() {
    if (job_.options.append_eod) {
      const int32_t eod = tokenizer_.end_of_text();
      writer_.append(std::span(&eod, 1));
    }
    if (writer_.tokens() == 0) counts_.continues = false;
    writer_.end_document();
  }

  // A document as long as a file: its pages may go, and it takes a while.
  void done_with(const TextPart& part, size_t position) {
    part.file->release(position);
    progress_.at(static_cast<int64_t>(position - part.begin));
  }

  const PrepareJob& job_;
  const Tokenizer& tokenizer_;
  Progress& progress_;
  IndexedWriter& writer_;
  Checks checks_;
  ShareCounts counts_;
  std::vector<int32_t> ids_;
};

std::string part_path(const PrepareJob& job, int rank, const std::string& split) {
  return job.staged + ".part-" + std::to_string(rank) + "." + split;
}

// What the others made, behind what rank 0 did itself.
void join(const PrepareJob& job, const std::string& split, const std::vector<ShareCounts>& shares,
          IndexedWriter& writer) {
  for (int rank = 1; rank < job.peers.size(); ++rank) {
    const ShareCounts& share = shares[static_cast<size_t>(rank)];
    if (!share.continues) writer.end_document();
    if (share.tokens == 0) continue;
    const std::string path = part_path(job, rank, split);
    if (!std::filesystem::exists(path + ".idx")) {
      throw IoError(path + ".idx: is not there, though rank " + std::to_string(rank) +
                    " wrote it: the folder of --out must be one that all ranks see");
    }
    append_dataset(*open_file_dataset(path), kAnyId, writer, [&job] { job.check(); });
    for (const char* extension : {".bin", ".idx"}) std::filesystem::remove(path + extension);
  }
}

}  // namespace

void prepare_split(const PrepareJob& job, const Tokenizer& tokenizer, const SplitTexts& split,
                   bool utf8, Progress& progress, Sidecar& sidecar) {
  const std::string name = split.fields->name;
  const int rank = job.peers.rank();
  std::optional<IndexedWriter> writer;
  const auto encoded = job.together([&] {
    writer.emplace(rank == 0 ? job.staged + "." + name : part_path(job, rank, name),
                   token_width(tokenizer.vocab_size()));
    const Cut cut = document_cut(
        job.options.documents.form,
        [&tokenizer](std::string_view text, size_t limit) { return tokenizer.cut(text, limit); });
    const ShareCounts counts =
        ShareEncoder(job, tokenizer, progress, *writer).encode(job.share_of(split, cut));
    if (rank > 0 && counts.tokens > 0) writer->finish(Durability::kPassing);
    if (rank > 0) writer.reset();
    return to_message(counts);
  });
  std::vector<ShareCounts> shares;
  shares.reserve(encoded.size());
  for (const std::string& message : encoded) shares.push_back(from_message(message));

  const auto joined = job.together([&]() -> std::string {
    if (rank > 0) return "";
    join(job, name, shares, *writer);
    writer->finish();
    return nlohmann::json{writer->tokens(), writer->digest()}.dump();
  });
  const auto whole = nlohmann::json::parse(joined.front());
  sidecar.*split.fields->tokens = whole.at(0);
  sidecar.*split.fields->digest = whole.at(1);
  sidecar.*split.fields->bytes = sidecar.*split.fields->characters = 0;
  for (const ShareCounts& share : shares) {
    sidecar.*split.fields->bytes += share.bytes;
    sidecar.*split.fields->characters += share.characters;
  }
  if (!utf8) sidecar.*split.fields->characters = -1;
}

}  // namespace dagpam::data
