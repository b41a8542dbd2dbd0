// ONNX for onnxruntime: model.onnx with its weights in model.onnx.data, quantized linear layers as
// MatMulNBits; beside them config.json, the tokenizer, and onnxruntime-genai's genai_config.json.
#include "lathe/base/mapped_file.h"
#include "lathe/base/progress.h"
#include "lathe/export/convert.h"
#include "lathe/export/gguf_metadata.h"
#include "lathe/export/model_directory.h"
#include "lathe/export/onnx_graph.h"
#include "lathe/export/targets.h"
#include "lathe/export/unpacked.h"
#include "lathe/io/atomic_file.h"

namespace lathe {
namespace {

constexpr int64_t kOpset = 21;
constexpr const char* kFormats =
    "f32, f16, bf16, int8, int4, int3 and int2 but with ',offset', q4_0, q5_0, q8_0 and q6_k";

class OnnxExport {
 public:
  OnnxExport(const Checkpoint& source, const ExportOptions& options, ThreadPool& pool)
      : source_(source), options_(options), pool_(pool) {}

  Result<ExportReport> run(const std::string& out) {
    LATHE_OK(check_onnx(source_.config()));
    LATHE_TRY(family_, family_of(source_));
    LATHE_OK(check_formats());
    LATHE_TRY(report_.bytes, write_directory(out, [&](const std::string& temporary) -> Status {
                LATHE_OK(write(temporary));
                LATHE_TRY(const auto written, open_checkpoint(temporary));
                return check_description(source_.config(), written->config());
              }));
    return std::move(report_);
  }

 private:
  // Before any weight is read.
  Status check_formats() const {
    for (const std::string& wanted : {options_.format, options_.embedding_format}) {
      if (wanted.empty()) continue;
      LATHE_TRY(const FormatPtr format, parse_format(wanted));
      if (holds(*format, true, 0)) continue;
      return bad_input("an ONNX graph for onnxruntime has no linear layers in {}", format->spec())
          .with_hint(std::string("there are ") + kFormats);
    }
    return {};
  }

  static bool holds(const Format& format, bool linear, int64_t cols) {
    if (format.encoding() == Encoding::kFloat) return true;
    return linear ? nbits_holds(format) : onnx_table_holds(format, cols);
  }

  Result<FormatPtr> format_for(const MatrixInfo& info, const WeightMatrix& matrix) const {
    if (info.name == "model.embed_positions") return parse_format("f32");
    const bool linear = info.linear;
    const std::string& wanted = info.layer >= 0 ? options_.format : options_.embedding_format;
    const bool floats = matrix.format().encoding() == Encoding::kFloat;
    const bool held = holds(matrix.format(), linear, info.cols);
    if (held && (wanted.empty() || !floats)) return matrix.format_ptr();
    LATHE_TRY(FormatPtr format, parse_format(wanted.empty() ? "f16" : wanted));
    if (holds(*format, linear, info.cols)) return format;
    return bad_input("'{}' cannot be looked up in format {}", info.name, format->spec())
        .with_hint(
            "an embedding table has int4 or int8 in groups that divide its columns, or floats: "
            "--embedding-format f16");
  }

  Result<WeightMatrix> load(const MatrixInfo& info) {
    LATHE_TRY(const WeightMatrix matrix, source_.matrix(info.name, info.rows, info.cols));
    LATHE_TRY(const FormatPtr format, format_for(info, matrix));
    LATHE_TRY(const Converted converted, convert(matrix, format, info.name, pool_));
    report_.add(info.name, matrix.format().spec(), format->spec(), info.rows * info.cols,
                converted.matrix.bytes(), converted.exact, converted.largest_change);
    for (const Bytes& bytes : matrix.parts()) release_pages(bytes);
    return converted.matrix;
  }

  Status write(const std::string& directory) {
    LATHE_TRY(OnnxWriter writer, OnnxWriter::create(directory + "/model.onnx", kOpset));
    Progress progress("exporting", static_cast<int64_t>(matrices_of(source_.config()).size()),
                      "tensors");
    const OnnxWeights weights = {
        [&](const MatrixInfo& info) {
          progress.advance();
          return load(info);
        },
        [&](const VectorInfo& info) -> Result<std::optional<std::vector<float>>> {
          if (info.optional && !source_.has(info.name)) return std::optional<std::vector<float>>();
          LATHE_TRY(std::vector<float> values, source_.vector(info.name, info.size));
          return std::optional(std::move(values));
        }};
    LATHE_OK(write_onnx_graph(source_.config(), weights, writer));
    LATHE_OK(writer.finish());
    const RopeConfig& rope = source_.config().rope;
    if (rope.scaling == RopeScaling::kLongRope) {
      report_.notes.push_back(fmt::format(
          "LongRoPE: as in transformers, the rotation changes when more than {} positions are "
          "reached, and keys in the cache keep the one that they were made with",
          rope.original_context));
    }
    LATHE_TRY(const nlohmann::json config, plain_hf_config(source_, *family_));
    LATHE_OK(write_atomically(directory + "/config.json", config.dump(2) + "\n"));
    LATHE_OK(write_atomically(directory + "/genai_config.json", genai_config().dump(2) + "\n"));
    return copy_tokenizer(source_, directory, report_);
  }

  // What onnxruntime-genai wants to know.
  nlohmann::json genai_config() const {
    const ModelConfig& c = source_.config();
    const std::string& name = family_->name;
    nlohmann::json decoder = {{"session_options", {{"provider_options", nlohmann::json::array()}}},
                              {"filename", "model.onnx"},
                              {"head_size", c.head_size},
                              {"hidden_size", c.hidden},
                              {"num_attention_heads", c.heads},
                              {"num_hidden_layers", c.layers},
                              {"num_key_value_heads", c.kv_heads},
                              {"inputs",
                               {{"input_ids", "input_ids"},
                                {"attention_mask", "attention_mask"},
                                {"position_ids", "position_ids"},
                                {"past_key_names", "past_key_values.%d.key"},
                                {"past_value_names", "past_key_values.%d.value"}}},
                              {"outputs",
                               {{"logits", "logits"},
                                {"present_key_names", "present.%d.key"},
                                {"present_value_names", "present.%d.value"}}}};
    nlohmann::json model = {{"type", name == "gemma3" ? "gemma3_text" : name},
                            {"context_length", c.max_positions},
                            {"vocab_size", c.vocab},
                            {"decoder", std::move(decoder)}};
    if (c.bos >= 0) model["bos_token_id"] = c.bos;
    if (!c.eos.empty()) model["eos_token_id"] = c.eos;
    if (!c.eos.empty()) model["pad_token_id"] = c.eos[0];
    return {{"model", std::move(model)},
            {"search",
             {{"do_sample", false},
              {"max_length", c.max_positions},
              {"past_present_share_buffer", false}}}};
  }

  const Checkpoint& source_;
  const ExportOptions& options_;
  ThreadPool& pool_;
  const Family* family_ = nullptr;
  ExportReport report_;
};

Result<ExportReport> write_onnx(const Checkpoint& source, const std::string& out,
                                const ExportOptions& options, ThreadPool& pool) {
  return export_unpacked(
      source, [&](const Checkpoint& model) { return OnnxExport(model, options, pool).run(out); });
}

}  // namespace

ExportTarget onnx_target() {
  return {"onnx", "a directory with model.onnx for onnxruntime, int4 and int8 as MatMulNBits",
          write_onnx};
}

}  // namespace lathe
