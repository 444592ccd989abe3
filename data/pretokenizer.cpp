#include "data/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <string>

#include "configs/errors.h"

namespace dagpam::data {
namespace {

// White_Space of Unicode, spelt out: PCRE2's own \s also takes U+180E, which lost that property in
// Unicode 6.3.
#define DAGPAM_SPACE                                                                 \
  "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}" \
  "\\x{202f}\\x{205f}\\x{3000}"

constexpr const char* kPattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+"
    "| ?[^" DAGPAM_SPACE
    "\\p{L}\\p{N}]+"
    "|[" DAGPAM_SPACE "]+(?![^" DAGPAM_SPACE "])|[" DAGPAM_SPACE "]+";

#undef DAGPAM_SPACE

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

struct Gpt2Pretokenizer::Pattern {
  pcre2_code* code = nullptr;
  pcre2_match_data* match = nullptr;
  bool jit = false;

  Pattern() {
    int error = 0;
    size_t place = 0;
    code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(kPattern), PCRE2_ZERO_TERMINATED,
                         PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &place, nullptr);
    if (code == nullptr) throw DataError("gpt2 pattern: PCRE2 refused it: " + message_of(error));
    jit = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0;  // not on every machine
    match = pcre2_match_data_create_from_pattern(code, nullptr);
    if (match == nullptr) throw std::bad_alloc();
  }
  ~Pattern() {
    pcre2_match_data_free(match);
    pcre2_code_free(code);
  }
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;
};

Gpt2Pretokenizer::Gpt2Pretokenizer() : pattern_(std::make_unique<Pattern>()) {}
Gpt2Pretokenizer::~Gpt2Pretokenizer() = default;

size_t Gpt2Pretokenizer::word_end(std::string_view text, size_t begin) {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  Pattern& p = *pattern_;
  const int found =
      p.jit
          ? pcre2_jit_match(p.code, subject, text.size(), begin, 0, p.match, nullptr)
          : pcre2_match(p.code, subject, text.size(), begin, PCRE2_NO_UTF_CHECK, p.match, nullptr);
  if (found <= 0) {
    throw DataError("gpt2 pattern: PCRE2 failed at byte " + std::to_string(begin) + ": " +
                    message_of(found));
  }
  return pcre2_get_ovector_pointer(p.match)[1];
}

}  // namespace dagpam::data
