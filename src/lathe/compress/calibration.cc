#include "lathe/compress/calibration.h"

#include <algorithm>
#include <cmath>

#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/backend/tap_ops.h"
#include "lathe/compress/gram_sum.h"
#include "lathe/model/forward.h"
#include "lathe/model/rope.h"

namespace lathe {
namespace {

constexpr int64_t kDefaultContext = 4096;

// Sums up the inputs of matrices; one that shares its input with others counts under the name of
// the first.
class GramTap : public WrappedOps {
 public:
  struct Input {
    std::vector<std::string> sharing;
    std::unique_ptr<GramSum> sum;
  };
  // `tokens` of all samples.
  GramTap(Ops& inner, int64_t tokens, FormatPtr products)
      : WrappedOps(inner), tokens_(tokens), products_(std::move(products)) {}

  std::map<std::string, Input>& inputs() { return inputs_; }

  Tensor linear(const Linear& w, const Tensor& x) override {
    see({w.name}, x);
    return inner().linear(w, x);
  }
  std::vector<Tensor> linears(std::span<const Linear* const> ws, const Tensor& x) override {
    see(names_of(ws), x);
    return inner().linears(ws, x);
  }

 protected:
  static std::vector<std::string> names_of(std::span<const Linear* const> ws) {
    std::vector<std::string> names;
    for (const Linear* w : ws) names.push_back(w->name);
    return names;
  }
  void see(std::vector<std::string> sharing, const Tensor& x) {
    Input& input = inputs_[sharing.front()];
    if (!input.sum) {
      input.sharing = std::move(sharing);
      input.sum = std::make_unique<GramSum>(inner(), x.cols(), tokens_, products_);
    }
    input.sum->add(x);
  }

 private:
  int64_t tokens_;
  FormatPtr products_;
  std::map<std::string, Input> inputs_;
};

// The input of one matrix only. What comes after it in the layer is not computed: its results have
// their shape and no meaning.
class OneGramTap final : public GramTap {
 public:
  OneGramTap(Ops& inner, const std::string& name, int64_t tokens, FormatPtr products)
      : GramTap(inner, tokens, std::move(products)), name_(name) {}

  void begin_sample() { done_ = false; }

  Tensor linear(const Linear& w, const Tensor& x) override {
    if (!done_ && w.name == name_) {
      see({w.name}, x);
      done_ = true;
    }
    return done_ ? Tensor(x.rows(), w.weight->rows()) : inner().linear(w, x);
  }
  std::vector<Tensor> linears(std::span<const Linear* const> ws, const Tensor& x) override {
    if (!done_ && std::any_of(ws.begin(), ws.end(), [&](auto* w) { return w->name == name_; })) {
      see(names_of(ws), x);
      done_ = true;
    }
    if (!done_) return inner().linears(ws, x);
    std::vector<Tensor> out;
    for (const Linear* w : ws) out.emplace_back(x.rows(), w->weight->rows());
    return out;
  }
  Tensor norm(const Norm& n, const Tensor& x) override { return done_ ? x : inner().norm(n, x); }
  Tensor add(Tensor a, const Tensor& b) override {
    return done_ ? a : inner().add(std::move(a), b);
  }
  Tensor activate(Activation f, Tensor x) override {
    return done_ ? x : inner().activate(f, std::move(x));
  }
  Tensor gate(Activation f, Tensor gate, const Tensor& up) override {
    return done_ ? gate : inner().gate(f, std::move(gate), up);
  }
  Tensor rope(const Rope& r, std::span<const int32_t> positions, int64_t head_size,
              Tensor x) override {
    return done_ ? x : inner().rope(r, positions, head_size, std::move(x));
  }
  Tensor attention(const AttentionSpec& spec, int64_t layer, std::span<const SequenceSpan> spans,
                   const Tensor& q, const Tensor& k, const Tensor& v) override {
    return done_ ? q : inner().attention(spec, layer, spans, q, k, v);
  }

 private:
  const std::string& name_;
  bool done_ = false;
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

Result<Math> calibration_math() {
  LATHE_TRY(const Isa isa, chosen_isa());
  return chosen_math(isa == Isa::kAmx ? Math::kFast : Math::kExact);
}

FormatPtr gram_format(Isa isa, Math math) {
  return parse_format(isa == Isa::kAmx && math == Math::kFast ? "bf16" : "f32").value();
}

Result<std::unique_ptr<CalibrationStream>> CalibrationStream::create(
    const Checkpoint& source, std::vector<std::vector<int32_t>> samples, ThreadPool& pool) {
  LATHE_TRY(const Isa isa, chosen_isa());
  LATHE_TRY(const Math math, calibration_math());
  const ModelConfig& c = source.config();
  std::unique_ptr<CalibrationStream> out(new CalibrationStream);
  // The pool belongs to the caller.
  out->ops_ = make_cpu_ops(isa, pool, math);
  out->products_ = gram_format(isa, math);
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
  halfway_ = false;
  return {};
}

// What of a layer run() passes through.
enum class CalibrationStream::Part { kRest, kAttention };

Status CalibrationStream::run(const Checkpoint& current, int64_t index, Ops& ops, Part part,
                              const std::function<void()>& begin_sample) {
  LATHE_TRY(const Layer layer, load_layer(current, *ops_, index));
  const ModelConfig& config = current.config();
  const Rope& rope = config.local(index) ? local_rope_ : rope_;
  int64_t longest = 0;
  for (const auto& sample : samples_) {
    longest = std::max(longest, static_cast<int64_t>(sample.size()));
  }
  // A cache of one layer: the index only chooses a place in it.
  LATHE_TRY(KvCache cache, KvCache::create(config.kv_shape(), longest));
  const bool keep = !begin_sample;
  for (size_t s = 0; s < samples_.size(); ++s) {
    if (!keep) begin_sample();
    Batch batch;
    cache.set_length(0);
    batch.add(cache, samples_[s], true);
    const std::vector<int32_t> positions = positions_of(batch);
    Tensor x = keep ? std::move(states_[s]) : states_[s];
    if (halfway_) {
      x = run_mlp(config, layer, ops, std::move(x));
    } else if (part == Part::kAttention) {
      x = run_attention(config, layer, index, rope, ops, batch, positions, std::move(x));
    } else {
      x = run_layer(config, layer, index, rope, ops, batch, positions, std::move(x));
    }
    if (keep) states_[s] = std::move(x);
  }
  return {};
}

Result<std::shared_ptr<const LinearStats>> CalibrationStream::collect(
    const Checkpoint& current, int64_t layer, const std::string& name,
    std::vector<std::string>& sharing) {
  OneGramTap tap(*ops_, name, tokens_, products_);
  LATHE_OK(run(current, layer, tap, Part::kRest, [&] { tap.begin_sample(); }));
  LATHE_CHECK(tap.inputs().size() == 1);
  GramTap::Input& input = tap.inputs().begin()->second;
  sharing = std::move(input.sharing);
  return input.sum->finish();
}

Status CalibrationStream::advance_attention(const Checkpoint& current, int64_t layer) {
  if (halfway_ || !has_halves(current.config())) return {};
  LATHE_OK(run(current, layer, *ops_, Part::kAttention));
  halfway_ = true;
  return {};
}

Status CalibrationStream::advance(const Checkpoint& current, int64_t layer) {
  LATHE_OK(run(current, layer, *ops_, Part::kRest));
  halfway_ = false;
  return {};
}

Status CalibrationStream::advance(const Checkpoint& current, int64_t layer,
                                  std::map<std::string, LinearStats>& squares) {
  LATHE_CHECK(!halfway_);
  SquareTap tap(*ops_, squares);
  return run(current, layer, tap, Part::kRest);
}

Status CalibrationStream::advance(const Checkpoint& current, int64_t layer,
                                  std::vector<SharedInput>& inputs) {
  LATHE_CHECK(!halfway_);
  GramTap tap(*ops_, tokens_, products_);
  LATHE_OK(run(current, layer, tap, Part::kRest));
  for (auto& [name, input] : tap.inputs()) {
    inputs.push_back({std::move(input.sharing), input.sum->finish()});
  }
  return {};
}

}  // namespace lathe
