#include "lathe/export/onnx_graph.h"

#include "lathe/model/onnx_names.h"
#include "lathe/model/rope.h"

namespace lathe {
namespace {

constexpr int64_t kF32Number = 1, kI32Number = 6;  // TensorProto.DataType, for Cast
constexpr int64_t kHeadMultiple = 8;               // of GroupQueryAttention

template <typename T>
std::span<const uint8_t> bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(T)};
}

DType dtype_of(const Format& format) {
  return format.spec() == "f32" ? DType::kF32 : format.spec() == "f16" ? DType::kF16 : DType::kBF16;
}

std::string layer_name(int64_t layer) { return fmt::format("/model/layers.{}", layer); }

class Graph {
 public:
  Graph(const ModelConfig& config, const OnnxWeights& weights, OnnxWriter& writer)
      : c_(config), weights_(weights), out_(writer) {
    for (const MatrixInfo& info : matrices_of(c_)) matrices_.emplace(info.name, info);
    for (const VectorInfo& info : vectors_of(c_)) vectors_.emplace(info.name, info);
  }

  Status write() {
    declare();
    lengths();
    rope_ = rotation("/model/rotary", c_.rope);
    if (c_.two_ropes) local_rope_ = rotation("/model/local_rotary", c_.local_rope);
    LATHE_TRY(std::string x, embed());
    for (int64_t i = 0; i < c_.layers; ++i) {
      LATHE_TRY(x, layer(i, x));
    }
    LATHE_TRY(x, norm("/model/final_norm", "model.norm", x));
    return head(x);
  }

 private:
  using Attributes = std::vector<OnnxAttribute>;

  // Adds a node with one output and returns its name.
  std::string add(const std::string& op, const std::string& name, std::vector<std::string> inputs,
                  Attributes attributes = {}, const char* domain = "") {
    const std::string output = name + "/output_0";
    out_.node({op, name, std::move(inputs), {output}, std::move(attributes), domain});
    return output;
  }
  std::string integers(const std::vector<int64_t>& values, bool scalar = false) {
    const std::string name =
        fmt::format("/model/constants/INT64/{}{}", fmt::join(values, ","), scalar ? "" : "[]");
    out_.constant(name, DType::kI64,
                  scalar ? std::vector<int64_t>{} : std::vector<int64_t>{int64_t(values.size())},
                  bytes_of(values));
    return name;
  }
  std::string real(float value) {
    const std::string name = fmt::format("/model/constants/FLOAT/{}", value);
    out_.constant(name, DType::kF32, {}, bytes_of(std::vector<float>{value}));
    return name;
  }

  void declare() {
    out_.input("input_ids", DType::kI64, {"batch_size", "sequence_length"});
    out_.input("attention_mask", DType::kI64, {"batch_size", "total_sequence_length"});
    out_.input("position_ids", DType::kI64, {"batch_size", "sequence_length"});
    out_.output("logits", DType::kF32, {"batch_size", "sequence_length", c_.vocab});
    for (int64_t i = 0; i < c_.layers; ++i) {
      for (const char* part : {"key", "value"}) {
        out_.input(fmt::format("past_key_values.{}.{}", i, part), DType::kF32,
                   {"batch_size", c_.kv_heads, "past_sequence_length", c_.head_size});
        out_.output(fmt::format("present.{}.{}", i, part), DType::kF32,
                    {"batch_size", c_.kv_heads, "total_sequence_length", c_.head_size});
      }
    }
  }

  // What the attention wants to know: the last position of each sequence, and the length of all.
  void lengths() {
    const std::string name = "/model/attn_mask";
    const std::string sum = add("ReduceSum", name + "/ReduceSum", {"attention_mask", integers({1})},
                                {{"keepdims", int64_t{0}}});
    const std::string last = add("Sub", name + "/Sub", {sum, integers({1}, true)});
    last_ = add("Cast", name + "/Sub/Cast", {last}, {{"to", kI32Number}});
    const std::string shape = add("Shape", name + "/Shape", {"attention_mask"});
    all_ = add("Gather", name + "/Length", {shape, integers({1}, true)});
    length_ = add("Cast", name + "/Length/Cast", {all_}, {{"to", kI32Number}});
  }

  // Cosines and sines of this run's positions, one row for each token, and the rows of the tokens.
  struct Rotation {
    std::string cosines, sines, rows;
    int64_t rotary = 0;
  };
  Rotation rotation(const std::string& name, const RopeConfig& config) {
    if (config.rotary == 0) return {};
    const auto frequencies_of = [&](const Rope& rope, const char* suffix) {
      const std::string tensor = name + suffix;
      out_.constant(tensor, DType::kF32, {1, config.rotary / 2}, bytes_of(rope.inverse_frequency));
      return tensor;
    };
    const bool both = config.scaling == RopeScaling::kLongRope;
    const int64_t original = config.original_context;
    const Rope rope = make_rope(config, both ? original : c_.max_positions, c_.max_positions);
    std::string frequencies = frequencies_of(rope, "/inverse_frequency");
    if (both && original < c_.max_positions) {
      // As in transformers, by the length that is reached.
      const Rope longer = make_rope(config, original + 1, c_.max_positions);
      const std::string beyond =
          add("Greater", name + "/Greater", {all_, integers({original}, true)});
      frequencies = add("Where", name + "/Where",
                        {beyond, frequencies_of(longer, "/long_inverse_frequency"), frequencies});
    }
    const std::string reals = add("Cast", name + "/Cast", {"position_ids"}, {{"to", kF32Number}});
    const std::string column = add("Reshape", name + "/Column", {reals, integers({-1, 1})});
    const std::string angles = add("Mul", name + "/Angles", {column, frequencies});
    Rotation out;
    out.rotary = config.rotary;
    out.cosines = add("Cos", name + "/Cos", {angles});
    out.sines = add("Sin", name + "/Sin", {angles});
    if (rope.scale != 1) {
      out.cosines = add("Mul", name + "/Cos/Mul", {out.cosines, real(rope.scale)});
      out.sines = add("Mul", name + "/Sin/Mul", {out.sines, real(rope.scale)});
    }
    const std::string shape = add("Shape", name + "/Shape", {"position_ids"});
    const std::string count = add("Size", name + "/Size", {"position_ids"});
    const std::string range =
        add("Range", name + "/Range", {integers({0}, true), count, integers({1}, true)});
    out.rows = add("Reshape", name + "/Rows", {range, shape});
    return out;
  }
  std::string rotate(const std::string& name, const Rotation& rotation, int64_t heads,
                     const std::string& x) {
    Attributes attributes = {{"interleaved", int64_t{0}}, {"num_heads", heads}};
    if (rotation.rotary < c_.head_size) {
      attributes.push_back({"rotary_embedding_dim", rotation.rotary});
    }
    return add("RotaryEmbedding", name, {x, rotation.rows, rotation.cosines, rotation.sines},
               std::move(attributes), "com.microsoft");
  }

  // A float matrix as an initializer, as columns [K, N] or rows [N, K]; returns it as F32.
  Result<std::string> floats(const WeightMatrix& m, const std::string& name, bool columns) {
    const DType dtype = dtype_of(m.format());
    Bytes bytes = m.parts()[0];
    if (columns) bytes = transpose(bytes, m.rows(), m.cols(), size_of(dtype));
    const std::vector<int64_t> shape = columns ? std::vector<int64_t>{m.cols(), m.rows()}
                                               : std::vector<int64_t>{m.rows(), m.cols()};
    LATHE_OK(out_.weight(name, dtype, shape, bytes.span()));
    return name;
  }
  std::string widened(const std::string& name, DType dtype) {
    if (dtype == DType::kF32) return name;
    return add("Cast", name + "/Cast", {name}, {{"to", kF32Number}});
  }

  // The tensors of a quantized matrix: codes, scales and, if it has them, zero points.
  struct Stored {
    std::vector<std::string> names;
    int64_t bits, block, rows, cols;
  };
  Result<Stored> quantized(const WeightMatrix& m, const std::string& name, bool table) {
    const NBits n = to_nbits(m);
    const int64_t blocks = n.blocks(), code_bytes = n.block * n.bits / 8;
    const std::string codes = fmt::format("{}_Q{}", name, n.bits);
    Stored out{{codes, name + "_scales"}, n.bits, n.block, n.rows, n.cols};
    const std::vector<int64_t> shape = table ? std::vector<int64_t>{n.rows, blocks * code_bytes}
                                             : std::vector<int64_t>{n.rows, blocks, code_bytes};
    LATHE_OK(out_.weight(codes, DType::kU8, shape, n.codes.span()));
    LATHE_OK(out_.weight(out.names[1], DType::kF32, {n.rows, blocks}, n.scales.span()));
    if (n.zeros.empty()) return out;
    out.names.push_back(name + "_zero_points");
    LATHE_OK(
        out_.weight(out.names[2], DType::kU8, {n.rows, (blocks * n.bits + 7) / 8}, n.zeros.span()));
    return out;
  }
  std::string multiply(const Stored& w, const std::string& name, const std::string& x) {
    std::vector<std::string> inputs = w.names;
    inputs.insert(inputs.begin(), x);
    return add("MatMulNBits", name, std::move(inputs),
               {{"K", w.cols}, {"N", w.rows}, {"bits", w.bits}, {"block_size", w.block}},
               "com.microsoft");
  }

  Result<std::string> linear(const std::string& canonical, const std::string& x) {
    const std::string source = onnx_place(canonical)->source;
    const std::string name = source + "/MatMul";
    LATHE_TRY(const WeightMatrix m, weights_.matrix(matrices_.at(canonical)));
    const std::string tensor = onnx_tensor_prefix(name) + ".weight";
    std::string y;
    if (m.format().encoding() == Encoding::kFloat) {
      LATHE_TRY(const std::string weight, floats(m, tensor, true));
      y = add("MatMul", name, {x, widened(weight, dtype_of(m.format()))});
    } else {
      LATHE_TRY(const Stored stored, quantized(m, tensor, false));
      y = multiply(stored, name, x);
    }
    return biased(canonical, source, y);
  }
  Result<std::string> biased(const std::string& canonical, const std::string& source,
                             const std::string& y) {
    const std::string name = source + "/Add";
    const std::string tensor = onnx_tensor_prefix(name) + ".bias";
    LATHE_TRY(const bool there, vector(canonical + ".bias", tensor));
    return there ? add("Add", name, {y, tensor}) : y;
  }
  // Writes a vector that the model has; false if it has none of that name.
  Result<bool> vector(const std::string& canonical, const std::string& tensor) {
    const auto it = vectors_.find(canonical);
    if (it == vectors_.end()) return false;
    LATHE_TRY(const auto values, weights_.vector(it->second));
    if (!values) return false;
    LATHE_OK(out_.weight(tensor, DType::kF32, {it->second.size}, bytes_of(*values)));
    return true;
  }

  Result<std::string> norm(const std::string& name, const std::string& canonical,
                           const std::string& x) {
    const std::string tensor = onnx_norm(c_, canonical);
    LATHE_TRY(const bool weight, vector(canonical, tensor + ".weight"));
    LATHE_TRY(const bool bias, vector(canonical + ".bias", tensor + ".bias"));
    LATHE_CHECK(weight);
    // The norms of query and key heads are root-mean-square in every architecture.
    const bool simple =
        c_.norm == NormKind::kRms || canonical.find("self_attn") != std::string::npos;
    std::vector<std::string> inputs = {x, tensor + ".weight"};
    if (bias) inputs.push_back(tensor + ".bias");
    Attributes attributes = {{"axis", int64_t{-1}},
                             {"epsilon", static_cast<float>(c_.norm_eps)},
                             {"stash_type", int64_t{1}}};
    return add(simple ? "SimplifiedLayerNormalization" : "LayerNormalization", name + "/LayerNorm",
               std::move(inputs), std::move(attributes));
  }
  // The norm of each head.
  Result<std::string> head_norm(const std::string& name, const std::string& canonical,
                                int64_t heads, const std::string& x) {
    const std::string split =
        add("Reshape", name + "/Split", {x, integers({0, 0, heads, c_.head_size})});
    LATHE_TRY(const std::string normed, norm(name, canonical, split));
    return add("Reshape", name + "/Join", {normed, integers({0, 0, heads * c_.head_size})});
  }

  Result<std::string> embed() {
    LATHE_TRY(const WeightMatrix m, weights_.matrix(matrices_.at("model.embed_tokens")));
    const std::string tensor = "model.embed_tokens.weight";
    std::string x;
    if (m.format().encoding() == Encoding::kFloat) {
      LATHE_TRY(table_, floats(m, tensor, false));
      table_dtype_ = dtype_of(m.format());
      x = widened(add("Gather", kOnnxEmbedding, {table_, "input_ids"}), table_dtype_);
    } else {
      LATHE_TRY(quantized_table_, quantized(m, tensor, true));
      std::vector<std::string> inputs = quantized_table_->names;
      inputs.insert(inputs.begin() + 1, "input_ids");
      x = add("GatherBlockQuantized", kOnnxEmbedding, std::move(inputs),
              {{"bits", quantized_table_->bits},
               {"block_size", quantized_table_->block},
               {"gather_axis", int64_t{0}},
               {"quantize_axis", int64_t{1}}},
              "com.microsoft");
    }
    if (c_.embedding_scale != 1) {
      x = add("Mul", "/model/embed_tokens/Mul", {x, real(static_cast<float>(c_.embedding_scale))});
    }
    if (!c_.learned_positions) return x;
    LATHE_TRY(const WeightMatrix p, weights_.matrix(matrices_.at("model.embed_positions")));
    LATHE_TRY(const std::string table, floats(p, "model.embed_positions.weight", false));
    std::string rows = "position_ids";
    if (c_.position_offset) {
      rows = add("Add", "/model/embed_positions/Add", {rows, integers({c_.position_offset}, true)});
    }
    const std::string y =
        widened(add("Gather", kOnnxPositions, {table, rows}), dtype_of(p.format()));
    return add("Add", "/model/embed/Add", {x, y});
  }

  Result<std::string> attention(int64_t i, const std::string& x) {
    const std::string canonical = fmt::format("model.layers.{}.self_attn.", i);
    const std::string name = layer_name(i) + "/attn";
    LATHE_TRY(std::string q, linear(canonical + "q_proj", x));
    LATHE_TRY(std::string k, linear(canonical + "k_proj", x));
    LATHE_TRY(const std::string v, linear(canonical + "v_proj", x));
    if (c_.qk_norm) {
      LATHE_TRY(q, head_norm(name + "/q_norm", canonical + "q_norm", c_.heads, q));
      LATHE_TRY(k, head_norm(name + "/k_norm", canonical + "k_norm", c_.kv_heads, k));
    }
    const Rotation& rope = c_.local(i) ? local_rope_ : rope_;
    if (rope.rotary) {
      q = rotate(name + "/q_rotary/RotaryEmbedding", rope, c_.heads, q);
      k = rotate(name + "/k_rotary/RotaryEmbedding", rope, c_.kv_heads, k);
    }
    const std::string past = fmt::format("past_key_values.{}.", i);
    const std::string present = fmt::format("present.{}.", i);
    const int64_t window = c_.window_of(i);
    const std::string output = name + "/GroupQueryAttention/output_0";
    out_.node({"GroupQueryAttention",
               name + "/GroupQueryAttention",
               {q, k, v, past + "key", past + "value", last_, length_},
               {output, present + "key", present + "value"},
               {{"num_heads", c_.heads},
                {"kv_num_heads", c_.kv_heads},
                {"scale", static_cast<float>(c_.attention_scale)},
                {"local_window_size", window > 0 ? window : int64_t{-1}},
                {"softcap", static_cast<float>(c_.attention_soft_cap)},
                {"do_rotary", int64_t{0}}},
               "com.microsoft"});
    return linear(canonical + "o_proj", output);
  }

  std::string activate(const std::string& name, const std::string& x) {
    switch (c_.activation) {
      case Activation::kSilu:
        return add("Mul", name + "/Mul", {x, add("Sigmoid", name + "/Sigmoid", {x})});
      case Activation::kGeluErf:
        return add("Gelu", name + "/Gelu", {x}, {{"approximate", std::string("none")}});
      case Activation::kGeluTanh:
        return add("Gelu", name + "/Gelu", {x}, {{"approximate", std::string("tanh")}});
      case Activation::kRelu:
        break;
    }
    return add("Relu", name + "/Relu", {x});
  }

  Result<std::string> mlp(int64_t i, const std::string& x) {
    const std::string canonical = fmt::format("model.layers.{}.mlp.", i);
    const std::string name = layer_name(i) + "/mlp";
    std::string gate;
    if (c_.gated) {
      LATHE_TRY(gate, linear(canonical + "gate_proj", x));
    }
    LATHE_TRY(std::string y, linear(canonical + "up_proj", x));
    y = c_.gated ? add("Mul", name + "/Mul", {activate(name + "/act_fn", gate), y})
                 : activate(name + "/act_fn", y);
    return linear(canonical + "down_proj", y);
  }

  Result<std::string> layer(int64_t i, const std::string& x) {
    const std::string name = layer_name(i), canonical = fmt::format("model.layers.{}.", i);
    LATHE_TRY(const std::string normed,
              norm(name + "/input_layernorm", canonical + "input_norm", x));
    LATHE_TRY(std::string attended, attention(i, normed));
    if (c_.output_norms) {
      LATHE_TRY(attended, norm(name + "/post_attention_layernorm",
                               canonical + "attention_output_norm", attended));
    }
    const std::string sum = add("Add", name + "/attn/residual", {x, attended});
    std::string second = normed;
    if (!c_.parallel_residual) {
      LATHE_TRY(second, norm(name + "/mlp_layernorm", canonical + "mlp_input_norm", sum));
    }
    LATHE_TRY(std::string mixed, mlp(i, second));
    if (c_.output_norms) {
      LATHE_TRY(mixed,
                norm(name + "/post_feedforward_layernorm", canonical + "mlp_output_norm", mixed));
    }
    return add("Add", name + "/mlp/residual", {sum, mixed});
  }

  Result<std::string> head_product(const std::string& x) {
    if (!c_.tied) return linear("lm_head", x);
    const std::string name = "/lm_head/MatMul";
    std::string y;
    if (quantized_table_) {
      Stored shared = *quantized_table_;
      const int64_t code_bytes = shared.block * shared.bits / 8;
      shared.names[0] = add("Reshape", "/lm_head/Reshape",
                            {shared.names[0], integers({shared.rows, -1, code_bytes})});
      y = multiply(shared, name, x);
    } else {
      const std::string columns =
          add("Transpose", "/lm_head/Transpose", {table_}, {{"perm", std::vector<int64_t>{1, 0}}});
      y = add("MatMul", name, {x, widened(columns, table_dtype_)});
    }
    return biased("lm_head", "/lm_head", y);
  }

  Status head(const std::string& x) {
    LATHE_TRY(std::string y, head_product(x));
    if (c_.final_soft_cap > 0) {
      const std::string cap = real(static_cast<float>(c_.final_soft_cap));
      y = add("Div", "/lm_head/softcap/Div", {y, cap});
      y = add("Tanh", "/lm_head/softcap/Tanh", {y});
      y = add("Mul", "/lm_head/softcap/Mul", {y, cap});
    }
    out_.node({"Identity", "/lm_head/logits", {y}, {"logits"}, {}, ""});
    return {};
  }

  const ModelConfig& c_;
  const OnnxWeights& weights_;
  OnnxWriter& out_;
  std::map<std::string, MatrixInfo> matrices_;
  std::map<std::string, VectorInfo> vectors_;
  std::string last_, length_, all_;
  Rotation rope_, local_rope_;
  std::string table_;
  DType table_dtype_ = DType::kF32;
  std::optional<Stored> quantized_table_;
};

}  // namespace

bool onnx_table_holds(const Format& format, int64_t cols) {
  if (format.encoding() == Encoding::kFloat) return true;
  // Codes of 2 or 3 bits are not looked up, nor are blocks that the row does not fill.
  return nbits_holds(format) && format.encoding() != Encoding::kBits &&
         cols % nbits_block(format, cols) == 0;
}

Status check_onnx(const ModelConfig& c) {
  if (c.head_size % kHeadMultiple == 0) return {};
  return unsupported("heads of {} elements; onnxruntime's attention needs a multiple of {}",
                     c.head_size, kHeadMultiple);
}

Status write_onnx_graph(const ModelConfig& config, const OnnxWeights& weights, OnnxWriter& writer) {
  return Graph(config, weights, writer).write();
}

}  // namespace lathe
