// data/spm_tokenizer.h: a SentencePiece model (T. Kudo, J. Richardson, "SentencePiece", EMNLP 2018)
// as a tokenizer.
//
// A text is encoded line by line; a line end becomes the id of the byte <0x0A>, or of a piece "\n";
// a text with line ends is refused where the model has neither. With a model of `dagpam-tokenize
// train`, decode(encode(text)) == text unless the text holds U+2581. The work is done by
// a child process (data/spm_process.h), which starts when something is first encoded or decoded.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "data/spm_protocol.h"
#include "data/tokenizer.h"

namespace dagpam::data {

class SpmProcess;

class SpmTokenizer : public Tokenizer {
 public:
  // From a .model file. Starts the child. Throws DataError where it is missing or is no model.
  static std::unique_ptr<SpmTokenizer> from_file(const std::string& path);

  // From what to_json() holds: `facts` are believed until the child has read `model`, and then must
  // hold. `source` names the model in messages.
  SpmTokenizer(std::string model, const SpmFacts& facts, std::string source);
  ~SpmTokenizer() override;

  std::string kind() const override { return "spm"; }
  int64_t vocab_size() const override { return facts_.vocab; }
  void encode(std::string_view text, std::vector<int32_t>& out) const override;
  void encode_lines(std::string_view text, std::vector<int32_t>& out,
                    std::vector<size_t>& ends) const override;
  // Bytes of byte pieces as they are; nothing for pad, bos and eos.
  std::string decode(std::span<const int32_t> ids) const override;
  std::string to_json() const override;
  int32_t end_of_text() const override { return facts_.eos; }
  SpecialIds special_ids() const override { return {facts_.pad, facts_.bos, facts_.eos}; }
  size_t cut(std::string_view text, size_t limit) const override;

 private:
  SpmProcess& process() const;

  const std::string model_;  // bytes of the .model file
  const SpmFacts facts_;
  const std::string source_;
  mutable std::mutex mutex_;  // guards process_
  mutable std::shared_ptr<SpmProcess> process_;
};

// From the fields of a description of kind "spm". Throws DataError.
std::unique_ptr<Tokenizer> spm_from_json(std::string_view json);

}  // namespace dagpam::data
