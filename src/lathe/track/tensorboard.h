// TensorBoard's event files: TFRecords (length, masked CRC-32C, bytes, masked CRC-32C) of the
// protocol buffers Event and Summary (tensorflow/core/util/event.proto, framework/summary.proto),
// written by hand since three messages do not need a library.
#pragma once

#include <string>
#include <string_view>

#include "lathe/track/record.h"

namespace lathe {

// CRC-32C (Castagnoli), polynomial 0x1EDC6F41 reflected.
uint32_t crc32c(std::string_view bytes);
std::string tfrecord(std::string_view data);
// The whole file for one run: its metrics as scalars, its parameters as a text summary.
std::string event_file(const RunRecord& run);

}  // namespace lathe
