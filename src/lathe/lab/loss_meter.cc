#include "lathe/lab/loss_meter.h"

#include <algorithm>
#include <cmath>

namespace lathe {
namespace {

// Rows of logits made at once: about 32 MB.
constexpr int64_t kChunkElems = int64_t{8} << 20;

struct RowChange {
  double kl, base_loss, loss, error, power, product, other_power;
  bool same_top;
};

double log_sum(const float* logits, int64_t count, float largest) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += std::exp(static_cast<double>(logits[i] - largest));
  return std::log(sum) + largest;
}

RowChange compare(const float* base, const float* other, int64_t count, int32_t next) {
  const float* base_top = std::max_element(base, base + count);
  const float* top = std::max_element(other, other + count);
  const double base_sum = log_sum(base, count, *base_top), sum = log_sum(other, count, *top);
  RowChange out = {};
  const double shift = sum - base_sum;
  for (int64_t i = 0; i < count; ++i) {
    const double p = base[i], q = other[i];
    out.kl += std::exp(p - base_sum) * (p - q + shift);
    out.error += (q - p) * (q - p);
    out.power += p * p;
    out.other_power += q * q;
    out.product += p * q;
  }
  out.kl = std::max(0.0, out.kl);  // rounding may leave a trace below zero
  out.base_loss = base_sum - base[next];
  out.loss = sum - other[next];
  out.same_top = base_top - base == top - other;
  return out;
}

// Rows [begin, end) of a sample's last hidden states.
Tensor logits_of(const Model& model, Ops& ops, const Tensor& states, int64_t begin, int64_t end) {
  std::vector<int64_t> rows;
  for (int64_t r = begin; r < end; ++r) rows.push_back(r);
  return logits(model, ops, ops.take_rows(rows, states));
}

}  // namespace

Tensor LossMeter::embedded(const Model& model, size_t sample) const {
  Batch batch;
  batch.ids = samples_[sample];
  std::vector<int32_t> positions(batch.ids.size());
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(i);
  return embed(model, ops_, batch, positions);
}

Result<Tensor> LossMeter::run(const Model& model, size_t sample, Tensor x, int64_t begin,
                              int64_t end) const {
  LATHE_TRY(KvCache cache,
            KvCache::create(model.kv_shape(), static_cast<int64_t>(samples_[sample].size())));
  Batch batch;
  batch.add(cache, samples_[sample], true);
  const std::vector<int32_t> positions = positions_of(batch);
  for (int64_t i = begin; i < end; ++i) {
    const Rope& rope = model.config.local(i) ? model.local_rope : model.rope;
    x = run_layer(model.config, model.layers[static_cast<size_t>(i)], i, rope, ops_, batch,
                  positions, std::move(x));
  }
  return x;
}

Result<std::unique_ptr<LossMeter>> LossMeter::create(std::shared_ptr<const Model> model, Ops& ops,
                                                     std::vector<std::vector<int32_t>> samples) {
  std::unique_ptr<LossMeter> out(new LossMeter(std::move(model), ops));
  const Model& m = *out->model_;
  int64_t rows = 0;
  for (const auto& sample : samples) {
    const auto length = static_cast<int64_t>(sample.size());
    if (length < 2) return bad_input("a sample of {} tokens predicts nothing", length);
    if (length > m.context) {
      return bad_input("samples of {} tokens, but this model takes {}", length, m.context)
          .with_hint("give a smaller --sample-length");
    }
    for (const int32_t id : sample) {
      if (id < 0 || id >= m.config.vocab) {
        return bad_input("token {} is not in the model's vocabulary of {}", id, m.config.vocab)
            .with_hint("the tokenizer beside the model belongs to another one");
      }
    }
    rows += length - 1;
  }
  if (rows == 0) return bad_input("no samples");
  out->samples_ = std::move(samples);
  const bool hold = rows * m.config.vocab * 4 <= kLogitBytes;
  for (size_t s = 0; s < out->samples_.size(); ++s) {
    out->states_.push_back(out->embedded(m, s));
    LATHE_TRY(Tensor last, out->run(m, s, out->states_[s], 0, m.config.layers));
    if (hold) {
      const auto end = static_cast<int64_t>(out->samples_[s].size()) - 1;
      out->logits_.push_back(logits_of(m, ops, last, 0, end));
    }
    out->last_.push_back(std::move(last));
  }
  return out;
}

Status LossMeter::advance_to(int64_t layer) {
  LATHE_CHECK(layer >= layer_);
  for (size_t s = 0; s < samples_.size(); ++s) {
    LATHE_TRY(states_[s], run(*model_, s, std::move(states_[s]), layer_, layer));
  }
  layer_ = layer;
  return {};
}

Result<LossChange> LossMeter::measure(const Model& changed, int64_t first) const {
  const int64_t vocab = changed.config.vocab, layers = changed.config.layers;
  LATHE_CHECK(first < 0 || first >= layer_);
  const int64_t at_once = std::max<int64_t>(16, kChunkElems / vocab);
  LossChange out;
  double loss = 0, base_loss = 0, product = 0, other_power = 0;
  for (size_t s = 0; s < samples_.size(); ++s) {
    Tensor x;
    if (first >= layers) {
      x = last_[s];
    } else {
      LATHE_TRY(x, run(changed, s, first < 0 ? embedded(changed, s) : states_[s],
                       first < 0 ? 0 : layer_, layers));
    }
    const auto rows = static_cast<int64_t>(samples_[s].size()) - 1;
    for (int64_t begin = 0; begin < rows; begin += at_once) {
      const int64_t end = std::min(rows, begin + at_once);
      const Tensor other = logits_of(changed, ops_, x, begin, end);
      const Tensor base =
          logits_.empty() ? logits_of(*model_, ops_, last_[s], begin, end) : Tensor();
      std::vector<RowChange> found(static_cast<size_t>(end - begin));
      ops_.threads().parallel_for(end - begin, 1, [&](int64_t from, int64_t to) {
        for (int64_t r = from; r < to; ++r) {
          const float* p = logits_.empty() ? base.row(r) : logits_[s].row(begin + r);
          found[static_cast<size_t>(r)] =
              compare(p, other.row(r), vocab, samples_[s][static_cast<size_t>(begin + r + 1)]);
        }
      });
      for (const RowChange& row : found) {
        out.kl += row.kl;
        out.top1 += row.same_top ? 1 : 0;
        out.output_mse += row.error;
        out.output_power += row.power;
        product += row.product;
        other_power += row.other_power;
        loss += row.loss;
        base_loss += row.base_loss;
      }
      out.tokens += end - begin;
    }
  }
  const auto tokens = static_cast<double>(out.tokens);
  const double norm = std::sqrt(out.output_power) * std::sqrt(other_power);
  out.cosine = norm > 0 ? product / norm : 1;
  out.kl /= tokens;
  out.top1 /= tokens;
  out.output_mse /= tokens * static_cast<double>(vocab);
  out.output_power /= tokens * static_cast<double>(vocab);
  out.ppl = std::exp(loss / tokens);
  out.base_ppl = std::exp(base_loss / tokens);
  if (!std::isfinite(out.kl)) return failed("the logits are not finite");
  return out;
}

}  // namespace lathe
