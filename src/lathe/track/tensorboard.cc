#include "lathe/track/tensorboard.h"

#include <array>
#include <bit>
#include <cstring>
#include <filesystem>

#include "lathe/io/atomic_file.h"
#include "lathe/track/kinds.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
    table[i] = crc;
  }
  return table;
}();

template <typename T>
std::string little_endian(T value) {
  std::string out(sizeof(T), '\0');
  for (size_t i = 0; i < sizeof(T); ++i) out[i] = static_cast<char>(value >> (8 * i));
  return out;
}

uint32_t masked(uint32_t crc) { return (crc >> 15 | crc << 17) + 0xA282EAD8u; }

// Protocol buffer wire format: key = field number << 3 | wire type.
std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
std::string field_bytes(int field, const std::string& bytes) {
  return varint(static_cast<uint64_t>(field) << 3 | 2) + varint(bytes.size()) + bytes;
}
std::string field_varint(int field, int64_t value) {
  return varint(static_cast<uint64_t>(field) << 3) + varint(static_cast<uint64_t>(value));
}
std::string field_double(int field, double value) {
  return varint(static_cast<uint64_t>(field) << 3 | 1) +
         little_endian(std::bit_cast<uint64_t>(value));
}
std::string field_float(int field, float value) {
  return varint(static_cast<uint64_t>(field) << 3 | 5) +
         little_endian(std::bit_cast<uint32_t>(value));
}

// Event{wall_time = 1, step = 2, summary = 5}, Summary{value = 1}, Value{tag = 1, …}
std::string event(double seconds, int64_t step, const std::string& value) {
  return tfrecord(field_double(1, seconds) + field_varint(2, step) +
                  field_bytes(5, field_bytes(1, value)));
}

std::string escape_cell(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

class TensorBoard : public Tracker {
 public:
  explicit TensorBoard(std::string folder) : folder_(std::move(folder)) {}

  Status begin(const SweepRecord&) override { return {}; }
  Status log(const SweepRecord& sweep, const RunRecord& run) override {
    // One file a run, always of the same name: a run that is written again replaces it.
    const fs::path folder = fs::path(folder_) / sweep.name / run.name;
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) return failed("{}: {}", folder.string(), error.message());
    return write_atomically((folder / "events.out.tfevents.0000000000.lathe").string(),
                            event_file(run));
  }
  Status end(const SweepRecord&, bool) override { return {}; }

 private:
  std::string folder_;
};

Result<std::unique_ptr<Tracker>> open(const std::string& target) {
  if (target.empty()) return bad_input("the folder's name is empty");
  return std::unique_ptr<Tracker>(std::make_unique<TensorBoard>(target));
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = crc >> 8 ^ kCrcTable[(crc ^ static_cast<uint8_t>(c)) & 255];
  return ~crc;
}

std::string tfrecord(std::string_view data) {
  const std::string length = little_endian(uint64_t{data.size()});
  return length + little_endian(masked(crc32c(length))) + std::string(data) +
         little_endian(masked(crc32c(data)));
}

std::string event_file(const RunRecord& run) {
  const double seconds = static_cast<double>(run.ended_ms) / 1000;
  // Event.file_version = 3
  std::string out = tfrecord(field_double(1, seconds) + field_bytes(3, "brain.Event:2"));
  std::string table = "| parameter | value |\n|---|---|\n";
  for (const auto* list : {&run.params, &run.tags}) {
    for (const auto& [name, value] : *list) {
      table += "| " + escape_cell(name) + " | " + escape_cell(value) + " |\n";
    }
  }
  // Value.metadata = 9: SummaryMetadata{plugin_data = 1 {plugin_name = 1}};
  // Value.tensor = 8: TensorProto{dtype = 1 (7: string), tensor_shape = 2 (empty: a scalar),
  // string_val = 8}.
  out += event(seconds, 0,
               field_bytes(1, "settings") + field_bytes(9, field_bytes(1, field_bytes(1, "text"))) +
                   field_bytes(8, field_varint(1, 7) + field_bytes(2, "") + field_bytes(8, table)));
  for (const TrackedMetric& m : run.metrics) {
    // Value.simple_value = 2
    out +=
        event(seconds, m.step, field_bytes(1, m.key) + field_float(2, static_cast<float>(m.value)));
  }
  return out;
}

TrackerKind tensorboard_kind() {
  return {"tensorboard", "FOLDER", "event files for TensorBoard", open};
}

}  // namespace lathe
