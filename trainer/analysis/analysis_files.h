// trainer/analysis/analysis_files.h: an analysis as JSON and CSV. Layers count from 1 there: layer
// 1 is the parameters' "layers.0", and row 0 of the residual stream is what enters it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "configs/run.pb.h"
#include "trainer/analysis/analysis.h"

namespace dagpam::trainer {

// Of what the analysis is.
struct AnalysisSource {
  const configs::RunConfig& config;  // resolved
  std::string checkpoint;            // "": weights as they start from train.seed
  int64_t step = 0;
  std::string data, split;  // prefix
  std::string precision;    // "float32" or "float64"
  double query_gain = 1;    // of fresh query weights
};

struct AnalysisTable {
  std::string name;
  std::vector<std::string> columns;
  std::vector<std::vector<std::optional<double>>> rows;
};

// stream, attention_output, weights and, of kinds with two maps, weights_plus and weights_minus,
// gradients: a row a layer; lambdas, of DAGPAM: a row a head, or a layer where its heads share
// them.
std::vector<AnalysisTable> tables_of(const Analysis& analysis);

// One object: the source, then each table as a list of objects. What is no finite number is null.
nlohmann::ordered_json to_json(const Analysis& analysis, const AnalysisSource& source);

// analysis.json and a NAME.csv for each table in `folder`, which exists. Each file appears whole.
// Throws IoError. Returns the paths.
std::vector<std::string> write_analysis(const Analysis& analysis, const AnalysisSource& source,
                                        const std::string& folder);

// Writes `text` under `path`, whole or not at all. Throws IoError.
void write_text(const std::string& path, const std::string& text);

}  // namespace dagpam::trainer
