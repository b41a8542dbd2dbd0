// A directory with config.json and model.onnx, as `lathe export --to onnx` and onnxruntime-genai's
// model builder write them. Weights are found by the names of the nodes that use them
// (onnx_names.h); what the graph computes follows from config.json alone.
#include <cmath>
#include <filesystem>

#include "lathe/base/mapped_file.h"
#include "lathe/formats/nbits.h"
#include "lathe/io/onnx.h"
#include "lathe/model/checkpoint_kinds.h"
#include "lathe/model/family.h"
#include "lathe/model/hf_quantized.h"
#include "lathe/model/onnx_names.h"

namespace lathe {
namespace {

// Through as many casts, transpositions and the like may lie between a node and its weight.
constexpr int kMostSteps = 8;

FormatPtr float_format(DType dtype) {
  if (dtype == DType::kF32) return parse_format("f32").value();
  if (dtype == DType::kF16) return parse_format("f16").value();
  if (dtype == DType::kBF16) return parse_format("bf16").value();
  return nullptr;
}

class OnnxCheckpoint : public Checkpoint {
 public:
  OnnxCheckpoint(std::string folder, std::string path, ModelConfig config, OnnxFile file)
      : Checkpoint(std::move(folder), with_tie(std::move(config), file)),
        path_(std::move(path)),
        file_(std::move(file)),
        index_(file_) {}

  bool has(const std::string& name) const override {
    if (name.ends_with(".bias") || name.ends_with("norm")) {
      return file_.find(vector_name(name).tensor) != nullptr;
    }
    return locate(name).node != nullptr;
  }

  std::vector<std::string> weight_files() const override {
    std::vector<std::string> files = {path_};
    for (const std::string& name : file_.data_files()) files.push_back(path() + "/" + name);
    return files;
  }

  Result<WeightMatrix> matrix(const std::string& name, int64_t rows, int64_t cols) const override {
    const Place place = locate(name);
    if (!place.node) {
      return not_found("{}: no node '{}' ({})", path_, place.expected, name)
          .with_hint("nodes are named as by onnxruntime-genai's model builder");
    }
    LATHE_TRY_IN(const int64_t first, first_row(name, place.part), path_);
    const int64_t total = place.part < 0 ? rows : fused_rows(name);
    LATHE_TRY_IN(const WeightMatrix whole, read(*place.node, total, cols), path_);
    return place.part < 0 ? whole : slice_rows(whole, first, rows, place.node->name);
  }

  Result<std::vector<float>> vector(const std::string& name, int64_t size) const override {
    const VectorName where = vector_name(name);
    const StoredTensor* tensor = file_.find(where.tensor);
    if (!tensor) return not_found("{}: tensor '{}' ({}) is missing", path_, where.tensor, name);
    LATHE_TRY_IN(const int64_t first, first_row(name, where.part), path_);
    const int64_t total = where.part < 0 ? size : fused_rows(name);
    LATHE_OK_IN(check_shape(where.tensor, tensor->shape, {total}), path_);
    if (!float_format(tensor->dtype)) {
      return unsupported("{}: tensor '{}' is {}", path_, where.tensor, name_of(tensor->dtype));
    }
    std::vector<float> out(static_cast<size_t>(size));
    widen(tensor->dtype, tensor->bytes.data() + first * size_of(tensor->dtype), size, out.data());
    for (const float value : out) {
      if (!std::isfinite(value)) {
        return bad_input("{}: tensor '{}' holds {}", path_, where.tensor, value);
      }
    }
    return out;
  }

 private:
  // Nodes by name and by what they give.
  struct Index {
    explicit Index(const OnnxFile& file) {
      for (const OnnxNode& node : file.nodes()) {
        names.emplace(node.name, &node);
        for (const std::string& output : node.outputs) outputs.emplace(output, &node);
      }
    }
    // The node whose name begins so and that multiplies or looks up.
    const OnnxNode* find(const std::string& name) const {
      for (auto it = names.lower_bound(name); it != names.end() && it->first.starts_with(name);
           ++it) {
        const std::string& op = it->second->op;
        if (op == "MatMul" || op == "MatMulNBits" || op == "Gather" ||
            op == "GatherBlockQuantized") {
          return it->second;
        }
      }
      return nullptr;
    }
    std::map<std::string, const OnnxNode*, std::less<>> names, outputs;
  };

  struct Place {
    const OnnxNode* node = nullptr;
    int part = -1;  // of a fused layer
    std::string expected;
  };
  struct VectorName {
    std::string tensor;
    int part = -1;
  };
  // An initializer behind casts and transpositions.
  struct Source {
    const StoredTensor* tensor = nullptr;
    bool transposed = false;
  };

  // Tied is what the graph shares, whatever config.json says: builders quantize the head alone.
  static ModelConfig with_tie(ModelConfig config, const OnnxFile& file) {
    const Index index(file);
    const OnnxNode* table = index.find(kOnnxEmbedding);
    const OnnxNode* head = index.find("/lm_head/MatMul");
    config.tied = table && head && !table->inputs.empty() && head->inputs.size() > 1 &&
                  resolve(file, index, table->inputs[0]).tensor &&
                  resolve(file, index, table->inputs[0]).tensor ==
                      resolve(file, index, head->inputs[1]).tensor;
    return config;
  }

  static Source resolve(const OnnxFile& file, const Index& index, const std::string& name) {
    Source out;
    std::string at = name;
    for (int i = 0; i < kMostSteps; ++i) {
      out.tensor = file.find(at);
      const auto it = index.outputs.find(at);
      if (out.tensor || it == index.outputs.end() || it->second->inputs.empty()) break;
      const std::string& op = it->second->op;
      if (op == "Transpose") {
        out.transposed = !out.transposed;
      } else if (op != "Cast" && op != "Reshape" && op != "Identity") {
        break;
      }
      at = it->second->inputs[0];
    }
    return out;
  }

  Place locate(const std::string& name) const {
    if (name == "model.embed_tokens") return {index_.find(kOnnxEmbedding), -1, kOnnxEmbedding};
    if (name == "model.embed_positions") return {index_.find(kOnnxPositions), -1, kOnnxPositions};
    const auto place = onnx_place(name);
    if (!place) return {nullptr, -1, name};
    const std::string expected = place->source + "/MatMul";
    if (const OnnxNode* node = index_.find(expected)) return {node, -1, expected};
    if (!place->fused.empty()) {
      if (const OnnxNode* node = index_.find(place->fused + "/MatMul")) {
        return {node, place->part, expected};
      }
    }
    return {nullptr, -1, expected};
  }

  VectorName vector_name(const std::string& name) const {
    const bool bias = name.ends_with(".bias");
    const std::string module = bias ? name.substr(0, name.size() - 5) : name;
    const auto place = bias ? onnx_place(module) : std::nullopt;
    if (!place) return {onnx_norm(config(), module) + (bias ? ".bias" : ".weight")};
    const std::string own = onnx_tensor_prefix(place->source + "/Add") + ".bias";
    if (file_.find(own) || place->fused.empty()) return {own};
    const std::string fused = onnx_tensor_prefix(place->fused + "/Add") + ".bias";
    return file_.find(fused) ? VectorName{fused, place->part} : VectorName{own};
  }

  int64_t fused_rows(const std::string& name) const {
    const ModelConfig& c = config();
    return name.find("mlp") != std::string::npos ? 2 * c.ffn
                                                 : (c.heads + 2 * c.kv_heads) * c.head_size;
  }
  Result<int64_t> first_row(const std::string& name, int part) const {
    const ModelConfig& c = config();
    if (part <= 0) return int64_t{0};
    if (name.find("mlp") != std::string::npos) return part * c.ffn;
    return (c.heads + (part - 1) * c.kv_heads) * c.head_size;
  }

  Result<WeightMatrix> read(const OnnxNode& node, int64_t rows, int64_t cols) const {
    const bool lookup = node.op == "Gather" || node.op == "GatherBlockQuantized";
    const size_t at = lookup ? 0 : 1;
    if (node.inputs.size() <= at) return bad_input("node '{}' lacks inputs", node.name);
    if (node.op == "MatMulNBits" || node.op == "GatherBlockQuantized") {
      return read_nbits(node, rows, cols);
    }
    const Source source = resolve(file_, index_, node.inputs[at]);
    if (!source.tensor) {
      return not_found("the weight '{}' of node '{}' is no tensor of the file that Lathe reads",
                       node.inputs[at], node.name);
    }
    const FormatPtr format = float_format(source.tensor->dtype);
    if (!format) {
      return unsupported("the weight of node '{}' is {}; weights may be F32, F16 or BF16",
                         node.name, name_of(source.tensor->dtype));
    }
    // A product has [K, N], a table [N, K].
    const bool columns_first = lookup == source.transposed;
    LATHE_OK(columns_first ? check_shape(node.inputs[at], source.tensor->shape, {cols, rows})
                           : check_shape(node.inputs[at], source.tensor->shape, {rows, cols}));
    Bytes bytes = source.tensor->bytes;
    if (columns_first) bytes = transpose(bytes, cols, rows, size_of(source.tensor->dtype));
    return WeightMatrix::create(format, rows, cols, {std::move(bytes)}, node.name);
  }

  Result<WeightMatrix> read_nbits(const OnnxNode& node, int64_t rows, int64_t cols) const {
    const bool lookup = node.op == "GatherBlockQuantized";
    const auto number = [&](const char* name, int64_t otherwise) {
      const auto* value = node.attribute<int64_t>(name);
      return value ? *value : otherwise;
    };
    const auto input = [&](size_t i) -> const StoredTensor* {
      return i < node.inputs.size() ? resolve(file_, index_, node.inputs[i]).tensor : nullptr;
    };
    const auto given = [&](size_t i) { return i < node.inputs.size() && !node.inputs[i].empty(); };
    NBits n;
    n.rows = rows;
    n.cols = cols;
    n.bits = static_cast<int>(std::clamp<int64_t>(number("bits", 4), 0, 9));
    n.block = number("block_size", lookup ? 128 : 0);
    if (lookup && (number("gather_axis", 0) != 0 || number("quantize_axis", 1) != 1)) {
      return unsupported("node '{}': a table that is quantized along its rows", node.name);
    }
    if (!lookup && (number("K", 0) != cols || number("N", 0) != rows)) {
      return bad_input("node '{}' has {} × {} weights, the configuration needs {} × {}", node.name,
                       number("N", 0), number("K", 0), rows, cols);
    }
    if (!lookup && (given(4) || given(5) || number("weight_prepacked", 0) != 0)) {
      return unsupported("node '{}': an order of columns, a bias, or weights packed for one device",
                         node.name);
    }
    const StoredTensor* codes = input(lookup ? 0 : 1);
    const StoredTensor* scales = input(2);
    const StoredTensor* zeros = input(3);
    if (!codes || !scales || (given(3) && !zeros)) {
      return not_found("the weights of node '{}' are no tensors of the file that Lathe reads",
                       node.name);
    }
    if (codes->dtype != DType::kU8 || (zeros && zeros->dtype != DType::kU8)) {
      return unsupported("node '{}': codes and zero points other than U8", node.name);
    }
    if (!float_format(scales->dtype)) {
      return bad_input("node '{}': scales of type {}", node.name, name_of(scales->dtype));
    }
    const auto count = static_cast<int64_t>(scales->bytes.size()) / size_of(scales->dtype);
    uint8_t* widened = nullptr;
    n.codes = codes->bytes;
    n.scales = Bytes::allocate(static_cast<size_t>(4 * count), &widened);
    widen(scales->dtype, scales->bytes.data(), count, reinterpret_cast<float*>(widened));
    if (zeros) n.zeros = zeros->bytes;
    return from_nbits(n, node.name);
  }

  std::string path_;
  OnnxFile file_;
  Index index_;
};

}  // namespace

Result<std::unique_ptr<const Checkpoint>> open_onnx_checkpoint(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  LATHE_TRY(HfDescription description, read_hf_config(folder));
  LATHE_TRY(OnnxFile file, OnnxFile::open(path));
  return std::unique_ptr<const Checkpoint>(std::make_unique<OnnxCheckpoint>(
      folder, path, std::move(description.config), std::move(file)));
}

}  // namespace lathe
