// The one forward pass. Inference, calibration, profiling and training all call this with their own
// Ops.
#pragma once

#include <span>
#include <vector>

#include "lathe/model/model.h"

namespace lathe {

// Tokens of one or more sequences, one sequence's after another's. Span i holds rows
// [first_row, first_row + rows) of `ids`; its cache must hold exactly `start` positions.
struct Batch {
  std::vector<int32_t> ids;
  std::vector<SequenceSpan> spans;
  // Rows whose logits are wanted; empty: all.
  std::vector<int64_t> logit_rows;

  void add(KvCache& cache, std::span<const int32_t> tokens, bool all_logits);
};

// [wanted rows, V]. Advances the caches.
Tensor forward(const Model& model, Ops& ops, const Batch& batch);

// All but the head: [T, C] of every row. It is all there is of an encoder, whose spans must be
// whole sequences and whose caches may be used again after set_length(0). Callers that score many
// tokens of a large vocabulary take the logits a few rows at a time. Advances the caches.
Tensor hidden_states(const Model& model, Ops& ops, const Batch& batch);

// The stages of it, for streaming through a model one block at a time. `positions`: one per row.
std::vector<int32_t> positions_of(const Batch& batch);
Tensor embed(const Model& model, Ops& ops, const Batch& batch, std::span<const int32_t> positions);
Tensor run_layer(const ModelConfig& config, const Layer& layer, int64_t index, const Rope& rope,
                 Ops& ops, const Batch& batch, std::span<const int32_t> positions, Tensor x);
// The two halves of a layer, for who does something in between. Not with a parallel residual, whose
// second half needs the input of the first.
constexpr bool has_halves(const ModelConfig& config) { return !config.parallel_residual; }
Tensor run_attention(const ModelConfig& config, const Layer& layer, int64_t index, const Rope& rope,
                     Ops& ops, const Batch& batch, std::span<const int32_t> positions, Tensor x);
Tensor run_mlp(const ModelConfig& config, const Layer& layer, Ops& ops, Tensor x);
Tensor logits(const Model& model, Ops& ops, const Tensor& x);

}  // namespace lathe
