#include "lathe/cli/command.h"
#include "lathe/profile/environment.h"
#include "lathe/report/table.h"

namespace lathe::cli {
namespace {

struct Sizes {
  int64_t parameters = 0, linear_parameters = 0, stored_bytes = 0, linear_bytes = 0;
  std::map<std::string, int64_t> bytes_by_format;
  struct Stored {
    MatrixInfo info;
    std::string format;
    int64_t bytes;
  };
  std::vector<Stored> matrices;
};

Result<Sizes> sizes_of(const Checkpoint& checkpoint) {
  Sizes s;
  for (const MatrixInfo& info : matrices_of(checkpoint.config())) {
    LATHE_TRY(const WeightMatrix matrix, checkpoint.matrix(info.name, info.rows, info.cols));
    s.parameters += info.rows * info.cols;
    s.stored_bytes += matrix.bytes();
    s.bytes_by_format[matrix.format().spec()] += matrix.bytes();
    s.matrices.push_back({info, matrix.format().spec(), matrix.bytes()});
    if (info.layer < 0) continue;
    s.linear_parameters += info.rows * info.cols;
    s.linear_bytes += matrix.bytes();
  }
  for (const VectorInfo& info : vectors_of(checkpoint.config())) {
    if (info.optional && !checkpoint.has(info.name)) continue;
    s.parameters += info.size;
    s.stored_bytes += 4 * info.size;
  }
  return s;
}

// Bytes of the model with its linear layers in `format`; nullopt where the format does not fit a
// matrix.
std::optional<int64_t> bytes_in(const ModelConfig& config, const Sizes& sizes,
                                const Format& format) {
  int64_t bytes = sizes.stored_bytes - sizes.linear_bytes;
  for (const MatrixInfo& info : matrices_of(config)) {
    if (info.layer < 0) continue;
    if (!format.supports(info.rows, info.cols).ok()) return std::nullopt;
    bytes += format.bytes(info.rows, info.cols);
  }
  return bytes;
}

Measurement row(const std::string& format, const char* metric, int64_t value, const char* unit) {
  Measurement m;
  m.format = format;
  m.task = "size";
  m.metric = metric;
  m.value = static_cast<double>(value);
  m.unit = unit;
  m.better = "lower";
  m.n = 1;
  return m;
}

void print(const Checkpoint& checkpoint, const Sizes& sizes, const std::vector<Measurement>& rows) {
  const ModelConfig& c = checkpoint.config();
  fmt::print("{}\n", checkpoint.path());
  fmt::print("  family          {}{}\n", c.family, c.encoder ? ", an encoder of texts" : "");
  fmt::print("  parameters      {} ({} in the linear layers of the blocks)\n", sizes.parameters,
             sizes.linear_parameters);
  fmt::print(
      "  shape           {} layers, hidden {}, feed-forward {}, {} heads of {}, {} key/value "
      "heads\n",
      c.layers, c.hidden, c.ffn, c.heads, c.head_size, c.kv_heads);
  fmt::print("  vocabulary      {}{}\n", c.vocab, c.tied ? ", head tied to the embedding" : "");
  fmt::print("  positions       {}{}\n", c.max_positions,
             c.window > 0 ? fmt::format(", sliding window {}", c.window) : "");
  fmt::print("  key/value cache {} a token\n",
             human(static_cast<double>(KvCache::bytes_for(c.kv_shape(), 1)), "bytes"));
  fmt::print("  stored as      ");
  for (const auto& [format, bytes] : sizes.bytes_by_format) {
    fmt::print(" {} {};", format, human(static_cast<double>(bytes), "bytes"));
  }
  fmt::print("\n\n  linear layers in     weights\n");
  for (const Measurement& m : rows) {
    if (m.metric == "weights_bytes")
      fmt::print("  {:<18} {:>10}\n", m.format, human(m.value, "bytes"));
  }
}

void print_matrices(const Sizes& sizes) {
  fmt::print("\n  matrix\n");
  for (const auto& [info, format, bytes] : sizes.matrices) {
    fmt::print("  {:<44} {:<14} {:>6} × {:<6} {:>9}\n", info.name, format, info.rows, info.cols,
               human(static_cast<double>(bytes), "bytes"));
  }
}

nlohmann::json json_of(const Sizes& sizes) {
  nlohmann::json out = nlohmann::json::array();
  for (const auto& [info, format, bytes] : sizes.matrices) {
    out.push_back({{"name", info.name},
                   {"format", format},
                   {"rows", info.rows},
                   {"cols", info.cols},
                   {"bytes", bytes}});
  }
  return out;
}

struct Options {
  std::string model;
  bool matrices = false;
};

Result<int> inspect(const Options& options, const Common& common) {
  LATHE_TRY(const std::string path, resolve_model(options.model));
  LATHE_TRY(const auto checkpoint, open_checkpoint(path, ModelKind::kAny));
  LATHE_TRY(const Sizes sizes, sizes_of(*checkpoint));
  std::vector<Measurement> rows = {row("stored", "weights_bytes", sizes.stored_bytes, "bytes")};
  for (const std::string& spec : example_formats()) {
    const auto bytes = bytes_in(checkpoint->config(), sizes, *parse_format(spec).value());
    if (bytes) rows.push_back(row(spec, "weights_bytes", *bytes, "bytes"));
  }
  rows.push_back(row("f32", "kv_bytes", KvCache::bytes_for(checkpoint->config().kv_shape(), 1),
                     "bytes/token"));
  if (!common.json) {
    print(*checkpoint, sizes, rows);
    if (options.matrices) print_matrices(sizes);
    return kDone;
  }
  LATHE_TRY(auto described, describe_model(*checkpoint, sizes.parameters));
  described["config"] = to_json(checkpoint->config());
  described["matrices"] = json_of(sizes);
  print_json(json_result("inspect", described, nullptr, rows));
  return kDone;
}

}  // namespace

Body add_inspect(CLI::App& app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->model, "MODEL")->required();
  app.add_flag("--matrices", options->matrices, "Print the format and size of each matrix");
  return [options, &common] { return inspect(*options, common); };
}

}  // namespace lathe::cli
