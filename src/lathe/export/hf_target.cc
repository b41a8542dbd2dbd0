// A Hugging Face directory: plain floats, or linear layers as another tool's quantized ones.
#include <algorithm>
#include <cstring>
#include <functional>

#include "lathe/base/mapped_file.h"
#include "lathe/base/progress.h"
#include "lathe/export/convert.h"
#include "lathe/export/gguf_metadata.h"
#include "lathe/export/hf_schemes.h"
#include "lathe/export/model_directory.h"
#include "lathe/export/targets.h"
#include "lathe/export/unpacked.h"
#include "lathe/io/atomic_file.h"
#include "lathe/io/safetensors.h"
#include "lathe/model/hf_names.h"

namespace lathe {
namespace {

// One module of the file: a matrix, or several that are stored as one, their rows in this order.
struct Module {
  std::string name;
  std::vector<MatrixInfo> parts;
  bool transposed = false;
  bool quantized = false;
  FormatPtr format;  // what is stored
  int64_t rows() const {
    int64_t rows = 0;
    for (const MatrixInfo& part : parts) rows += part.rows;
    return rows;
  }
};

DType dtype_of(const Format& format) {
  return format.spec() == "f32" ? DType::kF32 : format.spec() == "f16" ? DType::kF16 : DType::kBF16;
}
const char* torch_name(const Format& format) {
  return format.spec() == "f32" ? "float32" : format.spec() == "f16" ? "float16" : "bfloat16";
}

class HfExport {
 public:
  HfExport(const Checkpoint& source, const HfScheme* scheme, const ExportOptions& options,
           ThreadPool& pool)
      : source_(source), scheme_(scheme), options_(options), pool_(pool) {}

  Result<ExportReport> run(const std::string& out) {
    LATHE_TRY(family_, family_of(source_));
    LATHE_OK(collect());
    LATHE_TRY(report_.bytes, write_directory(out, [&](const std::string& temporary) -> Status {
                LATHE_OK(write(temporary));
                return check(temporary);
              }));
    return std::move(report_);
  }

 private:
  HfName name_of(const std::string& canonical) const {
    const LayerPattern pattern = split_layer(canonical);
    HfName name{pattern.text, pattern.text};
    for (const HfName& entry : family_->names) {
      if (entry.canonical == pattern.text) {
        name = entry;
        break;
      }
    }
    const bool head = canonical == "lm_head";  // stands outside of the model that has the prefix
    name.source = (head ? "" : family_->prefixes[0]) + with_layer(name.source, pattern.layer);
    return name;
  }

  Status collect() {
    for (const MatrixInfo& info : matrices_of(source_.config())) {
      const HfName name = name_of(info.name);
      if (modules_.empty() || modules_.back().name != name.source) {
        modules_.push_back({name.source, {}, name.transposed});
      }
      modules_.back().parts.push_back(info);
    }
    Progress progress("looking at the weights", static_cast<int64_t>(modules_.size()), "tensors");
    for (Module& module : modules_) {
      LATHE_OK(choose_format(module));
      progress.advance();
    }
    return {};
  }

  Status choose_format(Module& module) {
    const MatrixInfo& info = module.parts[0];
    LATHE_TRY(const WeightMatrix matrix, source_.matrix(info.name, info.rows, info.cols));
    for (const Bytes& bytes : matrix.parts()) release_pages(bytes);
    const bool floats = matrix.format().encoding() == Encoding::kFloat;
    if (scheme_ && info.layer >= 0 && info.linear) return choose_quantized(module, matrix);
    std::string wanted = info.layer >= 0 && !scheme_ ? options_.format : options_.embedding_format;
    if (wanted.empty() && !scheme_) wanted = options_.format;
    if (wanted.empty()) {
      module.format = floats ? matrix.format_ptr() : parse_format("f16").value();
      return {};
    }
    LATHE_TRY(module.format, parse_format(wanted));
    if (module.format->encoding() == Encoding::kFloat) return {};
    return bad_input("'{}' is no float format", wanted)
        .with_hint("quantized directories: --to bitsandbytes, gptq, awq or compressed-tensors");
  }

  // All quantized layers have one format, as the configuration has room for one.
  Status choose_quantized(Module& module, const WeightMatrix& matrix) {
    if (module.transposed) {
      return unsupported("{}: '{}' is stored transposed, which {} checkpoints cannot be",
                         source_.path(), module.name, scheme_->name);
    }
    const bool fits = scheme_->holds(matrix.format());
    FormatPtr format = matrix.format_ptr();
    if (!fits || !options_.format.empty()) {
      if (options_.format.empty()) {
        return bad_input("'{}' is in format {}, {} checkpoints have {}", module.parts[0].name,
                         format->spec(), scheme_->name, scheme_->formats)
            .with_hint("say which with --format, or compress the model first");
      }
      LATHE_TRY(format, parse_format(options_.format));
      if (!scheme_->holds(*format)) {
        return bad_input("{} checkpoints have {}, not {}", scheme_->name, scheme_->formats,
                         format->spec());
      }
    }
    if (quantized_ && quantized_->spec() != format->spec()) {
      return bad_input("'{}' is in format {}, other layers in {}; {} checkpoints have one",
                       module.parts[0].name, format->spec(), quantized_->spec(), scheme_->name)
          .with_hint("say which with --format");
    }
    quantized_ = module.format = format;
    module.quantized = true;
    return {};
  }

  // The matrix of a module in the format that is stored.
  Result<WeightMatrix> load(const Module& module) {
    std::vector<std::vector<uint8_t>> joined(
        module.format->parts(module.rows(), module.parts[0].cols).size());
    const bool one = module.parts.size() == 1;
    std::vector<float> all;
    for (const MatrixInfo& part : module.parts) {
      LATHE_TRY(const WeightMatrix matrix, source_.matrix(part.name, part.rows, part.cols));
      LATHE_TRY(const Converted converted, convert(matrix, module.format, part.name, pool_));
      report_.add(part.name, matrix.format().spec(), module.format->spec(), part.rows * part.cols,
                  converted.matrix.bytes(), converted.exact, converted.largest_change);
      if (one) return converted.matrix;
      if (!module.format->rows_independent()) {
        const std::vector<float> weights = converted.matrix.decode(pool_);
        all.insert(all.end(), weights.begin(), weights.end());
        continue;
      }
      for (size_t i = 0; i < joined.size(); ++i) {
        const Bytes& bytes = converted.matrix.parts()[i];
        joined[i].insert(joined[i].end(), bytes.data(), bytes.data() + bytes.size());
      }
    }
    if (!all.empty()) {
      return unsupported("{}: format {} cannot be stored fused", module.name, module.format->spec())
          .with_hint("its blocks run across the ends of rows; use int8:row or int4:gN");
    }
    std::vector<Bytes> parts;
    for (const auto& bytes : joined) parts.push_back(Bytes::copy_of(bytes));
    return WeightMatrix::create(module.format, module.rows(), module.parts[0].cols,
                                std::move(parts), module.name);
  }

  Result<std::vector<HfTensor>> tensors_of(const Module& module) {
    LATHE_TRY(const WeightMatrix matrix, load(module));
    if (module.quantized) return scheme_->pack(matrix, module.name);
    const DType dtype = dtype_of(*module.format);
    const int64_t rows = matrix.rows(), cols = matrix.cols();
    if (!module.transposed) {
      return std::vector<HfTensor>{{".weight", dtype, {rows, cols}, matrix.parts()[0]}};
    }
    return std::vector<HfTensor>{
        {".weight", dtype, {cols, rows}, transpose(matrix.parts()[0], rows, cols, size_of(dtype))}};
  }

  // Biases of fused matrices are fused too; Gemma stores its norm weights less one.
  Result<std::vector<HfTensor>> vectors() const {
    std::vector<HfTensor> out;
    for (const VectorInfo& info : vectors_of(source_.config())) {
      if (info.optional && !source_.has(info.name)) continue;
      LATHE_TRY(std::vector<float> values, source_.vector(info.name, info.size));
      const bool bias = info.name.ends_with(".bias");
      const HfName name = name_of(bias ? info.name.substr(0, info.name.size() - 5) : info.name);
      if (family_->norm_plus_one && info.name.ends_with("norm")) {
        for (float& value : values) value -= 1.0f;
      }
      const std::string full = name.source + (bias ? ".bias" : ".weight");
      const Bytes bytes = Bytes::copy_of(
          {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float)});
      if (out.empty() || out.back().name != full) {
        out.push_back({full, DType::kF32, {info.size}, bytes});
        continue;
      }
      uint8_t* all = nullptr;
      const Bytes before = out.back().bytes;
      out.back().bytes = Bytes::allocate(before.size() + bytes.size(), &all);
      std::memcpy(all, before.data(), before.size());
      std::memcpy(all + before.size(), bytes.data(), bytes.size());
      out.back().shape[0] += info.size;
    }
    return out;
  }

  Status write(const std::string& directory) {
    LATHE_TRY(const std::vector<HfTensor> small, vectors());
    // Names and shapes come from packing, so each module is packed twice: memory stays at one.
    std::vector<SafetensorsWriter::Declared> declared;
    for (const HfTensor& tensor : small)
      declared.push_back({tensor.name, tensor.dtype, tensor.shape});
    for (const Module& module : modules_) {
      LATHE_TRY(const std::vector<HfTensor> tensors, tensors_of(module));
      for (const HfTensor& tensor : tensors) {
        declared.push_back({module.name + tensor.name, tensor.dtype, tensor.shape});
      }
    }
    report_.classes.clear();
    LATHE_TRY(SafetensorsWriter writer, SafetensorsWriter::create(directory + "/model.safetensors",
                                                                  declared, {{"format", "pt"}}));
    for (const HfTensor& tensor : small) LATHE_OK(writer.append(tensor.bytes.span()));
    Progress progress("exporting", static_cast<int64_t>(modules_.size()), "tensors");
    for (const Module& module : modules_) {
      LATHE_TRY(const std::vector<HfTensor> tensors, tensors_of(module));
      for (const HfTensor& tensor : tensors) LATHE_OK(writer.append(tensor.bytes.span()));
      progress.advance();
    }
    LATHE_OK(writer.finish());
    LATHE_OK(write_config(directory));
    return copy_tokenizer(source_, directory, report_);
  }

  Status write_config(const std::string& directory) const {
    LATHE_TRY(nlohmann::json json, plain_hf_config(source_, *family_));
    json["torch_dtype"] = torch_name(*modules_[0].format);
    if (quantized_) {
      std::vector<std::string> plain;
      for (const Module& module : modules_) {
        if (!module.quantized && module.parts[0].linear) plain.push_back(module.name);
      }
      if (source_.config().tied) plain.emplace_back("lm_head");
      json["quantization_config"] = scheme_->config(*quantized_, plain);
    }
    return write_atomically(directory + "/config.json", json.dump(2) + "\n");
  }

  Status check(const std::string& path) const {
    LATHE_TRY(const auto written, open_checkpoint(path));
    return check_description(source_.config(), written->config());
  }

  const Checkpoint& source_;
  const HfScheme* scheme_;
  const ExportOptions& options_;
  ThreadPool& pool_;
  const Family* family_ = nullptr;
  std::vector<Module> modules_;
  FormatPtr quantized_;
  ExportReport report_;
};

template <const char* const& Scheme>
Result<ExportReport> write_hf(const Checkpoint& source, const std::string& out,
                              const ExportOptions& options, ThreadPool& pool) {
  return export_unpacked(source, [&](const Checkpoint& model) {
    return HfExport(model, find_hf_scheme(Scheme), options, pool).run(out);
  });
}

constexpr const char* kPlain = "";
constexpr const char* kBitsandbytes = "bitsandbytes";
constexpr const char* kGptq = "gptq";
constexpr const char* kAwq = "awq";
constexpr const char* kCompressed = "compressed-tensors";

}  // namespace

std::vector<ExportTarget> hf_targets() {
  return {
      {"hf", "a Hugging Face directory of plain floats (--format f32, f16, bf16)",
       write_hf<kPlain>},
      {kBitsandbytes, "the same with linear layers as bitsandbytes has them: nf4, fp4, int8:row",
       write_hf<kBitsandbytes>},
      {kGptq, "the same, GPTQ's layout: int4:gN[,asym]", write_hf<kGptq>},
      {kAwq, "the same, AWQ's GEMM layout: int4:gN[,asym]", write_hf<kAwq>},
      {kCompressed, "the same, compressed-tensors' pack-quantized: int4:gN[,asym]",
       write_hf<kCompressed>}};
}

}  // namespace lathe
