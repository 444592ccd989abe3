#include "data/ngram.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <set>

#include "configs/errors.h"
#include "data/prepare.h"
#include "scratch_folder.h"

namespace dagpam::data {
namespace {

using Tokens = std::vector<int64_t>;

NgramModel trained(int order, int64_t vocab, const Tokens& tokens) {
  NgramModel model(order, vocab);
  model.count(tokens);
  model.finish();
  return model;
}

Tokens random_tokens(std::mt19937& random, size_t size, int64_t below) {
  // Squared, so that counts differ much.
  std::uniform_real_distribution<double> unit(0, 1);
  Tokens tokens(size);
  for (auto& token : tokens) {
    const double u = unit(random);
    token = static_cast<int64_t>(u * u * static_cast<double>(below));
  }
  return tokens;
}

// The definition, over explicit n-grams: slow, and with nothing in common with the tables of the
// model.
class Definition {
 public:
  Definition(int order, int64_t vocab, const Tokens& text) : order_(order), vocab_(vocab) {
    for (size_t k = 1; k <= static_cast<size_t>(order); ++k) {
      std::map<Tokens, std::set<int64_t>> before;
      for (size_t i = 0; i + k <= text.size(); ++i) {
        const Tokens gram(text.begin() + static_cast<long>(i),
                          text.begin() + static_cast<long>(i + k));
        if (k == static_cast<size_t>(order)) ++counts_[gram];
        before[gram].insert(i == 0 ? -1 : text[i - 1]);
      }
      if (k == static_cast<size_t>(order)) continue;
      for (const auto& [gram, tokens] : before) counts_[gram] = static_cast<double>(tokens.size());
    }
  }

  double probability(Tokens context, int64_t token) const {
    while (context.size() >= static_cast<size_t>(order_)) context.erase(context.begin());
    return interpolated(context, token);
  }

 private:
  double discount(size_t length, double count) const {
    double n[5] = {0, 0, 0, 0, 0};
    for (const auto& [gram, c] : counts_) {
      if (gram.size() == length && c <= 4) n[static_cast<size_t>(c)] += 1;
    }
    if (count == 0) return 0;
    const auto c = static_cast<size_t>(std::min(count, 3.0));
    const double y = n[1] / (n[1] + 2 * n[2]);
    const double d = static_cast<double>(c) - static_cast<double>(c + 1) * y * n[c + 1] / n[c];
    return std::isfinite(d) ? std::clamp(d, 0.05, static_cast<double>(c)) : 0.5;
  }

  double interpolated(const Tokens& context, int64_t token) const {
    Tokens shorter = context;
    if (!shorter.empty()) shorter.erase(shorter.begin());
    const double lower =
        context.empty() ? 1.0 / static_cast<double>(vocab_) : interpolated(shorter, token);
    double total = 0, kept_back = 0, own = 0;
    for (int64_t next = 0; next < vocab_; ++next) {
      Tokens gram = context;
      gram.push_back(next);
      const auto found = counts_.find(gram);
      if (found == counts_.end()) continue;
      total += found->second;
      kept_back += discount(gram.size(), found->second);
      if (next == token) own = found->second - discount(gram.size(), found->second);
    }
    return total == 0 ? lower : (own + kept_back * lower) / total;
  }

  int order_;
  int64_t vocab_;
  std::map<Tokens, double> counts_;
};

TEST(NgramModelTest, EqualsTheDefinition) {
  std::mt19937 random(5);
  for (const int order : {1, 2, 3, 5}) {
    const int64_t vocab = 6;
    const Tokens text = random_tokens(random, 120, 5);  // id 5 is never seen
    const NgramModel model = trained(order, vocab, text);
    const Definition definition(order, vocab, text);
    NgramModel::Reader reader(model);
    Tokens context;
    for (const int64_t next : random_tokens(random, 40, 6)) {
      for (int64_t token = 0; token < vocab; ++token) {
        ASSERT_NEAR(reader.probability(token), definition.probability(context, token), 1e-12)
            << order;
      }
      reader.advance(next);
      context.push_back(next);
    }
  }
}

TEST(NgramModelTest, ProbabilitiesSumToOneInEveryContext) {
  std::mt19937 random(6);
  for (int order = 1; order <= kHighestNgramOrder; ++order) {
    for (const size_t size : {0, 1, 2, 5, 50, 3000}) {
      const int64_t vocab = 9;
      const NgramModel model = trained(order, vocab, random_tokens(random, size, 8));
      NgramModel::Reader reader(model);
      for (const int64_t next : random_tokens(random, 100, 9)) {
        double sum = 0;
        for (int64_t token = 0; token < vocab; ++token) {
          const double p = reader.probability(token);
          EXPECT_GT(p, 0);
          sum += p;
        }
        ASSERT_NEAR(sum, 1, 1e-12) << "order " << order << ", text of " << size;
        reader.advance(next);
      }
    }
  }
}

// Text 0 0 1 over three ids: n1 = n2 = 1, n3 = 0, Y = 1/3, D1 = 1/3, D2 = 2, so 7/3 are kept back
// of 3.
TEST(NgramModelTest, UnigramsInClosedForm) {
  const NgramModel model = trained(1, 3, {0, 0, 1});
  const NgramModel::Reader reader(model);
  EXPECT_NEAR(reader.probability(0), 7.0 / 27, 1e-15);
  EXPECT_NEAR(reader.probability(1), 2.0 / 9 + 7.0 / 27, 1e-15);
  EXPECT_NEAR(reader.probability(2), 7.0 / 27, 1e-15);
}

TEST(NgramModelTest, PiecesCountAsTheWhole) {
  std::mt19937 random(7);
  const Tokens text = random_tokens(random, 5000, 20);
  const NgramModel whole = trained(4, 20, text);
  NgramModel pieces(4, 20);
  for (size_t begin = 0, size = 1; begin < text.size(); begin += size, size = size * 2 + 1) {
    size = std::min(size, text.size() - begin);
    pieces.count(std::span(text).subspan(begin, size));
  }
  pieces.finish();
  NgramModel::Reader a(whole), b(pieces);
  for (const int64_t token : random_tokens(random, 500, 20)) {
    ASSERT_EQ(a.probability(token), b.probability(token));
    a.advance(token);
    b.advance(token);
  }
}

TEST(NgramBaselineTest, ScoresASplitOfAPreparedSet) {
  const ScratchFolder folder;
  std::string train;
  for (int i = 0; i < 2000; ++i)
    train += i % 3 == 0 ? "abc "
                        : "\xC3\xA9"
                          "b ";
  write_bytes(folder / "train.txt", train);
  write_bytes(folder / "valid.txt",
              "abc \xC3\xA9"
              "b \xC3\xA9"
              "b abc ");
  PrepareOptions options;
  options.train = {folder / "train.txt"};
  options.valid = {folder / "valid.txt"};
  options.tokenizer = "char";
  options.out = folder / "set";
  prepare(options);
  double last = 10;
  for (const int order : {1, 2, 3}) {
    const NgramResult result = ngram_baseline(folder / "set", order, "valid");
    EXPECT_EQ(result.order, order);
    EXPECT_EQ(result.tokens, 14);
    EXPECT_NEAR(result.bits_per_character, result.nll / std::log(2.0), 1e-12);
    EXPECT_LT(result.nll, last);
    last = result.nll;
  }
  // With bytes a character of the text may be two tokens.
  options.tokenizer = "byte";
  prepare(options);
  const NgramResult bytes = ngram_baseline(folder / "set", 2, "valid");
  EXPECT_EQ(bytes.tokens, 16);
  EXPECT_NEAR(bytes.bits_per_character, bytes.nll * 16 / 14 / std::log(2.0), 1e-12);

  for (const int order : {0, 7, -1}) {
    EXPECT_THROW(ngram_baseline(folder / "set", order, "valid"), ConfigError);
  }
  EXPECT_THROW(ngram_baseline(folder / "set", 2, "train"), ConfigError);
  EXPECT_THROW(ngram_baseline(folder / "set", 2, "test"), DataError);
  EXPECT_THROW(ngram_baseline(folder / "none", 2, "valid"), DataError);
}

// Mikolov et al. (2011) give 141.2 for a 5-gram with Kneser-Ney smoothing on the test split.
TEST(NgramBaselineTest, PublishedPerplexityOfPtb) {
  const std::string ptb = DAGPAM_SOURCE_DIR "/../shared/data/ptb/ptb.";
  if (!std::filesystem::exists(ptb + "train.txt")) GTEST_SKIP() << ptb << "train.txt is absent";
  const ScratchFolder folder;
  PrepareOptions options;
  options.train = {ptb + "train.txt"};
  options.test = {ptb + "test.txt"};
  options.tokenizer = "word";
  options.out = folder / "set";
  prepare(options);
  EXPECT_NEAR(std::exp(ngram_baseline(folder / "set", 5, "test").nll), 141.2, 3.0);
}

}  // namespace
}  // namespace dagpam::data
