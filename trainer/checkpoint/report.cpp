#include "trainer/checkpoint/report.h"

#include <array>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <limits>

#include "configs/errors.h"
#include "trainer/checkpoint/catalog.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/reader.h"

namespace dagpam::checkpoint {
namespace {

using configs::Manifest;

__attribute__((format(printf, 2, 3))) void append(std::string& out, const char* format, ...) {
  std::array<char, 512> line{};  // longer lines are cut
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(line.data(), line.size(), format, arguments);
  va_end(arguments);
  out += line.data();
}

long long number(int64_t value) { return value; }

int64_t total_bytes(const Manifest& manifest) {
  int64_t bytes = 0;
  for (const Manifest::File& file : manifest.files()) {
    // Sizes are a manifest's claim until the files are looked at: the sum must not overflow.
    if (__builtin_add_overflow(bytes, file.bytes(), &bytes)) {
      return std::numeric_limits<int64_t>::max();
    }
  }
  return bytes;
}

std::string cut_of(const Manifest::Tensor& tensor) {
  if (tensor.pieces_size() == 1) return "whole, file " + std::to_string(tensor.pieces(0).file());
  const Box first = tensor.pieces_size() == 0 ? Box{} : box_of(tensor.pieces(0));
  for (size_t d = 0; d < first.shape.size(); ++d) {
    if (first.shape[d] != tensor.shape(static_cast<int>(d))) {
      return std::to_string(tensor.pieces_size()) + " pieces along dimension " + std::to_string(d);
    }
  }
  return std::to_string(tensor.pieces_size()) + " pieces";
}

}  // namespace

std::vector<CheckpointRow> rows(FileSystem& fs, const std::string& directory) {
  std::vector<CheckpointRow> out;
  for (const StepFolder& folder : list_checkpoints(fs, directory)) {
    CheckpointRow row;
    row.step = folder.step;
    row.path = folder.path;
    try {
      const Manifest manifest = read_manifest(fs, folder.path);
      row.tokens = manifest.tokens_seen();
      row.bytes = total_bytes(manifest);
      row.data_ranks = manifest.grid().data();
      row.tensor_ranks = manifest.grid().tensor();
      row.loss = manifest.has_loss() ? manifest.loss() : std::nan("");
    } catch (const CheckpointError& error) {
      row.problem = error.what();
    }
    out.push_back(row);
  }
  return out;
}

std::string to_table(const std::vector<CheckpointRow>& table) {
  std::string out;
  append(out, "%10s %14s %8s %12s %6s  %s\n", "step", "tokens", "loss", "size", "grid", "folder");
  for (const CheckpointRow& row : table) {
    if (!row.problem.empty()) {
      append(out, "%10lld  damaged: %s\n", number(row.step), row.problem.c_str());
      continue;
    }
    const std::string grid =
        std::to_string(row.data_ranks) + "x" + std::to_string(row.tensor_ranks);
    append(out, "%10lld %14lld ", number(row.step), number(row.tokens));
    if (std::isnan(row.loss)) {
      append(out, "%8s ", "-");
    } else {
      append(out, "%8.4f ", row.loss);
    }
    append(out, "%12s %6s  %s\n", human_bytes(row.bytes).c_str(), grid.c_str(), row.path.c_str());
  }
  return out;
}

std::string show(const Manifest& m) {
  std::string out;
  append(out, "run          %s\n", m.run_id().c_str());
  append(out, "step         %lld\n", number(m.step()));
  append(out, "tokens seen  %lld\n", number(m.tokens_seen()));
  if (m.has_loss()) append(out, "loss         %.6f nats a token, of the last step\n", m.loss());
  append(out, "seed         %llu\n", static_cast<unsigned long long>(m.seed()));
  if (m.has_schedule()) {
    append(out, "schedule     rate %.6g, ends at step %lld\n", m.schedule().lr(),
           number(m.schedule().decay_steps()));
  }
  append(out, "written by   dagpam %s, format %lld\n", m.program_version().c_str(),
         number(m.format_version()));
  append(out, "config       %s\n", m.config_digest().c_str());
  append(out, "tokenizer    %s\n", m.tokenizer_digest().c_str());
  append(out, "grid         %lld data x %lld tensor\n", number(m.grid().data()),
         number(m.grid().tensor()));
  append(out, "next sample  %lld\n", number(m.position().next_sample()));
  for (const Manifest::Source& source : m.position().sources()) {
    append(out, "  source     %s, %lld samples drawn\n", source.digest().c_str(),
           number(source.drawn()));
  }
  append(out, "files        %d, %s, digests of %s blocks\n", m.files_size(),
         human_bytes(total_bytes(m)).c_str(), human_bytes(m.block_bytes()).c_str());
  for (int i = 0; i < m.files_size(); ++i) {
    append(out, "  %3d  %12lld bytes  %s\n", i, number(m.files(i).bytes()),
           m.files(i).name().c_str());
  }
  append(out, "tensors      %d\n", m.tensors_size());
  for (const Manifest::Tensor& tensor : m.tensors()) {
    append(out, "  %-52s %-5s %-18s %s\n", tensor.name().c_str(), tensor.dtype().c_str(),
           to_text(shape_of(tensor)).c_str(), cut_of(tensor).c_str());
  }
  return out;
}

std::string human_bytes(int64_t bytes) {
  constexpr std::array<const char*, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  std::string out;
  append(out, unit == 0 ? "%.0f %s" : "%.2f %s", value, kUnits[unit]);
  return out;
}

}  // namespace dagpam::checkpoint
