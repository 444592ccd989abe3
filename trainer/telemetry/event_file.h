// trainer/telemetry/event_file.h: TensorBoard's event files, as bytes. Torch-free.
//
// A file is a sequence of records in TFRecord framing (tensorflow/core/lib/io/record_writer.h): u64
// length, u32 masked CRC32C of these 8 bytes, the bytes of an Event, u32 masked CRC32C of them;
// little-endian. Its first event says "brain.Event:2".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dagpam::trainer {

uint32_t crc32c(std::string_view bytes);  // Castagnoli's, as RFC 3720 B.4 has it
std::string tf_record(std::string_view bytes);

using Scalars = std::vector<std::pair<std::string, double>>;  // tag, value

// What a file begins with. TensorBoard forgets what earlier files of the folder tell of steps from
// `step` on.
std::string event_file_head(double wall_time, int64_t step);
std::string scalar_event(double wall_time, int64_t step, const Scalars& scalars);
// Shown as it is, in a fixed-width font.
std::string text_event(double wall_time, int64_t step, const std::string& tag,
                       const std::string& text);

// A name that sorts after those of all event files in `folder`, as TensorBoard reads them, even
// where an earlier start was in the same second or had a clock that ran ahead:
// events.out.tfevents.SECONDS.HOST.PID.0
std::string next_event_file(const std::string& folder, int64_t seconds);

}  // namespace dagpam::trainer
