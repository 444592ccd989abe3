#include "trainer/checkpoint/catalog.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <set>

#include "configs/errors.h"
#include "trainer/checkpoint/blocks.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/reader.h"

namespace dagpam::checkpoint {
namespace {

constexpr std::string_view kTemporary = ".tmp-";
constexpr std::string_view kTrash = ".trash-";
constexpr std::string_view kDamaged = ".damaged-";
constexpr char kFolder[] = "checkpoints";

std::optional<int64_t> to_number(std::string_view digits) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size() || value < 0)
    return std::nullopt;
  return value;
}

// The lease of PREFIXstep-N-LEASE; empty where the name is not ours.
std::string lease_of(std::string_view name, std::string_view prefix) {
  constexpr size_t kLeaseDigits = 32;
  if (!name.starts_with(prefix) || name.size() < prefix.size() + kLeaseDigits + 1) return "";
  const std::string_view lease = name.substr(name.size() - kLeaseDigits);
  name.remove_prefix(prefix.size());
  name.remove_suffix(kLeaseDigits);
  if (!name.ends_with('-') || !is_digest(lease)) return "";
  name.remove_suffix(1);
  return step_of(std::string(name)) ? std::string(lease) : "";
}

[[noreturn]] void throw_none(const std::string& directory) {
  throw CheckpointError(directory +
                        ": no checkpoint there: start without --resume, or with "
                        "--resume auto");
}

Resolved latest_valid(FileSystem& fs, const std::vector<StepFolder>& folders,
                      const std::string& directory) {
  Resolved out;
  for (auto folder = folders.rbegin(); folder != folders.rend(); ++folder) {
    try {
      open_checkpoint(fs, folder->path);
      out.path = folder->path;
      return out;
    } catch (const CheckpointError& error) {
      out.skipped.emplace_back(error.what());
    }
  }
  if (folders.empty()) throw_none(directory);
  throw CheckpointError(directory + ": none of " + std::to_string(folders.size()) +
                        " checkpoints is valid; the newest: " + out.skipped.front());
}

// The `count` steps of the lowest validation loss, among those whose manifest tells of one.
std::set<int64_t> best_steps(FileSystem& fs, const std::vector<StepFolder>& folders,
                             int64_t count) {
  std::vector<std::pair<double, int64_t>> losses;  // loss, step: of equal ones the older is better
  for (const StepFolder& folder : folders) {
    if (count <= 0) break;
    try {
      const configs::Manifest manifest = read_manifest(fs, folder.path);
      if (manifest.has_valid_nll()) losses.emplace_back(manifest.valid_nll(), folder.step);
    } catch (const CheckpointError&) {
      continue;  // damaged: not the best of anything
    }
  }
  std::sort(losses.begin(), losses.end());
  std::set<int64_t> steps;
  for (const auto& [loss, step] : losses) {
    if (static_cast<int64_t>(steps.size()) < count) steps.insert(step);
  }
  return steps;
}

bool is_folder(FileSystem& fs, const std::string& path) {
  const std::optional<FileStatus> status = status_of(fs, path);
  return status && status->kind == FileStatus::Kind::kFolder;
}

}  // namespace

std::string step_name(int64_t step) {
  std::array<char, 32> name{};
  std::snprintf(name.data(), name.size(), "step-%08lld", static_cast<long long>(step));
  return name.data();
}

std::string temporary_name(int64_t step, const std::string& lease) {
  return std::string(kTemporary) + step_name(step) + "-" + lease;
}

std::string trash_name(int64_t step, const std::string& lease) {
  return std::string(kTrash) + step_name(step) + "-" + lease;
}

std::string damaged_name(int64_t step, const std::string& lease) {
  return std::string(kDamaged) + step_name(step) + "-" + lease;
}

std::optional<int64_t> step_of(const std::string& path) {
  constexpr std::string_view kStep = "step-";
  const size_t end = path.find_last_not_of('/');
  if (end == std::string::npos) return std::nullopt;
  const size_t slash = path.find_last_of('/', end);
  const size_t begin = slash == std::string::npos ? 0 : slash + 1;
  const std::string name = path.substr(begin, end + 1 - begin);
  if (!name.starts_with(kStep)) return std::nullopt;
  const std::optional<int64_t> step = to_number(std::string_view(name).substr(kStep.size()));
  if (!step || step_name(*step) != name) return std::nullopt;
  return step;
}

std::vector<StepFolder> list_checkpoints(FileSystem& fs, const std::string& directory) {
  std::vector<StepFolder> out;
  if (!status_of(fs, directory)) return out;
  for (const std::string& name : list_folder(fs, directory)) {
    const std::optional<int64_t> step = step_of(name);
    const std::string path = directory + "/" + name;
    if (step && is_folder(fs, path)) out.push_back({*step, path});
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return out;
}

Resolved resolve(FileSystem& fs, const std::string& run_dir, const std::string& spec) {
  const std::string directory = run_dir + "/" + kFolder;
  const std::vector<StepFolder> folders = list_checkpoints(fs, directory);
  if (spec == "auto" && folders.empty()) return {};
  if (spec == "auto" || spec == "latest") {
    if (folders.empty()) throw_none(directory);
    return {folders.back().path, {}};
  }
  if (spec == "latest-valid") return latest_valid(fs, folders, directory);
  const std::optional<int64_t> step = to_number(spec);
  if (!step) return {find_checkpoint(fs, spec), {}};
  std::string steps;
  for (const StepFolder& folder : folders) {
    if (folder.step == *step) return {folder.path, {}};
    steps += " " + std::to_string(folder.step);
  }
  throw CheckpointError(directory + ": no checkpoint of step " + spec +
                        "; there are:" + (steps.empty() ? " none" : steps));
}

std::string find_checkpoint(FileSystem& fs, const std::string& path) {
  if (status_of(fs, path + "/" + kManifestName) || step_of(path)) return path;
  for (const std::string& directory : {path + "/" + kFolder, path}) {
    const std::vector<StepFolder> folders = list_checkpoints(fs, directory);
    if (!folders.empty()) return folders.back().path;
  }
  throw CheckpointError(path + ": neither a checkpoint (it has no " + kManifestName +
                        ") nor a run folder with checkpoints");
}

std::vector<std::string> remove_stale(FileSystem& fs, const std::string& directory,
                                      const std::string& lease) {
  std::vector<std::string> removed;
  if (!status_of(fs, directory)) return removed;
  for (const std::string& name : list_folder(fs, directory)) {
    const std::string theirs = lease_of(name, kTemporary) + lease_of(name, kTrash);
    if (theirs.empty() || theirs == lease || !is_folder(fs, directory + "/" + name)) continue;
    remove_folder(fs, directory + "/" + name);
    removed.push_back(name);
  }
  return removed;
}

std::vector<int64_t> prune(FileSystem& fs, const std::string& directory, const Retention& retention,
                           const std::string& lease) {
  std::vector<int64_t> removed;
  const std::vector<StepFolder> folders = list_checkpoints(fs, directory);
  const size_t keep = static_cast<size_t>(std::max<int64_t>(0, retention.keep));
  if (keep == 0 || folders.size() <= keep) return removed;
  std::vector<StepFolder> victims(folders.begin(),
                                  folders.end() - static_cast<std::ptrdiff_t>(keep));
  std::erase_if(victims, [&](const StepFolder& folder) {
    return retention.keep_every > 0 && folder.step % retention.keep_every == 0;
  });
  if (victims.empty()) return removed;
  const std::set<int64_t> best = best_steps(fs, folders, retention.keep_best);
  std::erase_if(victims, [&](const StepFolder& folder) { return best.count(folder.step) > 0; });
  if (victims.empty()) return removed;
  open_checkpoint(fs, folders.back().path);  // throws: then nothing goes
  for (const StepFolder& victim : victims) {
    const std::string trash = directory + "/" + trash_name(victim.step, lease);
    rename_path(fs, victim.path, trash);
    sync_folder(fs, directory);
    remove_folder(fs, trash);
    removed.push_back(victim.step);
  }
  return removed;
}

}  // namespace dagpam::checkpoint
