// Ops: the some fifteen operations that the one forward pass is written over.
//
// Inference calls a backend's Ops directly. Calibration, profiling, checking and (later) training
// wrap an Ops and forward to it, so there is no second copy of the model's mathematics. All
// operations take f32 activations, row-major [T, …], T being the tokens of all sequences of a batch
// one after another. Operations that take a Tensor by value may reuse its block when nobody else
// holds it.
//
// Shape letters: T tokens, C hidden, H query heads, G key/value heads, D head size, N rows out, K
// columns in.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lathe/backend/kv_cache.h"
#include "lathe/base/result.h"
#include "lathe/base/threads.h"
#include "lathe/formats/weight_matrix.h"
#include "lathe/tensor/tensor.h"

namespace lathe {

// A weight matrix in the layout that a backend's kernels want. Immutable; shared by sessions.
class PackedMatrix {
 public:
  virtual ~PackedMatrix() = default;
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  const std::string& format() const { return format_; }  // spec of the stored format
  virtual int64_t bytes() const = 0;                     // memory held, mapped source included
  virtual std::string kernel() const = 0;                // "int4 avx512", "decode portable", …

 protected:
  PackedMatrix(int64_t rows, int64_t cols, std::string format)
      : rows_(rows), cols_(cols), format_(std::move(format)) {}

 private:
  int64_t rows_, cols_;
  std::string format_;
};

// y = x·Wᵀ + bias. `name` is the canonical name of the matrix ("model.layers.0.self_attn.q_proj"),
// for taps and traces.
struct Linear {
  std::string name;
  std::shared_ptr<const PackedMatrix> weight;
  std::vector<float> bias;  // [N], or empty

  bool empty() const { return !weight; }
};

enum class NormKind : uint8_t { kRms, kLayer };

// Applied to every run of `weight.size()` values of a row, so that a norm of head size D serves
// QK-norm.
//   RMS:   x / sqrt(mean(x²) + eps) · w        layer: (x − mean) / sqrt(var + eps) · w + b
// Gemma's (1 + w) is folded into `weight` at load.
struct Norm {
  std::string name;
  NormKind kind = NormKind::kRms;
  float eps = 1e-5f;
  std::vector<float> weight;
  std::vector<float> bias;  // layer norm only; may be empty

  bool empty() const { return weight.empty(); }
};

enum class Activation : uint8_t { kSilu, kGeluErf, kGeluTanh, kRelu };

// Rotary positions, "half rotation" as in Hugging Face: element i pairs with i + rotary/2, i <
// rotary/2. angle(p, i) = p · inverse_frequency[i]; cosine and sine are both multiplied by `scale`
// (YaRN, LongRoPE). Elements from `rotary` on pass through.
struct Rope {
  std::vector<float> inverse_frequency;  // [rotary/2]; empty: no rotation
  float scale = 1.0f;
};

struct AttentionSpec {
  int64_t heads, kv_heads, head_size;  // H, G, D; H is a multiple of G
  float scale;                         // scores = scale · q·k
  float soft_cap = 0;                  // > 0: scores = cap · tanh(scores / cap)
  int64_t window = 0;  // > 0: a query sees itself and the window − 1 positions before it
  // False: a query sees what follows it in its span as well. Not together with a window.
  bool causal = true;
};

// Rows [first_row, first_row + rows) of the batch are the positions start … start + rows − 1 of the
// sequence whose keys and values lie in `cache`.
struct SequenceSpan {
  KvCache* cache;
  int64_t first_row, rows, start;
};

class Ops {
 public:
  virtual ~Ops() = default;

  virtual std::string name() const = 0;  // "cpu avx512", "check(cpu avx512, cpu portable)", …
  virtual ThreadPool& threads() = 0;

  // Repacks a matrix into the layout of the best kernel for it. The result may share the source's
  // bytes.
  virtual std::shared_ptr<const PackedMatrix> pack(WeightMatrix weights) = 0;

  // [T] ids → [T, C]: rows of the table times `scale`. Ids must lie in the table.
  virtual Tensor embed(const WeightMatrix& table, std::span<const int32_t> ids, float scale) = 0;

  // [T, K] → [T, N].
  virtual Tensor linear(const Linear& w, const Tensor& x) = 0;
  // Several products of the same input, [T, K] → [T, Nᵢ] each. The composed form calls linear().
  virtual std::vector<Tensor> linears(std::span<const Linear* const> ws, const Tensor& x);

  virtual Tensor norm(const Norm& n, const Tensor& x) = 0;
  virtual Tensor add(Tensor a, const Tensor& b) = 0;  // b may be [1, C]: added to every row
  virtual Tensor activate(Activation f, Tensor x) = 0;
  virtual Tensor gate(Activation f, Tensor gate, const Tensor& up) = 0;  // f(gate) · up
  // [T, heads·D] rotated by positions[T].
  virtual Tensor rope(const Rope& r, std::span<const int32_t> positions, int64_t head_size,
                      Tensor x) = 0;
  // q [T, H·D], k and v [T, G·D] → [T, H·D]. Writes k and v into layer `layer` of each span's
  // cache, then attends over everything there, causally unless the spec says otherwise.
  virtual Tensor attention(const AttentionSpec& spec, int64_t layer,
                           std::span<const SequenceSpan> spans, const Tensor& q, const Tensor& k,
                           const Tensor& v) = 0;
  virtual Tensor soft_cap(float cap, Tensor x) = 0;  // cap · tanh(x / cap)
  virtual Tensor take_rows(std::span<const int64_t> rows, const Tensor& x) = 0;
};

}  // namespace lathe
