#include "data/blend.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "configs/errors.h"

namespace dagpam::data {
namespace {

constexpr int64_t kOne = int64_t{1} << 32;  // a share of 1, a credit of one sample
using Wide = __int128;

// Rounded down, then the missing units to the largest remainders (the first of equals).
std::vector<int64_t> shares_of(const std::vector<double>& weights) {
  double sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!std::isfinite(weights[i]) || weights[i] < 0) {
      throw ConfigError("data.train." + std::to_string(i) +
                        ".weight: " + std::to_string(weights[i]) + ", expected a number from 0");
    }
    sum += weights[i];
  }
  if (!(sum > 0) || !std::isfinite(sum)) {
    throw ConfigError("data.train: the weights sum to " + std::to_string(sum) +
                      ", expected a positive finite number");
  }
  std::vector<int64_t> shares;
  std::vector<double> remainders;
  for (const double weight : weights) {
    const double exact = weight / sum * static_cast<double>(kOne);
    shares.push_back(static_cast<int64_t>(exact));
    remainders.push_back(exact - std::floor(exact));
  }
  std::vector<size_t> order(weights.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return remainders[a] > remainders[b]; });
  int64_t missing = kOne - std::accumulate(shares.begin(), shares.end(), int64_t{0});
  for (size_t i = 0; missing > 0; i = (i + 1) % order.size()) {
    if (weights[order[i]] == 0) continue;
    ++shares[order[i]];
    --missing;
  }
  return shares;
}

}  // namespace

Blend::Blend(const std::vector<double>& weights)
    : shares_(shares_of(weights)),
      credits_(weights.size(), 0),
      drawn_(weights.size(), 0),
      since_(weights.size(), 0) {}

// Of the sources that are owed at least 1 / (2 k - 2) of a sample, the one that would first be owed
// a whole sample too much. Everything is multiplied by 2 k - 2.
size_t Blend::next() {
  const size_t k = shares_.size();
  const auto scale = static_cast<int64_t>(2 * k - 2);
  size_t best = k, richest = 0;
  Wide best_slack = 0;
  for (size_t i = 0; i < k; ++i) {
    credits_[i] += shares_[i];
    if (credits_[i] > credits_[richest]) richest = i;
    const Wide scaled = Wide{credits_[i]} * scale;
    if (shares_[i] == 0 || scaled < kOne) continue;
    const Wide slack = Wide{kOne} * (scale - 1) - scaled;  // time left = slack / share
    if (best == k || slack * shares_[best] < best_slack * shares_[i]) {
      best = i;
      best_slack = slack;
    }
  }
  if (best == k) best = richest;  // k = 1
  credits_[best] -= kOne;
  ++drawn_[best];
  return best;
}

void Blend::skip(int64_t count) {
  if (shares_.size() == 1) {
    drawn_[0] += count;
    return;
  }
  for (int64_t i = 0; i < count; ++i) next();
}

void Blend::restore(const std::vector<int64_t>& drawn, const std::vector<int64_t>& since) {
  for (const std::vector<int64_t>* counts : {&drawn, &since}) {
    if (counts->size() == shares_.size()) continue;
    throw DataError("the saved position has counts of " + std::to_string(counts->size()) +
                    " sources, expected " + std::to_string(shares_.size()) + " as in data.train");
  }
  Wide samples = 0;
  for (size_t i = 0; i < drawn.size(); ++i) {
    if (since[i] < 0 || drawn[i] < since[i]) {
      throw DataError("the saved position has " + std::to_string(drawn[i]) + " samples of source " +
                      std::to_string(i) + ", expected at least the " + std::to_string(since[i]) +
                      " of when the weights last changed: the checkpoint is damaged");
    }
    samples += drawn[i] - since[i];
  }
  std::vector<int64_t> credits;
  bool same_weights = true;
  for (size_t i = 0; i < drawn.size(); ++i) {
    const Wide credit = samples * shares_[i] - Wide{drawn[i] - since[i]} * kOne;
    same_weights = same_weights && credit < kOne && credit > -kOne;
    credits.push_back(static_cast<int64_t>(credit));
  }
  drawn_ = drawn;
  since_ = same_weights ? since : drawn;
  credits_ = same_weights ? std::move(credits) : std::vector<int64_t>(drawn.size(), 0);
}

}  // namespace dagpam::data
