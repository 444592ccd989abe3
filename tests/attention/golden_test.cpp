// The oracle: every case of the variants that are built, outputs, row sums and all gradients, by
// both paths, in float64 and float32. The file was made by an independent program from the formulas
// alone.
#include <ATen/ops/from_blob.h>
#include <ATen/ops/ones_like.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "hopper_cases.h"
#include "support.h"

namespace dagpam::attention::testing {
namespace {

using Json = nlohmann::json;

const std::map<std::string, Kind> kKinds = {
    {"softmax", Kind::kSoftmax}, {"softmax_wide", Kind::kSoftmaxWide},
    {"dagpam", Kind::kDagpam},   {"non", Kind::kNon},
    {"nap", Kind::kNap},         {"coda", Kind::kCoda},
    {"cog", Kind::kCog}};
const std::set<std::string> kOtherVariants = {"diff", "diff2"};

Json read_cases() {
  const char* const named = std::getenv("DAGPAM_GOLDEN_CASES");
  const std::string path =
      named != nullptr ? named : DAGPAM_SOURCE_DIR "/tests/golden/attention_cases.json";
  std::ifstream file(path);
  EXPECT_TRUE(file) << "cannot read " << path;
  return Json::parse(file);
}

void flatten(const Json& nested, std::vector<double>& to) {
  if (nested.is_array()) {
    for (const Json& part : nested) flatten(part, to);
  } else {
    to.push_back(nested.get<double>());
  }
}

at::Tensor tensor_of(const Json& nested) {
  std::vector<int64_t> sizes;
  for (const Json* at = &nested; at->is_array(); at = &at->front()) {
    sizes.push_back(static_cast<int64_t>(at->size()));
  }
  std::vector<double> values;
  flatten(nested, values);
  return at::from_blob(values.data(), sizes, at::kDouble).clone();
}

// The file's tensors are [B, heads, rows, D], ours [B, rows, heads, D].
bool by_head(const std::string& name) { return name == "q" || name == "k" || name == "v"; }
at::Tensor ours(const std::string& name, const Json& nested) {
  const at::Tensor x = tensor_of(nested);
  return by_head(name) ? x.transpose(1, 2).contiguous() : x;
}

// The file's booleans [B, N, M] as intervals; fails where they are none.
Visibility intervals(const Json& mask) {
  const auto batch = static_cast<int64_t>(mask.size());
  const auto queries = static_cast<int64_t>(mask[0].size());
  std::vector<int32_t> begin, end;
  for (const Json& rows : mask) {
    for (const Json& row : rows) {
      const auto visible = row.get<std::vector<bool>>();
      int32_t first = 0, count = 0;
      for (size_t j = 0; j < visible.size(); ++j) {
        if (visible[j] && count++ == 0) first = static_cast<int32_t>(j);
      }
      for (size_t j = 0; j < visible.size(); ++j) {
        const auto place = static_cast<int32_t>(j);
        EXPECT_EQ(visible[j], place >= first && place < first + count)
            << "not an interval: " << row;
      }
      begin.push_back(first);
      end.push_back(first + count);
    }
  }
  Visibility visibility;
  visibility.causal = false;
  visibility.begin = at::from_blob(begin.data(), {batch, queries}, at::kInt).clone();
  visibility.end = at::from_blob(end.data(), {batch, queries}, at::kInt).clone();
  return visibility;
}

Case case_of(const Json& json) {
  Case c;
  const Json& inputs = json.at("inputs");
  c.q = ours("q", inputs.at("q"));
  c.k = ours("k", inputs.at("k"));
  c.v = ours("v", inputs.at("v"));
  c.dy = ours("q", json.at("dy"));
  c.options.kind = kKinds.at(json.at("kind"));
  c.options.heads = c.q.size(2);
  c.options.kv_heads = c.k.size(2);
  c.options.head_width = c.q.size(3);
  const auto parameter = [&](const char* name) {
    return inputs.contains(name) ? tensor_of(inputs.at(name)) : at::ones_like(c.q);
  };
  c.w_neg = parameter("w_neg");
  c.plus = parameter("lambda_plus");
  c.minus = parameter("lambda_minus");
  c.gain = parameter("gain");
  c.bias = parameter("bias");
  c.visibility = intervals(json.at("mask"));
  return c;
}

// Differences of y, row_sum and every gradient in the file, each held against its largest entry.
template <class Solve>
std::map<std::string, double> differences(const Json& json, const Case& c, Solve solve_case) {
  std::map<std::string, double> out;
  const Outcome outcome = solve_case(c);
  out["y"] = difference(outcome.y, ours("q", json.at("y")));
  Case ones = c;
  ones.v = at::ones_like(c.v);
  const at::Tensor sums = solve_case(ones).y.transpose(1, 2);  // [B, H, N, D], each column the sum
  const at::Tensor expected = tensor_of(json.at("row_sum")).unsqueeze(3).expand(sums.sizes());
  out["row_sum"] = difference(sums, expected);
  for (const auto& [name, nested] : json.at("grad").items()) {
    const auto found = outcome.grad.find(name);
    out["grad " + name] = found == outcome.grad.end()
                              ? std::numeric_limits<double>::infinity()
                              : difference(found->second, ours(name, nested));
  }
  EXPECT_EQ(outcome.grad.size(), json.at("grad").size()) << "gradients that the file lacks";
  return out;
}

std::map<std::string, double> differences(const Json& json, const Case& c, Path path) {
  return differences(json, c, [path](const Case& problem) { return solve(problem, path); });
}

class GoldenTest : public ::testing::TestWithParam<Path> {
 protected:
  // Calls `check(case json, problem)` for each case of a variant that is built.
  template <typename Check>
  void each_case(Check check) {
    std::map<std::string, int> seen;
    for (const Json& json : read_cases()) {
      const std::string kind = json.at("kind");
      if (kOtherVariants.count(kind) > 0) continue;
      ASSERT_TRUE(kKinds.count(kind) > 0) << "unknown kind " << kind;
      SCOPED_TRACE(json.at("name").get<std::string>());
      ++seen[kind];
      check(json, case_of(json));
    }
    for (const auto& [name, kind] : kKinds) EXPECT_GT(seen[name], 0) << "no case of " << name;
  }
};

TEST_P(GoldenTest, Float64) {
  each_case([&](const Json& json, const Case& c) {
    for (const auto& [what, error] : differences(json, c, GetParam())) {
      EXPECT_LE(error, 1e-10) << what;
    }
  });
}

TEST_P(GoldenTest, CausalFlagMeansTheSameMask) {
  each_case([&](const Json& json, Case c) {
    if (!json.at("causal").get<bool>()) return;
    c.visibility.causal = true;
    for (const auto& [what, error] : differences(json, c, GetParam())) {
      EXPECT_LE(error, 1e-10) << what;
    }
  });
}

// Scores of several hundred leave float32 itself coarse: there the plain path's error is the
// measure. What is within 2e-5 all the same is right; beyond that a tensor may be off twice as far
// as the plain path's, and the worst tensor twice as far as the plain path's worst. (That neither
// path is better on the average is in accuracy_test.cpp.)
TEST_P(GoldenTest, Float32) {
  each_case([&](const Json& json, const Case& c) {
    const Case narrow = as_type(c, at::kFloat);
    const bool large = json.at("name") == "dagpam_large_scores";
    const auto plain = differences(json, narrow, Path::kReference);
    double worst = 0, plain_worst = 0;
    for (const auto& [what, error] : differences(json, narrow, GetParam())) {
      EXPECT_LE(error, large ? std::max(2e-5, 2 * plain.at(what)) : 2e-5) << what;
      worst = std::max(worst, error);
      plain_worst = std::max(plain_worst, plain.at(what));
    }
    if (large) {
      EXPECT_LE(worst, 2 * plain_worst);
    }
  });
}

// The fused kernel's algorithm, in float32 as its model has it. Where scores are several hundred,
// so is a row's kept log-sum, and its last bit is worth 3e-5 of every weight that backward makes of
// it: in the types that the kernel serves that is nothing.
class GoldenModelTest : public GoldenTest {};
TEST_P(GoldenModelTest, Float32) {
  each_case([&](const Json& json, const Case& c) {
    if (json.at("kind") != "dagpam") return;
    const double bound = json.at("name") == "dagpam_large_scores" ? 6e-5 : 2e-5;
    const auto model = differences(json, as_type(c, at::kFloat),
                                   [](const Case& problem) { return run_model(problem).outcome; });
    for (const auto& [what, error] : model) EXPECT_LE(error, bound) << what;
  });
}
INSTANTIATE_TEST_SUITE_P(Hopper, GoldenModelTest, ::testing::Values(Path::kReference));

INSTANTIATE_TEST_SUITE_P(Paths, GoldenTest, ::testing::Values(Path::kReference, Path::kFast),
                         [](const auto& test) {
                           return test.param == Path::kFast ? "Fast" : "Reference";
                         });

}  // namespace
}  // namespace dagpam::attention::testing
