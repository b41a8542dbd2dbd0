// GGUF, as llama.cpp reads it: tensor names and shapes of its src/models/, Llama's query and key
// rows interleaved for ggml's rotary layout.
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <set>

#include "lathe/base/mapped_file.h"
#include "lathe/base/progress.h"
#include "lathe/export/convert.h"
#include "lathe/export/gguf_metadata.h"
#include "lathe/export/gguf_tokenizer.h"
#include "lathe/export/targets.h"
#include "lathe/export/unpacked.h"
#include "lathe/formats/gguf_types.h"
#include "lathe/io/gguf_writer.h"
#include "lathe/model/gguf_names.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

// One tensor of the file: a matrix, or several that are stored as one, their rows in this order.
struct Group {
  std::string tensor;
  std::vector<MatrixInfo> parts;
  FormatPtr format;
};
struct VectorGroup {
  std::string tensor;
  std::vector<VectorInfo> parts;
  std::vector<float> values;  // of what is not in the source: rope factors
};

// "model.layers.3.mlp.up_proj" → "blk.3." and "mlp.up_proj".
std::pair<std::string, std::string> split(const std::string& name) {
  static const std::string kLayers = "model.layers.";
  if (!name.starts_with(kLayers)) return {"", name};
  const size_t dot = name.find('.', kLayers.size());
  return {"blk." + name.substr(kLayers.size(), dot - kLayers.size()) + ".", name.substr(dot + 1)};
}

class GgufExport {
 public:
  GgufExport(const Checkpoint& source, const ExportOptions& options, ThreadPool& pool)
      : source_(source), options_(options), pool_(pool) {}

  Result<ExportReport> run(const std::string& out) {
    fs::path path = fs::absolute(source_.path()).lexically_normal();
    if (!path.has_filename()) path = path.parent_path();
    LATHE_TRY(description_, describe_for_gguf(source_.config(), path.stem().string()));
    report_.notes = description_.notes;
    LATHE_TRY(const bool tokenizer, set_gguf_tokenizer(source_, description_.metadata));
    if (!tokenizer) {
      description_.metadata.set("tokenizer.ggml.model", "none");
      report_.notes.emplace_back("the source has no tokenizer, so the file has none");
    }
    LATHE_OK(collect());
    // Under another name until the configuration has been read back. The name must end in .gguf.
    const std::string temporary = fmt::format("{}.tmp-{}.gguf", out, ::getpid());
    Status status = write(temporary);
    if (status.ok()) status = check(temporary);
    std::error_code error;
    if (status.ok()) {
      fs::rename(temporary, out, error);
      if (error) status = failed("{}: cannot create: {}", out, error.message());
    }
    if (!status.ok()) {
      fs::remove(temporary, error);
      return std::move(status).error();
    }
    report_.bytes = static_cast<int64_t>(fs::file_size(out, error));
    return std::move(report_);
  }

 private:
  bool fused(const std::string& rest) const {
    const std::string& architecture = description_.architecture;
    const bool attention = rest.starts_with("self_attn");
    return attention ? architecture == "gpt2" || architecture == "phi3" : architecture == "phi3";
  }

  std::string tensor_of(const std::string& canonical) const {
    const bool bias = canonical.ends_with(".bias");
    const auto [block, rest] = split(bias ? canonical.substr(0, canonical.size() - 5) : canonical);
    const char* suffix = bias ? ".bias" : ".weight";
    if (rest == "model.embed_tokens") return std::string("token_embd") + suffix;
    if (rest == "model.embed_positions") return std::string("position_embd") + suffix;
    if (rest == "model.norm") return std::string("output_norm") + suffix;
    if (rest == "lm_head") return std::string("output") + suffix;
    for (const GgufName& name : kGgufBlockNames) {
      if (rest != name.canonical) continue;
      return block + (name.fused && fused(rest) ? name.fused : name.source) + suffix;
    }
    LATHE_CHECK(false);
    return {};
  }

  Status collect() {
    for (const MatrixInfo& info : matrices_of(source_.config())) {
      const std::string tensor = tensor_of(info.name);
      if (groups_.empty() || groups_.back().tensor != tensor) groups_.push_back({tensor, {}, {}});
      groups_.back().parts.push_back(info);
    }
    Progress progress("looking at the weights", static_cast<int64_t>(groups_.size()), "tensors");
    for (Group& group : groups_) {
      LATHE_TRY(group.format, format_for(group));
      progress.advance();
    }
    for (const VectorInfo& info : vectors_of(source_.config())) {
      if (info.optional && !source_.has(info.name)) continue;
      const std::string tensor = tensor_of(info.name);
      if (vectors_.empty() || vectors_.back().tensor != tensor)
        vectors_.push_back({tensor, {}, {}});
      vectors_.back().parts.push_back(info);
    }
    const RopeConfig& rope = description_.expected.rope;
    if (rope.scaling == RopeScaling::kFactors) {
      vectors_.push_back({"rope_freqs.weight", {}, rope.short_factor});
    }
    if (rope.scaling == RopeScaling::kLongRope) {
      vectors_.push_back({"rope_factors_long.weight", {}, rope.long_factor});
      vectors_.push_back({"rope_factors_short.weight", {}, rope.short_factor});
    }
    return {};
  }

  Result<FormatPtr> format_for(const Group& group) const {
    // llama.cpp adds this table to the embeddings, which it has in f32.
    if (group.parts[0].name == "model.embed_positions") return parse_format("f32");
    std::set<std::string> stored;
    bool q4_0 = true, ggml = true, floats = true;
    FormatPtr first;
    for (const MatrixInfo& part : group.parts) {
      LATHE_TRY(const WeightMatrix matrix, source_.matrix(part.name, part.rows, part.cols));
      for (const Bytes& bytes : matrix.parts()) release_pages(bytes);
      if (!first) first = matrix.format_ptr();
      stored.insert(matrix.format().spec());
      q4_0 = q4_0 && is_q4_0(matrix);
      ggml = ggml && ggml_type_of(matrix.format()).ok();
      floats = floats && matrix.format().encoding() == Encoding::kFloat;
    }
    const std::string& wanted =
        group.parts[0].layer >= 0 ? options_.format : options_.embedding_format;
    const bool anew = !wanted.empty() && (floats || !ggml);
    if (stored.size() == 1 && ggml && !anew) return first;
    if (q4_0 && !anew) return parse_format("q4_0");
    LATHE_TRY(FormatPtr format, parse_format(wanted.empty() ? "f16" : wanted));
    if (!ggml_type_of(*format).ok()) {
      return ggml_type_of(*format).error();
    }
    if (!format->supports(group.parts[0].rows, group.parts[0].cols).ok()) {
      return parse_format("f16");  // rows that are no whole blocks
    }
    return format;
  }

  Status write(const std::string& path) {
    std::vector<GgufWriter::Declared> declared;
    for (const VectorGroup& group : vectors_) {
      int64_t size = static_cast<int64_t>(group.values.size());
      for (const VectorInfo& part : group.parts) size += part.size;
      declared.push_back({group.tensor, static_cast<uint32_t>(GgmlType::kF32), {size}});
    }
    bool quantized = false;
    for (const Group& group : groups_) {
      int64_t rows = 0;
      for (const MatrixInfo& part : group.parts) rows += part.rows;
      declared.push_back(
          {group.tensor, ggml_type_of(*group.format).value(), {rows, group.parts[0].cols}});
      quantized = quantized || group.format->encoding() == Encoding::kGguf;
    }
    if (quantized) description_.metadata.set("general.quantization_version", uint32_t{2});
    LATHE_TRY(GgufWriter writer, GgufWriter::create(path, description_.metadata, declared));
    for (const VectorGroup& group : vectors_) LATHE_OK(write_vector(group, writer));
    Progress progress("exporting", static_cast<int64_t>(groups_.size()), "tensors");
    for (const Group& group : groups_) {
      LATHE_OK(write_matrix(group, writer));
      progress.advance();
    }
    return writer.finish();
  }

  // Number of heads whose rows are interleaved; 0 for none.
  int64_t permuted_heads(const std::string& name) const {
    if (description_.architecture != "llama") return 0;
    if (name.find(".q_proj") != std::string::npos) return source_.config().heads;
    if (name.find(".k_proj") != std::string::npos) return source_.config().kv_heads;
    return 0;
  }

  // Row h·D + j·D/2 + i of the half-rotation layout becomes row h·D + 2i + j.
  static void permute(const uint8_t* from, int64_t rows, int64_t heads, size_t row_bytes,
                      uint8_t* out) {
    const int64_t size = rows / heads, half = size / 2;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t head = r / size, j = r % size / half, i = r % half;
      std::memcpy(out + static_cast<size_t>(head * size + 2 * i + j) * row_bytes,
                  from + static_cast<size_t>(r) * row_bytes, row_bytes);
    }
  }

  Status write_vector(const VectorGroup& group, GgufWriter& writer) const {
    std::vector<float> all = group.values;
    for (const VectorInfo& part : group.parts) {
      LATHE_TRY(const std::vector<float> values, source_.vector(part.name, part.size));
      const size_t at = all.size();
      all.resize(at + values.size());
      const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
      if (const int64_t heads = permuted_heads(part.name)) {
        permute(bytes, part.size, heads, sizeof(float), reinterpret_cast<uint8_t*>(&all[at]));
      } else {
        std::memcpy(&all[at], bytes, values.size() * sizeof(float));
      }
    }
    return writer.append(
        {reinterpret_cast<const uint8_t*>(all.data()), all.size() * sizeof(float)});
  }

  Status write_matrix(const Group& group, GgufWriter& writer) {
    int64_t rows = 0;
    for (const MatrixInfo& part : group.parts) rows += part.rows;
    const int64_t cols = group.parts[0].cols;
    std::vector<uint8_t> all(static_cast<size_t>(group.format->bytes(rows, cols)));
    const auto row_bytes = static_cast<size_t>(group.format->bytes(1, cols));
    size_t at = 0;
    for (const MatrixInfo& part : group.parts) {
      LATHE_TRY(const WeightMatrix matrix, source_.matrix(part.name, part.rows, part.cols));
      LATHE_TRY(const Converted converted, convert(matrix, group.format, part.name, pool_));
      const Bytes& bytes = converted.matrix.parts()[0];
      if (const int64_t heads = permuted_heads(part.name)) {
        permute(bytes.data(), part.rows, heads, row_bytes, &all[at]);
      } else {
        std::memcpy(&all[at], bytes.data(), bytes.size());
      }
      at += bytes.size();
      report_.add(part.name, matrix.format().spec(), group.format->spec(), part.rows * part.cols,
                  static_cast<int64_t>(bytes.size()), converted.exact, converted.largest_change);
      for (const Bytes& source : matrix.parts()) release_pages(source);
    }
    return writer.append(all);
  }

  Status check(const std::string& path) const {
    LATHE_TRY(const auto written, open_checkpoint(path));
    return check_description(description_.expected, written->config());
  }

  const Checkpoint& source_;
  const ExportOptions& options_;
  ThreadPool& pool_;
  GgufDescription description_;
  std::vector<Group> groups_;
  std::vector<VectorGroup> vectors_;
  ExportReport report_;
};

Result<ExportReport> write_gguf(const Checkpoint& source, const std::string& out,
                                const ExportOptions& options, ThreadPool& pool) {
  if (!out.ends_with(".gguf")) {
    return bad_input("{}: a GGUF file's name ends in .gguf", out);
  }
  return export_unpacked(
      source, [&](const Checkpoint& model) { return GgufExport(model, options, pool).run(out); });
}

}  // namespace

ExportTarget gguf_target() {
  return {"gguf", "one file for llama.cpp, tokenizer and chat template inside", write_gguf};
}

}  // namespace lathe
