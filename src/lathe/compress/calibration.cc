#include "lathe/compress/calibration.h"

#include <algorithm>
#include <cmath>

#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/backend/tap_ops.h"
#include "lathe/model/forward.h"
#include "lathe/model/rope.h"

namespace lathe {
namespace {

constexpr int64_t kDefaultContext = 4096;

// Adds up Σ x xᵀ of the input that `name` shares with the other matrices of its call.
class GramTap final : public WrappedOps {
 public:
  GramTap(Ops& inner, const std::string& name) : WrappedOps(inner), name_(name) {}

  Tensor linear(const Linear& w, const Tensor& x) override {
    if (w.name == name_) {
      sharing_ = {w.name};
      add(x);
    }
    return inner().linear(w, x);
  }
  std::vector<Tensor> linears(std::span<const Linear* const> ws, const Tensor& x) override {
    if (std::any_of(ws.begin(), ws.end(), [&](const Linear* w) { return w->name == name_; })) {
      sharing_.clear();
      for (const Linear* w : ws) sharing_.push_back(w->name);
      add(x);
    }
    return inner().linears(ws, x);
  }

  std::shared_ptr<LinearStats> stats() const { return stats_; }
  const std::vector<std::string>& sharing() const { return sharing_; }

 private:
  // As one product of the backend: (xᵀ)·(xᵀ)ᵀ.
  void add(const Tensor& x) {
    const int64_t tokens = x.rows(), size = x.cols();
    if (!stats_) {
      stats_ = std::make_shared<LinearStats>();
      stats_->size = size;
      stats_->gram.resize(static_cast<size_t>(size * size));
      stats_->absolute.resize(static_cast<size_t>(size));
      stats_->largest.resize(static_cast<size_t>(size));
    }
    Tensor across(size, tokens);
    float* out = across.mutable_data();
    double* absolute = stats_->absolute.data();
    float* largest = stats_->largest.data();
    threads().parallel_for(size, 16, [&](int64_t begin, int64_t end) {
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t k = begin; k < end; ++k) {
          out[k * tokens + t] = x.row(t)[k];
          absolute[k] += static_cast<double>(std::fabs(x.row(t)[k]));
          largest[k] = std::max(largest[k], std::fabs(x.row(t)[k]));
        }
      }
    });
    const Linear columns{"", inner().pack(WeightMatrix::of_floats(out, size, tokens)), {}};
    const Tensor product = inner().linear(columns, across);
    stats_->tokens += tokens;
    double* gram = stats_->gram.data();
    threads().parallel_for(size * size, 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) gram[i] += static_cast<double>(product.data()[i]);
    });
  }

  const std::string& name_;
  std::shared_ptr<LinearStats> stats_;
  std::vector<std::string> sharing_;
};

// Adds up Σ x² of the inputs of all matrices.
class SquareTap final : public WrappedOps {
 public:
  SquareTap(Ops& inner, std::map<std::string, LinearStats>& squares)
      : WrappedOps(inner), squares_(squares) {}

  Tensor linear(const Linear& w, const Tensor& x) override {
    add(w.name, x);
    return inner().linear(w, x);
  }
  std::vector<Tensor> linears(std::span<const Linear* const> ws, const Tensor& x) override {
    for (const Linear* w : ws) add(w->name, x);
    return inner().linears(ws, x);
  }

 private:
  void add(const std::string& name, const Tensor& x) {
    LinearStats& stats = squares_[name];
    stats.size = x.cols();
    stats.square.resize(static_cast<size_t>(stats.size));
    stats.tokens += x.rows();
    double* square = stats.square.data();
    threads().parallel_for(stats.size, 64, [&](int64_t begin, int64_t end) {
      for (int64_t t = 0; t < x.rows(); ++t) {
        for (int64_t k = begin; k < end; ++k) {
          square[k] += static_cast<double>(x.row(t)[k]) * static_cast<double>(x.row(t)[k]);
        }
      }
    });
  }

  std::map<std::string, LinearStats>& squares_;
};

}  // namespace

Result<std::unique_ptr<CalibrationStream>> CalibrationStream::create(
    const Checkpoint& source, std::vector<std::vector<int32_t>> samples, ThreadPool& pool) {
  LATHE_TRY(const Isa isa, chosen_isa());
  LATHE_TRY(const Math math, chosen_math(Math::kExact));
  const ModelConfig& c = source.config();
  std::unique_ptr<CalibrationStream> out(new CalibrationStream);
  // The pool belongs to the caller.
  out->ops_ = make_cpu_ops(isa, pool, math);
  const int64_t context = std::min(c.max_positions, kDefaultContext);
  out->rope_ = make_rope(c.rope, context, c.max_positions);
  if (c.two_ropes) out->local_rope_ = make_rope(c.local_rope, context, c.max_positions);
  Model tables;
  tables.config = c;
  LATHE_TRY(tables.embedding, source.matrix("model.embed_tokens", c.vocab, c.hidden));
  if (c.learned_positions) {
    for (const MatrixInfo& info : matrices_of(c)) {
      if (info.name != "model.embed_positions") continue;
      LATHE_TRY(tables.positions, source.matrix(info.name, info.rows, info.cols));
    }
  }
  for (const auto& sample : samples) {
    const auto length = static_cast<int64_t>(sample.size());
    if (length > context) {
      return bad_input("calibration samples of {} tokens, but this model takes {}", length, context)
          .with_hint("give a smaller calibration length");
    }
    for (const int32_t id : sample) {
      if (id < 0 || id >= c.vocab) {
        return bad_input("token {} is not in the model's vocabulary of {}", id, c.vocab)
            .with_hint("the tokenizer beside the model belongs to another one");
      }
    }
    std::vector<int32_t> positions(sample.size());
    for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(i);
    Batch batch;
    batch.ids = sample;
    out->states_.push_back(embed(tables, *out->ops_, batch, positions));
    out->tokens_ += length;
  }
  out->samples_ = std::move(samples);
  return out;
}

Status CalibrationStream::set_states(std::vector<Tensor> states) {
  bool same = states.size() == states_.size();
  for (size_t s = 0; same && s < states.size(); ++s) {
    same = states[s].rows() == states_[s].rows() && states[s].cols() == states_[s].cols();
  }
  if (!same) return bad_input("the hidden states are of other samples");
  states_ = std::move(states);
  return {};
}

Status CalibrationStream::run(const Checkpoint& current, int64_t index, Ops& ops, bool keep) {
  LATHE_TRY(const Layer layer, load_layer(current, *ops_, index));
  const ModelConfig& config = current.config();
  const Rope& rope = config.local(index) ? local_rope_ : rope_;
  int64_t longest = 0;
  for (const auto& sample : samples_) {
    longest = std::max(longest, static_cast<int64_t>(sample.size()));
  }
  // A cache of one layer: the index only chooses a place in it.
  LATHE_TRY(KvCache cache, KvCache::create(config.kv_shape(), longest));
  for (size_t s = 0; s < samples_.size(); ++s) {
    Batch batch;
    cache.set_length(0);
    batch.add(cache, samples_[s], true);
    const std::vector<int32_t> positions = positions_of(batch);
    Tensor x = keep ? std::move(states_[s]) : states_[s];
    x = run_layer(config, layer, index, rope, ops, batch, positions, std::move(x));
    if (keep) states_[s] = std::move(x);
  }
  return {};
}

Result<std::shared_ptr<const LinearStats>> CalibrationStream::collect(
    const Checkpoint& current, int64_t layer, const std::string& name,
    std::vector<std::string>& sharing) {
  GramTap tap(*ops_, name);
  LATHE_OK(run(current, layer, tap, false));
  LATHE_CHECK(tap.stats() != nullptr);
  sharing = tap.sharing();
  return std::shared_ptr<const LinearStats>(tap.stats());
}

Status CalibrationStream::advance(const Checkpoint& current, int64_t layer) {
  return run(current, layer, *ops_, true);
}

Status CalibrationStream::advance(const Checkpoint& current, int64_t layer,
                                  std::map<std::string, LinearStats>& squares) {
  SquareTap tap(*ops_, squares);
  return run(current, layer, tap, true);
}

}  // namespace lathe
