// data/ngram.h: n-gram language model over token ids, the baseline that a trained model is held
// against.
//
// Interpolated Kneser-Ney with three discounts for each order (Chen and Goodman, 1998): the highest
// order counts how often an n-gram occurred, lower orders before how many different tokens (the
// start of the text is one), and order 1 is interpolated with 1 / V, so every id of the vocabulary
// has a positive probability and they sum to 1 in every context.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace dagpam::data {

inline constexpr int kHighestNgramOrder = 6;

class NgramModel {
 public:
  // 1 <= order <= kHighestNgramOrder, 1 <= vocab < 2^32; throws ConfigError.
  NgramModel(int order, int64_t vocab);

  // Counts a text, which may come in pieces. Ids in [0, vocab).
  void count(std::span<const int64_t> tokens);

  // After all of the text, before any Reader.
  void finish();

  int order() const { return order_; }

  // A place in a text: what was read so far. At the start no context is known.
  class Reader {
   public:
    explicit Reader(const NgramModel& model);
    double probability(int64_t token) const;  // that it comes next
    void advance(int64_t token);

   private:
    const NgramModel& model_;
    std::array<uint32_t, kHighestNgramOrder> context_;  // [k]: entry of the last k tokens, or kNone
  };

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr size_t kDiscounts = 4;  // by count: 0, 1, 2, 3 and more

  // What followed a context: sum of counts, and how many tokens had the count 1, 2, 3 and more.
  struct Followers {
    int64_t total = 0;
    std::array<uint32_t, kDiscounts> types{};
  };

  // The n-grams of one length. A key is (entry of all but the last token) << 32 | last token, so
  // keys are exact.
  struct Level {
    std::vector<uint32_t> slots;       // open addressing over entries, at most half full
    std::vector<uint64_t> keys;        // [entries]
    std::vector<uint32_t> counts;      // [entries]
    std::vector<Followers> followers;  // [entries], not in the last level
    std::array<double, kDiscounts> discounts{};

    uint32_t find(uint64_t key) const;
    uint32_t insert(uint64_t key, bool& is_new);
    void grow();
    void set_discounts();
  };

  int order_;
  int64_t vocab_;
  std::vector<Level> levels_;  // [order + 1]; level 0 has one entry, the empty context
  std::array<uint32_t, kHighestNgramOrder> context_;
};

struct NgramResult {
  int order = 0;
  int64_t tokens = 0;  // scored: all of the split, the first without context
  double nll = 0;      // nats a token
  double bits_per_character =
      -1;  // -1 where the data set does not say how many characters the split has
};

// Counts PREFIX.train and scores PREFIX.`split` ("valid" or "test"), each as one row of tokens.
// Throws ConfigError for an order or split outside the range, DataError where the data set is bad.
NgramResult ngram_baseline(const std::string& prefix, int order, const std::string& split);

}  // namespace dagpam::data
