#include "configs/ranges.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "configs/errors.h"
#include "configs/text.h"

namespace dagpam::configs {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr double kSteps = 1099511627776.0;         // 2^40
constexpr double kTokens = 1152921504606846976.0;  // 2^60
constexpr double kSeconds = 31536000;              // a year
constexpr const char* kWatch = "give seconds, as in 900, or 0 for any time";
constexpr const char* kProbability = "give a probability, as in 0.1";

// Bounds stop slips and overflow, not research: each is far beyond what has been trained.
constexpr std::array<Range, 59> kRanges = {{
    {"model.layers", 1, 10000, false, false, "give the number of blocks, as in 12"},
    {"model.encoder_layers", 1, 10000, false, false, "give the number of blocks, as in 6"},
    {"model.width", 1, 1 << 20, false, false,
     "give the channels of the residual stream, as in 768"},
    {"model.heads", 1, 1 << 20, false, false, "give a divisor of model.width, as in 12"},
    {"model.kv_heads", 1, 1 << 20, false, false, "give a divisor of model.heads, or leave it out"},
    {"model.mlp_width", 1, 1 << 24, false, false, "leave it out for 4 x model.width"},
    {"model.norm_eps", 0, 1, true, false, "give a small positive number, as in 1e-5"},
    {"model.rotary_base", 1, 1e12, true, false, "give the longest period's base, as in 10000"},
    {"model.context", 1, 1 << 24, false, false, "give the tokens of a sequence, as in 1024"},
    {"model.vocab", 1, 1 << 28, false, false, "leave it out for the data's vocabulary"},
    {"model.dropout", 0, 1, false, true, kProbability},
    {"model.attention_dropout", 0, 1, false, true, kProbability},
    {"attention.lambda.plus", -1e6, 1e6, false, false, "give a finite weight, as in 1"},
    {"attention.lambda.minus", -1e6, 1e6, false, false, "give a finite weight, as in 1"},
    {"encoder_attention.lambda.plus", -1e6, 1e6, false, false, "give a finite weight, as in 1"},
    {"encoder_attention.lambda.minus", -1e6, 1e6, false, false, "give a finite weight, as in 1"},
    {"cross_attention.lambda.plus", -1e6, 1e6, false, false, "give a finite weight, as in 1"},
    {"cross_attention.lambda.minus", -1e6, 1e6, false, false, "give a finite weight, as in 1"},
    {"data.train.weight", 0, 1e12, true, false, "give a positive share, or drop the entry"},
    {"data.prefetch", 1, 4096, false, false, "give the micro-batches to make ahead, as in 4"},
    {"optimizer.lr", 0, 1000, true, false, "give a positive rate, as in 1e-3"},
    {"optimizer.betas", 0, 1, false, true, "give decay rates, as in [0.9, 0.95]"},
    {"optimizer.eps", 0, 1, true, false, "give a small positive number, as in 1e-8"},
    {"optimizer.momentum", 0, 1, false, true, "give a decay rate, as in 0.9"},
    {"optimizer.weight_decay", 0, 1000, false, false, "give a rate of 0 or more, as in 0.1"},
    {"optimizer.clip_norm", 0, 1e9, false, false, "give a norm, as in 1, or 0 for no clipping"},
    {"schedule.warmup_steps", 0, kSteps, false, false, "give steps, as in 100"},
    {"schedule.decay_steps", 1, kSteps, false, false, "leave it out for the run's steps"},
    {"schedule.final_ratio", 0, 1, false, false, "give final rate / peak rate, as in 0.1"},
    {"schedule.decay_fraction", 0, 1, true, false, "give a part of decay_steps, as in 0.2"},
    {"train.steps", 1, kSteps, false, false, "give the optimizer steps of the run, as in 1000"},
    {"train.tokens", 1, kTokens, false, false, "give the tokens of the run, as in 1000000"},
    {"train.epochs", 0, 1e6, true, false, "give the passes over the data, as in 1.5"},
    {"train.global_batch", 1, 1 << 24, false, false, "give the sequences of a step, as in 12"},
    {"train.micro_batch", 1, 1 << 24, false, false, "leave it out for global_batch / ranks"},
    {"train.batch_tokens", 1, 1 << 24, false, false,
     "give the padded tokens of a step, as in 4096"},
    {"train.micro_tokens", 0, 1 << 24, false, false, "give padded tokens, as in 1024, or 0"},
    {"train.eval_every", 0, kSteps, false, false, "give steps, or 0 for the end alone"},
    {"train.eval_batches", 0, kSteps, false, false, "give micro-batches, or 0 for the whole split"},
    {"train.label_smoothing", 0, 1, false, true, "give a share, as in 0.1"},
    {"train.seed", 0, 18446744073709551615.0, false, false, "give any whole number"},
    {"train.bad_step.budget", 0, kSteps, false, false, "give a number of steps, as in 10"},
    {"train.bad_step.spike_z", 0, 1e6, false, false, "give deviations, as in 8, or 0 for none"},
    {"train.bad_step.window", 8, 1 << 16, false, false, "give steps, as in 128"},
    {"parallel.bucket_mib", 0, 1 << 20, true, false, "give MiB of gradients, as in 25"},
    {"parallel.tensor", 1, 65536, false, false,
     "give the ranks that share a copy of the model, as in 2"},
    {"parallel.zero", 0, 1, false, false, "give the stage of ZeRO, 0 or 1"},
    {"parallel.timeout_s", 1, 604800, false, false, "give seconds, at most a week, as in 600"},
    {"checkpoint.every", 0, kSteps, false, false, "give steps, or 0 for the end alone"},
    {"checkpoint.keep", 0, 1 << 20, false, false, "give a number of checkpoints, or 0 for all"},
    {"checkpoint.keep_every", 0, kSteps, false, false, "give steps, or 0 for none"},
    {"checkpoint.keep_best", 0, 1 << 20, false, false, "give a number of checkpoints, or 0"},
    {"log.every", 1, kSteps, false, false, "give steps, as in 10"},
    {"log.analyze_every", 0, kSteps, false, false, "give steps, as in 1000, or 0 for none"},
    {"watchdog.init_s", 0, kSeconds, false, false, kWatch},
    {"watchdog.step_s", 0, kSeconds, false, false, kWatch},
    {"watchdog.evaluation_s", 0, kSeconds, false, false, kWatch},
    {"watchdog.checkpoint_s", 0, kSeconds, false, false, kWatch},
    {"watchdog.replicas_every", 0, kSteps, false, false, "give steps, as in 1000, or 0 for never"},
}};

std::string interval(const Range& range, bool whole) {
  if (whole) return "from " + shown(range.low) + " to " + shown(range.high);
  return std::string("in ") + (range.low_open ? "(" : "[") + shown(range.low) + ", " +
         shown(range.high) + (range.high_open ? ")" : "]");
}

// A number as it stands in a message.
struct Number {
  std::string path, pattern;  // the second without indices
  double value;
  std::string text;
  bool whole;
};

void check_number(const Number& number, std::span<const Range> ranges) {
  const auto& [path, pattern, value, value_text, whole] = number;
  const auto range = std::find_if(ranges.begin(), ranges.end(),
                                  [&](const Range& r) { return r.path == number.pattern; });
  if (range == ranges.end()) throw ConfigError(path + ": has no range in its schema's table");
  // Written so that NaN, which is neither, is refused.
  const bool above = range->low_open ? value > range->low : value >= range->low;
  const bool below = range->high_open ? value < range->high : value <= range->high;
  if (above && below) return;
  throw ConfigError(path + ": " + value_text + " is not " + interval(*range, whole) + ": " +
                    std::string(range->remedy));
}

void check_string(const std::string& path, const std::string& value) {
  if (find_invalid_utf8(value) != std::string::npos) {
    throw ConfigError(path + ": '" + one_line(value) + "' is not UTF-8: write it as UTF-8");
  }
  if (find_control_character(value) == std::string::npos) return;
  throw ConfigError(path + ": '" + one_line(value) +
                    "' has a control character in it: write printable text on one line");
}

// `index` of a list, -1 for a single value.
void check_value(const Message& message, const FieldDescriptor* field, int index,
                 const std::string& path, const std::string& pattern,
                 std::span<const Range> ranges) {
  const auto& reflection = *message.GetReflection();
  const bool list = index >= 0;
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT64: {
      const int64_t value = list ? reflection.GetRepeatedInt64(message, field, index)
                                 : reflection.GetInt64(message, field);
      check_number({path, pattern, static_cast<double>(value), std::to_string(value), true},
                   ranges);
      break;
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      const uint64_t value = list ? reflection.GetRepeatedUInt64(message, field, index)
                                  : reflection.GetUInt64(message, field);
      check_number({path, pattern, static_cast<double>(value), std::to_string(value), true},
                   ranges);
      break;
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      const double value = list ? reflection.GetRepeatedDouble(message, field, index)
                                : reflection.GetDouble(message, field);
      check_number({path, pattern, value, shown(value), false}, ranges);
      break;
    }
    case FieldDescriptor::CPPTYPE_STRING:
      check_string(path, list ? reflection.GetRepeatedString(message, field, index)
                              : reflection.GetString(message, field));
      break;
    default:  // enums and flags have no wrong values once they are parsed
      break;
  }
}

void check_message(const Message& message, const std::string& path, const std::string& pattern,
                   std::span<const Range> ranges) {
  std::vector<const FieldDescriptor*> present;
  const auto& reflection = *message.GetReflection();
  reflection.ListFields(message, &present);
  for (const FieldDescriptor* field : present) {
    const std::string field_path = path + field->name();
    const std::string field_pattern = pattern + field->name();
    const int size = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < size; ++i) {
      const int index = field->is_repeated() ? i : -1;
      const std::string at = index < 0 ? field_path : field_path + "." + std::to_string(i);
      if (field->message_type() == nullptr) {
        check_value(message, field, index, at, field_pattern, ranges);
        continue;
      }
      const Message& inner = index < 0 ? reflection.GetMessage(message, field)
                                       : reflection.GetRepeatedMessage(message, field, i);
      check_message(inner, at + ".", field_pattern + ".", ranges);
    }
  }
}

}  // namespace

std::span<const Range> ranges() { return kRanges; }

void check_fields(const RunConfig& config) { check_fields(config, kRanges); }

void check_fields(const Message& message, std::span<const Range> ranges) {
  check_message(message, "", "", ranges);
}

}  // namespace dagpam::configs
