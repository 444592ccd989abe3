#include "trainer/evaluation/beam_search.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace dagpam::trainer {

namespace {

// A text that goes on.
struct Live {
  std::vector<int32_t> tokens;
  double log_p = 0;
};

struct Sentence {
  size_t index = 0;   // among the sources
  int64_t limit = 0;  // most tokens
  std::vector<Live> live;
  std::vector<Translation> finished;
};

// A live text extended by one token; `row` is its row in the batch.
struct Candidate {
  size_t parent = 0;
  int64_t row = 0;
  int32_t token = 0;
  double log_p = 0;
};

class Search {
 public:
  Search(const EncoderDecoder& model, const std::vector<std::vector<int32_t>>& sources,
         const BeamOptions& options)
      : model_(model),
        options_(options),
        device_(model.parameters().all().front()->value.device()),
        results_(sources.size()) {
    start(sources);
  }

  std::vector<Translation> run() {
    while (!active_.empty()) {
      const std::vector<std::vector<Candidate>> all = candidates(next_log_probabilities());
      std::vector<int64_t> rows;  // of those that go on, in the present batch
      std::vector<Sentence> going;
      for (size_t i = 0; i < active_.size(); ++i) {
        if (!extend(active_[i], all[i], rows)) {
          results_[active_[i].index] = best(std::move(active_[i]));
        } else {
          going.push_back(std::move(active_[i]));
        }
      }
      active_ = std::move(going);
      if (!active_.empty()) keep_rows(rows);
    }
    return std::move(results_);
  }

 private:
  void start(const std::vector<std::vector<int32_t>>& sources);
  at::Tensor next_log_probabilities();
  std::vector<std::vector<Candidate>> candidates(const at::Tensor& log_p) const;
  bool extend(Sentence& sentence, const std::vector<Candidate>& best, std::vector<int64_t>& rows);
  void keep_rows(const std::vector<int64_t>& rows);
  Translation best(Sentence sentence) const;
  bool is_done(const Sentence& sentence) const;
  double score(double log_p, int64_t tokens) const;
  void finish(Sentence& sentence, std::vector<int32_t> tokens, double log_p, bool ended) const;

  const EncoderDecoder& model_;
  const BeamOptions& options_;
  at::Device device_;
  std::vector<Translation> results_;
  std::vector<Sentence> active_;  // each has as many live texts, one a row of the batch, in order
  EncoderDecoder::Memory memory_;
  std::vector<attention::KeyValueCache> caches_;
};

void Search::start(const std::vector<std::vector<int32_t>>& sources) {
  size_t longest = 0;
  for (const auto& source : sources) longest = std::max(longest, source.size());
  const auto rows = static_cast<int64_t>(sources.size()), width = static_cast<int64_t>(longest);
  const at::Tensor ids = at::zeros({rows, width}, at::kLong);  // what pads is not seen
  const at::Tensor lengths = at::empty({rows}, at::kInt);
  for (size_t i = 0; i < sources.size(); ++i) {
    TORCH_CHECK(!sources[i].empty(), "source ", i, " has no token");
    std::copy(sources[i].begin(), sources[i].end(),
              ids.mutable_data_ptr<int64_t>() + static_cast<int64_t>(i * longest));
    lengths.mutable_data_ptr<int32_t>()[i] = static_cast<int32_t>(sources[i].size());
    const double most = options_.max_ratio * static_cast<double>(sources[i].size()) + 10;
    const auto context = static_cast<double>(model_.config().context());
    active_.push_back({i, static_cast<int64_t>(std::min(most, context)), {Live{}}, {}});
  }
  ForwardInput input;
  input.source = ids.to(device_);
  input.source_lengths = lengths.to(device_);
  memory_ = model_.remember(model_.encode(input), input.source_lengths);
  caches_ = model_.make_caches();
}

// Of what follows each live text: [R, V] float64 on the CPU, -infinity for what is never said.
at::Tensor Search::next_log_probabilities() {
  std::vector<int64_t> last;
  for (const Sentence& sentence : active_) {
    for (const Live& live : sentence.live) {
      last.push_back(live.tokens.empty() ? options_.begin : live.tokens.back());
    }
  }
  const at::Tensor tokens = at::empty({static_cast<int64_t>(last.size()), 1}, at::kLong);
  std::copy(last.begin(), last.end(), tokens.mutable_data_ptr<int64_t>());
  const at::Tensor hidden = model_.decode(tokens.to(device_), memory_, caches_);  // [R, 1, C]
  at::Tensor log_p =
      at::log_softmax(model_.logits(hidden).squeeze(1).to(at::kDouble), -1).to(at::kCPU);
  for (const int32_t id : options_.never) {
    log_p.select(1, id).fill_(-std::numeric_limits<double>::infinity());
  }
  return log_p;
}

// The 2 beam best extensions of each sentence, the best first.
std::vector<std::vector<Candidate>> Search::candidates(const at::Tensor& log_p) const {
  const int64_t vocab = log_p.size(1);
  const auto sentences = static_cast<int64_t>(active_.size());
  const auto each = static_cast<int64_t>(active_.front().live.size());
  const at::Tensor so_far = at::empty({sentences * each, 1}, at::kDouble);
  double* out = so_far.mutable_data_ptr<double>();
  for (const Sentence& sentence : active_) {
    for (const Live& live : sentence.live) *out++ = live.log_p;
  }
  const int64_t wanted = std::min(2 * options_.beam, each * vocab);
  const auto [values, places] = (log_p + so_far).view({sentences, each * vocab}).topk(wanted, -1);
  const double* value = values.const_data_ptr<double>();
  const int64_t* place = places.const_data_ptr<int64_t>();
  std::vector<std::vector<Candidate>> all(active_.size());
  for (int64_t i = 0; i < sentences; ++i) {
    for (int64_t j = 0; j < wanted; ++j, ++value, ++place) {
      const int64_t parent = *place / vocab;
      all[static_cast<size_t>(i)].push_back({static_cast<size_t>(parent), i * each + parent,
                                             static_cast<int32_t>(*place % vocab), *value});
    }
  }
  return all;
}

// Every sentence has as many live texts as the others: a small vocabulary fills them up with texts
// of probability 0. False where the sentence is done; else its rows of the present batch are
// appended to `rows`.
bool Search::extend(Sentence& sentence, const std::vector<Candidate>& best,
                    std::vector<int64_t>& rows) {
  std::vector<Live> live;
  std::vector<int64_t> own_rows;
  for (size_t rank = 0; rank < best.size() && std::ssize(live) < options_.beam; ++rank) {
    const Candidate& candidate = best[rank];
    const std::vector<int32_t>& before = sentence.live[candidate.parent].tokens;
    if (candidate.token == options_.end) {
      if (static_cast<int64_t>(rank) < options_.beam && std::isfinite(candidate.log_p)) {
        finish(sentence, before, candidate.log_p, true);
      }
      continue;
    }
    live.push_back({before, candidate.log_p});
    live.back().tokens.push_back(candidate.token);
    own_rows.push_back(candidate.row);
  }
  sentence.live = std::move(live);
  if (is_done(sentence)) return false;
  if (std::ssize(sentence.live.front().tokens) >= sentence.limit) {
    for (Live& cut : sentence.live) finish(sentence, std::move(cut.tokens), cut.log_p, false);
    return false;
  }
  rows.insert(rows.end(), own_rows.begin(), own_rows.end());
  return true;
}

double Search::score(double log_p, int64_t tokens) const {
  return log_p / std::pow((5 + static_cast<double>(tokens)) / 6, options_.length_penalty);
}

bool Search::is_done(const Sentence& sentence) const {
  if (std::ssize(sentence.finished) < options_.beam) return false;
  if (options_.beam == 1) return true;
  const Live& best = sentence.live.front();
  const double promise = score(best.log_p, std::ssize(best.tokens) + 1);
  return std::any_of(sentence.finished.begin(), sentence.finished.end(),
                     [&](const Translation& found) { return found.score >= promise; });
}

void Search::finish(Sentence& sentence, std::vector<int32_t> tokens, double log_p,
                    bool ended) const {
  const double found = score(log_p, std::ssize(tokens) + (ended ? 1 : 0));
  sentence.finished.push_back({std::move(tokens), log_p, found, ended});
}

// Texts that were cut count only where none has ended.
Translation Search::best(Sentence sentence) const {
  return *std::max_element(sentence.finished.begin(), sentence.finished.end(),
                           [](const Translation& a, const Translation& b) {
                             return std::pair(a.ended, a.score) < std::pair(b.ended, b.score);
                           });
}

void Search::keep_rows(const std::vector<int64_t>& rows) {
  const at::Tensor index = at::empty({static_cast<int64_t>(rows.size())}, at::kLong);
  std::copy(rows.begin(), rows.end(), index.mutable_data_ptr<int64_t>());
  const at::Tensor on_device = index.to(device_);
  memory_ = memory_.rows(on_device);
  for (attention::KeyValueCache& cache : caches_) {
    cache.k = at::index_select(cache.k, 0, on_device);
    cache.v = at::index_select(cache.v, 0, on_device);
  }
}

}  // namespace

std::vector<Translation> translate(const EncoderDecoder& model,
                                   const std::vector<std::vector<int32_t>>& sources,
                                   const BeamOptions& options) {
  TORCH_CHECK(options.beam >= 1, "a beam of ", options.beam, " texts, expected 1 or more");
  if (sources.empty()) return {};
  const at::NoGradGuard no_grad;
  return Search(model, sources, options).run();
}

}  // namespace dagpam::trainer
