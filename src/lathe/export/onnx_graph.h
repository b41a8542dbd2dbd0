// The forward pass of a ModelConfig as an ONNX graph in the operators that onnxruntime runs on a
// CPU: the inputs and outputs, and the names of nodes and tensors, are those of
// onnxruntime-genai's model builder.
//
//   input_ids, position_ids [B, T] I64, attention_mask [B, P + T] I64, and for each layer
//   past_key_values.N.{key,value} [B, G, P, D] F32  →  logits [B, T, V] F32,
//   present.N.{key,value} [B, G, P + T, D] F32
//
// Activations are F32. Attention is com.microsoft's GroupQueryAttention: sequences of a batch are
// padded on the right.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lathe/formats/nbits.h"
#include "lathe/formats/weight_matrix.h"
#include "lathe/io/onnx_writer.h"
#include "lathe/model/checkpoint.h"

namespace lathe {

// What the graph takes its weights from.
struct OnnxWeights {
  // In a float format, or one that nbits_holds(); a table in a float format, or one that
  // onnx_table_holds().
  std::function<Result<WeightMatrix>(const MatrixInfo& info)> matrix;
  // nullopt: an optional vector that the model lacks.
  std::function<Result<std::optional<std::vector<float>>>(const VectorInfo& info)> vector;
};

// Whether an embedding table of this shape can stay quantized.
bool onnx_table_holds(const Format& format, int64_t cols);
// Refuses what the operators cannot compute.
Status check_onnx(const ModelConfig& config);
Status write_onnx_graph(const ModelConfig& config, const OnnxWeights& weights, OnnxWriter& writer);

}  // namespace lathe
