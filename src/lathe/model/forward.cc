#include "lathe/model/forward.h"

#include <array>

namespace lathe {
namespace {

Tensor attention_block(const ModelConfig& c, const Layer& layer, int64_t index, const Rope& rope,
                       Ops& ops, const Batch& batch, std::span<const int32_t> positions,
                       const Tensor& x) {
  const std::array<const Linear*, 3> qkv = {&layer.q, &layer.k, &layer.v};
  std::vector<Tensor> projected = ops.linears(qkv, x);
  Tensor q = std::move(projected[0]), k = std::move(projected[1]);
  const Tensor v = std::move(projected[2]);
  if (!layer.q_norm.empty()) q = ops.norm(layer.q_norm, q);
  if (!layer.k_norm.empty()) k = ops.norm(layer.k_norm, k);
  if (!rope.inverse_frequency.empty()) {
    q = ops.rope(rope, positions, c.head_size, std::move(q));
    k = ops.rope(rope, positions, c.head_size, std::move(k));
  }
  const AttentionSpec spec = {c.heads,
                              c.kv_heads,
                              c.head_size,
                              static_cast<float>(c.attention_scale),
                              static_cast<float>(c.attention_soft_cap),
                              c.window_of(index),
                              !c.encoder};
  const int64_t cached = c.encoder ? 0 : index;
  return ops.linear(layer.o, ops.attention(spec, cached, batch.spans, q, k, v));
}

Tensor mlp_block(const ModelConfig& c, const Layer& layer, Ops& ops, const Tensor& x) {
  if (!c.gated) return ops.linear(layer.down, ops.activate(c.activation, ops.linear(layer.up, x)));
  const std::array<const Linear*, 2> both = {&layer.gate, &layer.up};
  std::vector<Tensor> projected = ops.linears(both, x);
  return ops.linear(layer.down, ops.gate(c.activation, std::move(projected[0]), projected[1]));
}

}  // namespace

void Batch::add(KvCache& cache, std::span<const int32_t> tokens, bool all_logits) {
  const auto first = static_cast<int64_t>(ids.size());
  const auto count = static_cast<int64_t>(tokens.size());
  ids.insert(ids.end(), tokens.begin(), tokens.end());
  spans.push_back({&cache, first, count, cache.length()});
  for (int64_t r = all_logits ? 0 : count - 1; r < count; ++r) logit_rows.push_back(first + r);
}

std::vector<int32_t> positions_of(const Batch& batch) {
  std::vector<int32_t> positions(batch.ids.size());
  for (const SequenceSpan& span : batch.spans) {
    for (int64_t i = 0; i < span.rows; ++i) {
      positions[static_cast<size_t>(span.first_row + i)] = static_cast<int32_t>(span.start + i);
    }
  }
  return positions;
}

Tensor embed(const Model& model, Ops& ops, const Batch& batch, std::span<const int32_t> positions) {
  const ModelConfig& c = model.config;
  Tensor x = ops.embed(model.embedding, batch.ids, static_cast<float>(c.embedding_scale));
  if (c.token_types > 0) {
    const int32_t type = 0;
    x = ops.add(std::move(x), ops.embed(model.token_types, {&type, 1}, 1.0f));
  }
  if (c.learned_positions) {
    std::vector<int32_t> rows(positions.begin(), positions.end());
    for (int32_t& row : rows) row += static_cast<int32_t>(c.position_offset);
    x = ops.add(std::move(x), ops.embed(model.positions, rows, 1.0f));
  }
  return c.embedding_norm ? ops.norm(model.embedding_norm, x) : x;
}

Tensor run_attention(const ModelConfig& c, const Layer& layer, int64_t index, const Rope& rope,
                     Ops& ops, const Batch& batch, std::span<const int32_t> positions, Tensor x) {
  LATHE_CHECK(has_halves(c));
  if (c.post_norm) {
    Tensor attended = attention_block(c, layer, index, rope, ops, batch, positions, x);
    return ops.norm(layer.attention_output_norm, ops.add(std::move(attended), x));
  }
  Tensor attended =
      attention_block(c, layer, index, rope, ops, batch, positions, ops.norm(layer.input_norm, x));
  if (c.output_norms) attended = ops.norm(layer.attention_output_norm, attended);
  return ops.add(std::move(x), attended);
}

Tensor run_mlp(const ModelConfig& c, const Layer& layer, Ops& ops, Tensor x) {
  LATHE_CHECK(has_halves(c));
  if (c.post_norm) {
    return ops.norm(layer.mlp_output_norm, ops.add(mlp_block(c, layer, ops, x), x));
  }
  Tensor mixed = mlp_block(c, layer, ops, ops.norm(layer.mlp_input_norm, x));
  if (c.output_norms) mixed = ops.norm(layer.mlp_output_norm, mixed);
  return ops.add(std::move(x), mixed);
}

Tensor run_layer(const ModelConfig& c, const Layer& layer, int64_t index, const Rope& rope,
                 Ops& ops, const Batch& batch, std::span<const int32_t> positions, Tensor x) {
  if (has_halves(c)) {
    x = run_attention(c, layer, index, rope, ops, batch, positions, std::move(x));
    return run_mlp(c, layer, ops, std::move(x));
  }
  const Tensor normed = ops.norm(layer.input_norm, x);
  Tensor attended = attention_block(c, layer, index, rope, ops, batch, positions, normed);
  if (c.output_norms) attended = ops.norm(layer.attention_output_norm, attended);
  return ops.add(ops.add(std::move(x), attended), mlp_block(c, layer, ops, normed));
}

Tensor logits(const Model& model, Ops& ops, const Tensor& x) {
  Tensor out = ops.linear(model.head, ops.norm(model.final_norm, x));
  if (model.config.final_soft_cap > 0) {
    out = ops.soft_cap(static_cast<float>(model.config.final_soft_cap), std::move(out));
  }
  return out;
}

Tensor hidden_states(const Model& model, Ops& ops, const Batch& batch) {
  const std::vector<int32_t> positions = positions_of(batch);
  for (const SequenceSpan& span : batch.spans) {
    LATHE_CHECK(span.start == span.cache->length());
    LATHE_CHECK(span.start + span.rows <= span.cache->capacity());
    LATHE_CHECK(!model.config.encoder || span.start == 0);
  }
  Tensor x = embed(model, ops, batch, positions);
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const auto index = static_cast<int64_t>(i);
    const Rope& rope = model.config.local(index) ? model.local_rope : model.rope;
    x = run_layer(model.config, model.layers[i], index, rope, ops, batch, positions, std::move(x));
  }
  for (const SequenceSpan& span : batch.spans) span.cache->set_length(span.start + span.rows);
  return x;
}

Tensor forward(const Model& model, Ops& ops, const Batch& batch) {
  Tensor x = hidden_states(model, ops, batch);
  if (!batch.logit_rows.empty()) x = ops.take_rows(batch.logit_rows, x);
  return logits(model, ops, x);
}

}  // namespace lathe
