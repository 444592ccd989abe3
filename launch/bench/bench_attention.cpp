#include "launch/bench/bench_attention.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "configs/errors.h"
#include "launch/bench/attention_contenders.h"
#include "launch/bench/row.h"
#include "launch/bench/stopwatch.h"
#include "parallel/devices.h"

namespace dagpam::launch {

namespace {

constexpr double kTurn = 30;                    // milliseconds that a turn of ours should take
constexpr double kFlush = 128.0 * 1024 * 1024;  // bytes of inputs that a GPU's cache cannot hold
constexpr int64_t kFewestSets = 2, kMostSets = 16;

at::ScalarType type_of(const AttentionBenchOptions& options) {
  const bool cpu = options.device == "cpu";
  const std::map<std::string, at::ScalarType> known{{"", cpu ? at::kFloat : at::kBFloat16},
                                                    {"float32", at::kFloat},
                                                    {"float64", at::kDouble},
                                                    {"bfloat16", at::kBFloat16},
                                                    {"float16", at::kHalf}};
  const auto found = known.find(options.type);
  if (found == known.end()) throw ConfigError("--type: '" + options.type + "' is no type");
  if (cpu && found->second != at::kFloat && found->second != at::kDouble) {
    throw ConfigError("--type: " + options.type +
                      ": the CPU kernels take float32 and float64; --device cuda takes halves");
  }
  return found->second;
}

const std::map<std::string, attention::Kind> kKinds{
    {"SOFTMAX", attention::Kind::kSoftmax}, {"SOFTMAX_WIDE", attention::Kind::kSoftmaxWide},
    {"DAGPAM", attention::Kind::kDagpam},   {"NON", attention::Kind::kNon},
    {"NAP", attention::Kind::kNap},         {"CODA", attention::Kind::kCoda},
    {"COG", attention::Kind::kCog},         {"DIFF", attention::Kind::kDiff},
    {"DIFF2", attention::Kind::kDiff2}};

at::Device device_of(const AttentionBenchOptions& options) {
  if (options.device == "cpu") return at::kCPU;
  const parallel::Devices& devices = parallel::visible_devices();
  if (devices.gpus == 0) {
    throw ConfigError("--device cuda: there is no GPU (" + devices.why_none +
                      "): run it where there is one, or --device cpu");
  }
  const at::Device device(at::kCUDA, 0);
  parallel::use_device(device);
  return device;
}

std::vector<AttentionShape> shapes_of(const AttentionBenchOptions& options) {
  AttentionShape shape;
  shape.device = device_of(options);
  shape.type = type_of(options);
  shape.kind = kKinds.at(options.kind);
  shape.causal = !options.full;
  using List = std::vector<int64_t>;
  const bool cpu = shape.device.is_cpu();
  const List lengths = cpu ? List{128, 256, 512, 1024} : List{512, 1024, 2048, 4096, 8192};
  const List widths = cpu ? List{32, 64} : List{64, 128};
  std::vector<AttentionShape> all;
  for (const int64_t width : options.widths.empty() ? widths : options.widths) {
    for (const int64_t tokens : options.lengths.empty() ? lengths : options.lengths) {
      shape.width = width;
      shape.tokens = tokens;
      const int64_t model = cpu ? 256 : 2048, in_all = cpu ? 2048 : 16384;
      shape.heads = options.heads > 0 ? options.heads : std::max<int64_t>(1, model / width);
      shape.batch = options.batch > 0 ? options.batch : std::max<int64_t>(1, in_all / tokens);
      all.push_back(shape);
    }
  }
  return all;
}

std::string describe(const AttentionShape& shape) {
  return "B" + std::to_string(shape.batch) + " T" + std::to_string(shape.tokens) + " H" +
         std::to_string(shape.heads) + " D" + std::to_string(shape.width) +
         (shape.causal ? " causal " : " full ") + c10::toString(shape.type);
}

// Largest difference between two outcomes, each tensor over its largest element.
double difference(const AttentionOutcome& a, const AttentionOutcome& b) {
  const auto of = [](const at::Tensor& x, const at::Tensor& y) {
    const double scale = y.abs().max().to(at::kDouble).item<double>();
    const double error =
        (x.to(at::kDouble) - y.to(at::kDouble)).abs().max().item<double>() / std::max(scale, 1e-30);
    return error >= 0 ? error : INFINITY;  // NaN is not
  };
  double worst = of(a.y, b.y);
  for (size_t i = 0; i < b.gradients.size(); ++i) {
    worst = std::max(worst, of(a.gradients[i], b.gradients[i]));
  }
  return worst;
}

// What two right answers may differ by at most: far more than rounding does, far less than a wrong
// mask or a missing term.
double allowed(at::ScalarType type) {
  return type == at::kDouble ? 1e-9 : type == at::kFloat ? 1e-3 : 0.1;
}

class Contest {
 public:
  explicit Contest(const AttentionShape& shape)
      : shape_(shape), contenders_(attention_contenders(shape)) {
    const double wanted = std::ceil(kFlush / attention_bytes(shape));
    const int64_t sets = shape.device.is_cpu()
                             ? kFewestSets
                             : std::clamp(static_cast<int64_t>(wanted), kFewestSets, kMostSets);
    for (int64_t i = 0; i < sets; ++i) inputs_.emplace_back(shape, 100 + static_cast<uint64_t>(i));
  }

  // Runs each once; drops those that the library does not serve, with a line. Returns whether all
  // others agree with ours.
  bool compare() {
    bool good = true;
    const AttentionOutcome ours = run_contender(contenders_.front(), shape_, inputs_.front());
    std::vector<AttentionContender> served{contenders_.front()};
    for (size_t i = 1; i < contenders_.size(); ++i) {
      const AttentionContender& other = contenders_[i];
      AttentionOutcome outcome;
      try {
        outcome = run_contender(other, shape_, inputs_.front());
      } catch (const c10::Error& error) {
        std::fprintf(stderr, "%s: %s does not serve: %s\n", describe(shape_).c_str(),
                     other.name.c_str(), error.what_without_backtrace());
        continue;
      }
      served.push_back(other);
      const double error = other.same ? difference(outcome, ours) : 0;
      if (error <= allowed(shape_.type)) continue;
      std::fprintf(stderr, "%s: %s DIFFERS from ours by %.3g of the largest element\n",
                   describe(shape_).c_str(), other.name.c_str(), error);
      good = false;
    }
    contenders_ = std::move(served);
    times_.assign(contenders_.size(), {});
    return good;
  }

  void run(int64_t rounds) {
    calls_ = 1;
    const double once = turn(contenders_.front());
    calls_ = std::clamp<int64_t>(static_cast<int64_t>(kTurn / std::max(once, 1e-3)), 1, 200);
    for (int64_t round = 0; round < rounds; ++round) {
      for (size_t i = 0; i < contenders_.size(); ++i) times_[i].push_back(turn(contenders_[i]));
    }
  }

  // One row a peer.
  std::vector<BenchRow> rows() const {
    std::vector<BenchRow> out;
    BenchRow row;
    row.name = "attention";
    row.shape = describe(shape_);
    row.device = shape_.device.is_cpu() ? "cpu" : parallel::device_name(shape_.device);
    row.kernel = contenders_.front().kernel;
    row.ours_ms = median(times_.front());
    row.spread = spread(times_.front());
    row.per_second = attention_flops(shape_) / row.ours_ms * 1e3;
    row.unit = "FLOP";
    row.bytes = attention_bytes(shape_);
    for (size_t i = 1; i < contenders_.size(); ++i) {
      row.peer = contenders_[i].name;
      row.peer_ms = median(times_[i]);
      out.push_back(row);
    }
    return out;
  }

 private:
  double turn(const AttentionContender& contender) {
    return device_milliseconds(shape_.device,
                               [&] {
                                 for (int64_t i = 0; i < calls_; ++i) {
                                   const auto set = static_cast<size_t>(next_++) % inputs_.size();
                                   run_contender(contender, shape_, inputs_[set]);
                                 }
                               }) /
           static_cast<double>(calls_);
  }

  AttentionShape shape_;
  std::vector<AttentionContender> contenders_;
  std::vector<AttentionInputs> inputs_;
  std::vector<std::vector<double>> times_;  // milliseconds a call, by contender and round
  int64_t calls_ = 1, next_ = 0;
};

// Geometric means over the shapes of one peer's rows.
BenchRow mean_row(const std::vector<BenchRow>& rows) {
  BenchRow mean = rows.front();
  double ours = 0, theirs = 0, rate = 0;
  for (const BenchRow& row : rows) {
    const double share = 1 / static_cast<double>(rows.size());
    ours += share * std::log(row.ours_ms);
    theirs += share * std::log(row.peer_ms);
    rate += share * std::log(row.per_second);
    mean.spread = std::max(mean.spread, row.spread);
  }
  mean.name = "attention mean";
  mean.shape = std::to_string(rows.size()) + " shapes, geometric mean";
  mean.ours_ms = std::exp(ours);
  mean.peer_ms = std::exp(theirs);
  mean.per_second = std::exp(rate);
  mean.bytes = 0;
  return mean;
}

}  // namespace

std::vector<std::string> attention_kind_names() {
  std::vector<std::string> names;
  for (const auto& [name, kind] : kKinds) names.push_back(name);
  return names;
}

bool bench_attention(const AttentionBenchOptions& options) {
  at::globalContext().setDeterministicAlgorithms(options.deterministic, /*warn_only=*/false);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  bool good = true;
  std::vector<std::string> peers;  // in the order of their first row
  std::map<std::string, std::vector<BenchRow>> by_peer;
  const std::vector<AttentionShape> shapes = shapes_of(options);
  for (const AttentionShape& shape : shapes) {
    Contest contest(shape);
    good = contest.compare() && good;
    contest.run(options.rounds);
    for (const BenchRow& row : contest.rows()) {
      print_row(row, options.json);
      if (by_peer.count(row.peer) == 0) peers.push_back(row.peer);
      by_peer[row.peer].push_back(row);
    }
  }
  if (shapes.size() > 1) {
    for (const std::string& peer : peers) print_row(mean_row(by_peer[peer]), options.json);
  }
  return good;
}

}  // namespace dagpam::launch
