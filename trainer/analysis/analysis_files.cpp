#include "trainer/analysis/analysis_files.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "data/atomic_file.h"

namespace dagpam::trainer {

namespace {

using Row = std::vector<std::optional<double>>;
using Json = nlohmann::ordered_json;

Row collapse_row(size_t layer, const CollapseSpread& collapse) {
  return {static_cast<double>(layer), collapse.ratio_1inf.mean,     collapse.ratio_1inf.deviation,
          collapse.ratio_fro.mean,    collapse.ratio_fro.deviation, collapse.cosine.mean,
          collapse.cosine.deviation};
}

AnalysisTable collapse_table(const std::string& name) {
  return {name,
          {"layer", "ratio_1inf_mean", "ratio_1inf_deviation", "ratio_fro_mean",
           "ratio_fro_deviation", "cosine_mean", "cosine_deviation"},
          {}};
}

AnalysisTable weights_table(const std::string& name) {
  return {name,
          {"layer", "min", "max", "row_sum_mean", "row_sum_min", "row_sum_max", "entropy",
           "entropy_uniform", "negative_share"},
          {}};
}

void add_weights(AnalysisTable& table, size_t layer, const MapStatistics& map) {
  table.rows.push_back({static_cast<double>(layer), map.min, map.max, map.row_sum_mean,
                        map.row_sum_min, map.row_sum_max, map.entropy, map.entropy_uniform,
                        map.negative_share});
}

void add_lambdas(AnalysisTable& table, size_t layer, const LayerAnalysis& one) {
  for (size_t head = 0; head < one.lambda_plus.size(); ++head) {
    const bool shared = one.lambda_plus.size() == 1;
    table.rows.push_back({static_cast<double>(layer),
                          shared ? std::nullopt : std::optional<double>(head),
                          one.lambda_plus[head], one.lambda_minus[head]});
  }
}

bool is_count(const std::string& column) { return column == "layer" || column == "head"; }

Json cell(const std::string& column, const std::optional<double>& value) {
  if (!value || !std::isfinite(*value)) return nullptr;
  return is_count(column) ? Json(static_cast<int64_t>(*value)) : Json(*value);
}

std::string csv_of(const AnalysisTable& table) {
  std::string text;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    text += (i > 0 ? "," : "") + table.columns[i];
  }
  text += "\n";
  for (const Row& row : table.rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const Json value = cell(table.columns[i], row[i]);
      text += (i > 0 ? "," : "") + (value.is_null() ? std::string() : value.dump());
    }
    text += "\n";
  }
  return text;
}

const char* name_of(BlockParts parts) {
  switch (parts) {
    case BlockParts::kWhole:
      return "full";
    case BlockParts::kNoResidual:
      return "no_residual";
    case BlockParts::kAttentionOnly:
      return "attention_only";
  }
  return "";
}

}  // namespace

std::vector<AnalysisTable> tables_of(const Analysis& analysis) {
  AnalysisTable stream = collapse_table("stream"), output = collapse_table("attention_output");
  AnalysisTable weights = weights_table("weights"), plus = weights_table("weights_plus"),
                minus = weights_table("weights_minus");
  AnalysisTable lambdas{"lambdas", {"layer", "head", "plus", "minus"}, {}};
  AnalysisTable gradients{"gradients", {"layer", "query", "w_neg"}, {}};
  stream.rows.push_back(collapse_row(0, analysis.embeddings));
  for (size_t i = 0; i < analysis.layers.size(); ++i) {
    const LayerAnalysis& layer = analysis.layers[i];
    stream.rows.push_back(collapse_row(i + 1, layer.stream));
    output.rows.push_back(collapse_row(i + 1, layer.attention_output));
    add_weights(weights, i + 1, layer.weights);
    if (layer.plus) add_weights(plus, i + 1, *layer.plus);
    if (layer.minus) add_weights(minus, i + 1, *layer.minus);
    add_lambdas(lambdas, i + 1, layer);
    gradients.rows.push_back(
        {static_cast<double>(i + 1), layer.query_gradient, layer.w_neg_gradient});
  }
  std::vector<AnalysisTable> tables{std::move(stream), std::move(output), std::move(weights)};
  for (AnalysisTable* table : {&plus, &minus, &lambdas}) {
    if (!table->rows.empty()) tables.push_back(std::move(*table));
  }
  tables.push_back(std::move(gradients));
  return tables;
}

Json to_json(const Analysis& analysis, const AnalysisSource& source) {
  const auto& attention = source.config.attention();
  Json out{{"step", source.step},
           {"name", source.config.name()},
           {"attention", configs::AttentionConfig::Kind_Name(attention.kind())},
           {"checkpoint", source.checkpoint.empty() ? Json(nullptr) : Json(source.checkpoint)},
           {"seed", source.config.train().seed()},
           {"query_gain", source.query_gain},
           {"data", source.data},
           {"split", source.split},
           {"sequences", analysis.sequences},
           {"tokens", analysis.tokens},
           {"first_position", analysis.options.include_first},
           {"stack", name_of(analysis.options.parts)},
           {"sight", analysis.options.causal ? "causal" : "all"},
           {"precision", source.precision},
           {"nll", std::isfinite(analysis.nll) ? Json(analysis.nll) : Json(nullptr)}};
  for (const AnalysisTable& table : tables_of(analysis)) {
    Json rows = Json::array();
    for (const Row& row : table.rows) {
      Json object;
      for (size_t i = 0; i < row.size(); ++i) {
        object[table.columns[i]] = cell(table.columns[i], row[i]);
      }
      rows.push_back(std::move(object));
    }
    out[table.name] = std::move(rows);
  }
  return out;
}

void write_text(const std::string& path, const std::string& text) {
  data::AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

std::vector<std::string> write_analysis(const Analysis& analysis, const AnalysisSource& source,
                                        const std::string& folder) {
  std::vector<std::string> paths;
  const auto add = [&](const std::string& name, const std::string& text) {
    paths.push_back(folder + "/" + name);
    write_text(paths.back(), text);
  };
  add("analysis.json",
      to_json(analysis, source).dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
  for (const AnalysisTable& table : tables_of(analysis)) add(table.name + ".csv", csv_of(table));
  return paths;
}

}  // namespace dagpam::trainer
