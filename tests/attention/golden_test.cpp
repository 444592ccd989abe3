// The oracle: every case of every variant, outputs, row sums and all gradients, by both paths, in
// float64 and float32. The file was made by an independent program from the formulas alone.
#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
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
    {"cog", Kind::kCog},         {"diff", Kind::kDiff},
    {"diff2", Kind::kDiff2}};

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
bool by_head(const std::string& name) {
  const std::set<std::string> names{"q", "k", "v", "q2", "k2", "gate"};
  return names.count(name) > 0;
}
at::Tensor rows_first(const std::string& name, const Json& nested) {
  const at::Tensor x = tensor_of(nested);
  return by_head(name) ? x.transpose(1, 2).contiguous() : x;
}

// The file keeps the two maps of DIFF and DIFF2 apart, and DIFF's values and answers twice as wide:
// ours are neighbouring heads.
at::Tensor neighbours(const at::Tensor& first, const at::Tensor& second) {
  return at::stack({first, second}, 3).flatten(2, 3);
}
at::Tensor halves(const at::Tensor& wide) {  // [B, rows, heads, 2 D] -> [B, rows, 2 heads, D]
  return wide.unflatten(3, {2, wide.size(3) / 2}).flatten(2, 3);
}

// Inputs or gradients of a case, by our names and in our layout.
std::map<std::string, at::Tensor> ours(const std::string& kind, const Json& named) {
  std::map<std::string, at::Tensor> out;
  for (const auto& [name, nested] : named.items()) out[name] = rows_first(name, nested);
  for (const char* const name : {"q", "k"}) {
    const auto second = out.find(std::string(name) + "2");
    if (second == out.end()) continue;
    out[name] = neighbours(out[name], second->second);
    out.erase(second);
  }
  if (kind == "diff") out["v"] = halves(out["v"]);
  return out;
}

// y or dy.
at::Tensor answer(const Json& json, const char* name) {
  const at::Tensor y = rows_first("q", json.at(name));
  return json.at("kind") == "diff" ? halves(y) : y;
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
  const auto inputs = ours(json.at("kind"), json.at("inputs"));
  c.q = inputs.at("q");
  c.k = inputs.at("k");
  c.v = inputs.at("v");
  c.dy = answer(json, "dy");
  c.options.kind = kKinds.at(json.at("kind"));
  c.options.heads = c.dy.size(2);
  c.options.kv_heads = c.k.size(2);
  c.options.head_width = c.q.size(3);
  const auto parameter = [&](const char* name) {
    return inputs.count(name) > 0 ? inputs.at(name) : at::ones_like(c.q);
  };
  c.w_neg = parameter("w_neg");
  c.plus = parameter("lambda_plus");
  c.minus = parameter("lambda_minus");
  c.gain = parameter("gain");
  c.bias = parameter("bias");
  c.gate = parameter("gate");
  if (c.options.kind == Kind::kDiff) {
    c.options.layer = 2;  // the file's
    for (const char* const name : {"lq1", "lk1", "lq2", "lk2", "norm"}) {
      c.diff[name] = inputs.at(name);
    }
  }
  c.visibility = intervals(json.at("mask"));
  return c;
}

// What values of ones give, from the file's sums of rows: [B, N, H, D]. DIFF's answer is normed
// behind the sum.
at::Tensor answer_to_ones(const Json& json, const Case& c) {
  const at::Tensor sums = rows_first("q", json.at("row_sum")).unsqueeze(3);  // [B, N, heads, 1]
  if (c.options.kind != Kind::kDiff) return sums.expand(c.dy.sizes());
  const double start = 0.8 - 0.6 * std::exp(-0.3 * static_cast<double>(c.options.layer));
  const at::Tensor normed = sums * at::rsqrt(sums * sums + 1e-5) * (1 - start);
  return halves(normed * tensor_of(json.at("inputs").at("norm")));
}

// Differences of y, row_sum and every gradient in the file, each held against its largest entry.
template <class Solve>
std::map<std::string, double> differences(const Json& json, const Case& c, Solve solve_case) {
  std::map<std::string, double> out;
  const Outcome outcome = solve_case(c);
  out["y"] = difference(outcome.y, answer(json, "y"));
  Case ones = c;
  ones.v = at::ones_like(c.v);
  out["row_sum"] = difference(solve_case(ones).y, answer_to_ones(json, c));
  const auto expected = ours(json.at("kind"), json.at("grad"));
  for (const auto& [name, gradient] : expected) {
    const auto found = outcome.grad.find(name);
    out["grad " + name] = found == outcome.grad.end() ? std::numeric_limits<double>::infinity()
                                                      : difference(found->second, gradient);
  }
  EXPECT_EQ(outcome.grad.size(), expected.size()) << "gradients that the file lacks";
  return out;
}

std::map<std::string, double> differences(const Json& json, const Case& c, Path path) {
  return differences(json, c, [path](const Case& problem) { return solve(problem, path); });
}

class GoldenTest : public ::testing::TestWithParam<Path> {
 protected:
  // Calls `check(case json, problem)` for each case in the file.
  template <typename Check>
  void each_case(Check check) {
    std::map<std::string, int> seen;
    for (const Json& json : read_cases()) {
      const std::string kind = json.at("kind");
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
