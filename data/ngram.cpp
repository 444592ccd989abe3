#include "data/ngram.h"

#include <algorithm>
#include <cmath>

#include "configs/errors.h"
#include "data/indexed_dataset.h"
#include "data/sidecar.h"

namespace dagpam::data {
namespace {

constexpr int64_t kPieceTokens = int64_t{1} << 16;

uint64_t key_of(uint32_t context, int64_t token) {
  return (uint64_t{context} << 32) | static_cast<uint64_t>(token);
}

size_t start_of(uint64_t key, size_t slots) {
  key *= 0x9E3779B97F4A7C15u;
  key ^= key >> 32;
  return static_cast<size_t>(key * 0xD6E8FEB86659FD93u >> 20) & (slots - 1);
}

size_t discount_class(uint32_t count) { return std::min<size_t>(count, 3); }

// Calls use(span) for all tokens of a data set, in order.
template <typename Use>
void for_each_piece(const TokenDataset& dataset, int64_t vocab, Use use) {
  std::vector<int64_t> piece;
  for (int64_t offset = 0; offset < dataset.tokens(); offset += kPieceTokens) {
    piece.resize(static_cast<size_t>(std::min(kPieceTokens, dataset.tokens() - offset)));
    dataset.read(offset, piece, vocab);
    use(std::span<const int64_t>(piece));
  }
}

}  // namespace

uint32_t NgramModel::Level::find(uint64_t key) const {
  size_t i = start_of(key, slots.size());
  while (slots[i] != kNone && keys[slots[i]] != key) i = (i + 1) & (slots.size() - 1);
  return slots[i];
}

uint32_t NgramModel::Level::insert(uint64_t key, bool& is_new) {
  size_t i = start_of(key, slots.size());
  while (slots[i] != kNone && keys[slots[i]] != key) i = (i + 1) & (slots.size() - 1);
  is_new = slots[i] == kNone;
  if (!is_new) return slots[i];
  const auto entry = static_cast<uint32_t>(keys.size());
  slots[i] = entry;
  keys.push_back(key);
  counts.push_back(0);
  if (2 * keys.size() > slots.size()) grow();
  return entry;
}

void NgramModel::Level::grow() {
  std::vector<uint32_t> wider(2 * slots.size(), kNone);
  for (uint32_t entry = 0; entry < keys.size(); ++entry) {
    size_t i = start_of(keys[entry], wider.size());
    while (wider[i] != kNone) i = (i + 1) & (wider.size() - 1);
    wider[i] = entry;
  }
  slots = std::move(wider);
}

void NgramModel::Level::set_discounts() {
  // Where counts of counts are missing (tiny texts, or characters that all follow many others) the
  // formula has no value; a middling discount keeps every probability positive.
  constexpr double kFallback = 0.5, kLeast = 0.05;
  std::array<double, 5> n{};
  for (const uint32_t count : counts) {
    if (count < n.size()) n[count] += 1;
  }
  const double y = n[1] / (n[1] + 2 * n[2]);
  for (size_t c = 1; c < kDiscounts; ++c) {
    const double rank = static_cast<double>(c);
    const double discount = rank - (rank + 1) * y * n[c + 1] / n[c];
    discounts[c] = std::isfinite(discount) ? std::clamp(discount, kLeast, rank) : kFallback;
  }
}

NgramModel::NgramModel(int order, int64_t vocab) : order_(order), vocab_(vocab) {
  if (order < 1 || order > kHighestNgramOrder) {
    throw ConfigError("n-gram order " + std::to_string(order) + ": expected 1 to " +
                      std::to_string(kHighestNgramOrder));
  }
  if (vocab < 1 || vocab >= int64_t{1} << 32) {
    throw ConfigError("n-gram vocabulary " + std::to_string(vocab) + ": expected 1 to 2^32 - 1");
  }
  levels_.resize(static_cast<size_t>(order) + 1);
  for (auto& level : levels_) level.slots.assign(1024, kNone);
  bool is_new = false;
  context_.fill(kNone);
  context_[0] = levels_[0].insert(0, is_new);
}

void NgramModel::count(std::span<const int64_t> tokens) {
  const auto order = static_cast<size_t>(order_);
  for (const int64_t token : tokens) {
    std::array<uint32_t, kHighestNgramOrder + 1> now;
    now.fill(kNone);
    now[0] = context_[0];
    for (size_t k = 1; k <= order; ++k) {
      if (context_[k - 1] == kNone) break;
      bool is_new = false;
      now[k] = levels_[k].insert(key_of(context_[k - 1], token), is_new);
      // The n-gram without its first token was seen after one token more.
      if (is_new && k > 1) ++levels_[k - 1].counts[now[k - 1]];
      const bool counts_itself = k == order || context_[k] == kNone;  // top, or starts the text
      if (counts_itself) ++levels_[k].counts[now[k]];
    }
    std::copy_n(now.begin(), context_.size(), context_.begin());
  }
}

void NgramModel::finish() {
  for (size_t k = 1; k < levels_.size(); ++k) {
    Level& level = levels_[k];
    Level& shorter = levels_[k - 1];
    shorter.followers.assign(shorter.keys.size(), {});
    for (size_t entry = 0; entry < level.keys.size(); ++entry) {
      Followers& followers = shorter.followers[level.keys[entry] >> 32];
      followers.total += level.counts[entry];
      ++followers.types[discount_class(level.counts[entry])];
    }
    level.set_discounts();
  }
}

NgramModel::Reader::Reader(const NgramModel& model) : model_(model) {
  context_.fill(kNone);
  context_[0] = 0;
}

double NgramModel::Reader::probability(int64_t token) const {
  double p = 1.0 / static_cast<double>(model_.vocab_);
  for (size_t k = 1; k < model_.levels_.size(); ++k) {
    const uint32_t context = context_[k - 1];
    if (context == kNone) break;
    const Followers& followers = model_.levels_[k - 1].followers[context];
    if (followers.total == 0) break;  // the end of the text counted: nothing came after
    const Level& level = model_.levels_[k];
    double kept_back = 0;
    for (size_t c = 1; c < kDiscounts; ++c) kept_back += level.discounts[c] * followers.types[c];
    const uint32_t entry = level.find(key_of(context, token));
    const uint32_t count = entry == kNone ? 0 : level.counts[entry];
    const double discounted = count - level.discounts[discount_class(count)];
    p = (discounted + kept_back * p) / static_cast<double>(followers.total);
  }
  return p;
}

void NgramModel::Reader::advance(int64_t token) {
  for (size_t k = static_cast<size_t>(model_.order_) - 1; k >= 1; --k) {
    const uint32_t shorter = context_[k - 1];
    context_[k] = shorter == kNone ? kNone : model_.levels_[k].find(key_of(shorter, token));
  }
}

NgramResult ngram_baseline(const std::string& prefix, int order, const std::string& split) {
  if (split != "valid" && split != "test") {
    throw ConfigError("n-gram split '" + split + "': expected valid or test");
  }
  const Sidecar sidecar = read_sidecar(prefix);
  NgramModel model(order, sidecar.vocab_size);
  for_each_piece(*open_dataset(split_path(prefix, "train")), sidecar.vocab_size,
                 [&model](std::span<const int64_t> piece) { model.count(piece); });
  model.finish();

  NgramResult result;
  result.order = order;
  double nats = 0;
  NgramModel::Reader reader(model);
  for_each_piece(*open_dataset(split_path(prefix, split)), sidecar.vocab_size,
                 [&](std::span<const int64_t> piece) {
                   for (const int64_t token : piece) {
                     nats -= std::log(reader.probability(token));
                     reader.advance(token);
                   }
                   result.tokens += static_cast<int64_t>(piece.size());
                 });
  result.nll = nats / static_cast<double>(result.tokens);
  const int64_t characters = split == "valid" ? sidecar.valid_characters : sidecar.test_characters;
  if (characters > 0)
    result.bits_per_character = nats / std::log(2.0) / static_cast<double>(characters);
  return result;
}

}  // namespace dagpam::data
