#include "lathe/eval/divergence.h"

#include <algorithm>
#include <cmath>

#include "lathe/eval/data/dataset.h"
#include "lathe/eval/data/text_file.h"
#include "lathe/eval/metrics/window_values.h"
#include "lathe/eval/preflight.h"
#include "lathe/eval/tasks/window_loss.h"
#include "lathe/model/forward.h"

namespace lathe {
namespace {

using Kind = MetricDef::Kind;

// Rows of logits held at once, of both models together: about 64 MB of them.
constexpr int64_t kLogitElems = int64_t{8} << 20;

struct TokenDivergence {
  double kl, p_shift, base_loss, loss;
  bool same_top;
};

// ln of the sum of exponentials, and the place of the largest.
std::pair<double, int64_t> log_sum(const float* logits, int64_t count) {
  const float* best = std::max_element(logits, logits + count);
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += std::exp(static_cast<double>(logits[i]) - *best);
  return {std::log(sum) + *best, best - logits};
}

TokenDivergence compare(const float* base, const float* other, int64_t count, TokenId next) {
  const auto [base_sum, base_top] = log_sum(base, count);
  const auto [sum, top] = log_sum(other, count);
  double kl = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double p = base[i] - base_sum, q = other[i] - sum;
    kl += std::exp(p) * (p - q);
  }
  const double base_loss = base_sum - base[next], loss = sum - other[next];
  // Rounding may leave a trace below zero.
  return {std::max(0.0, kl), std::exp(-loss) - std::exp(-base_loss), base_loss, loss,
          base_top == top};
}

class DivergenceTask : public Task {
 public:
  DivergenceTask(const Engine& base, DivergenceOptions options)
      : base_(base), options_(std::move(options)) {}

  std::string name() const override { return "divergence"; }
  nlohmann::json parameters() const override {
    return {{"data", options_.data}, {"window", options_.window}, {"limit", options_.limit}};
  }
  nlohmann::json extra() const override {
    return {{"convention", "llama.cpp"}, {"window", options_.window}};
  }
  nlohmann::json preflight() const override { return preflight_; }
  int64_t sample_count() const override { return std::ssize(windows_); }
  std::vector<std::string> input_files() const override {
    const auto path = find_dataset(options_.data, "perplexity");
    return path.ok() ? std::vector{*path} : std::vector<std::string>();
  }

  std::vector<MetricDef> metrics() const override {
    MetricDef p99{"kl_p99", Kind::kCorpus, "", "", 1, "nats", "lower"};
    p99.fields = {"window"};
    p99.corpus = [this](const auto& columns, std::span<const int64_t> rows) {
      std::vector<int64_t> windows;
      for (const int64_t r : rows) {
        windows.push_back(static_cast<int64_t>(columns[0][static_cast<size_t>(r)]));
      }
      return token_kl_.quantile(windows, 0.99);
    };
    MetricDef max{"kl_max", Kind::kCorpus, "", "", 1, "nats", "lower"};
    max.fields = {"kl_max"};
    max.resampled = false;
    max.extra["interval"] = "none: no resample can exceed the largest value seen";
    max.corpus = [](const auto& columns, std::span<const int64_t>) {
      return *std::max_element(columns[0].begin(), columns[0].end());
    };
    MetricDef rms{"p_shift_rms", Kind::kCorpus, "", "", 1, "%", "lower"};
    rms.fields = {"p_shift_squares", "tokens"};
    rms.corpus = [](const auto& columns, std::span<const int64_t> rows) {
      double squares = 0, tokens = 0;
      for (const int64_t r : rows) {
        squares += columns[0][static_cast<size_t>(r)];
        tokens += columns[1][static_cast<size_t>(r)];
      }
      return 100 * std::sqrt(squares / tokens);
    };
    return {{"kl_mean", Kind::kRatio, "kl", "tokens", 1, "nats", "lower"},
            p99,
            max,
            {"top1_agreement", Kind::kRatio, "same_top", "tokens", 100, "%", "higher"},
            {"p_shift", Kind::kRatio, "p_shift", "tokens", 100, "%", "higher"},
            rms,
            {"ppl", Kind::kExpRatio, "nll", "tokens", 1, "", "lower"},
            {"base_ppl", Kind::kExpRatio, "base_nll", "tokens", 1, "", "lower"},
            {"ppl_ratio", Kind::kExpRatio, "nll_shift", "tokens", 1, "", "lower"}};
  }

  Status prepare(const Engine& engine) override {
    if (engine.tokenizer->hash() != base_.tokenizer->hash() ||
        engine.model->config.vocab != base_.model->config.vocab) {
      return bad_input("divergence: the two models have different tokenizers or vocabularies")
          .with_hint("compare a model with one that it was made from");
    }
    const int64_t context = std::min(engine.model->context, base_.model->context);
    if (options_.window > context) {
      return bad_input("divergence: a window of {} does not fit the context of {}", options_.window,
                       context);
    }
    LATHE_TRY(const std::string path, find_dataset(options_.data, "perplexity"));
    LATHE_TRY(const std::string text, read_utf8(path));
    tokens_ = engine.tokenizer->encode(text, {.add_special = true, .parse_special = false});
    const PerplexityPlan plan{PerplexityConvention::kLlamaCpp, options_.window, 0,
                              engine.tokenizer->adds_bos()};
    LATHE_TRY_IN(windows_, plan_windows(std::ssize(tokens_), plan), path);
    if (options_.limit > 0 && options_.limit < std::ssize(windows_)) {
      windows_.resize(static_cast<size_t>(options_.limit));
    }
    token_kl_ = WindowValues(windows_.size());
    Preflight preflight(engine, false);
    preflight.set("data", path);
    preflight.set("baseline", base_.model->path);
    preflight_ = preflight.report();
    return {};
  }

  Status run(const Engine& engine, const std::set<std::string>& done,
             const SampleSink& sink) override {
    for (size_t w = 0; w < windows_.size(); ++w) {
      const std::string id = std::to_string(w);
      if (done.count(id)) continue;
      LATHE_TRY(const auto tokens, of_window(engine, windows_[w]));
      Sample sample;
      sample.id = id;
      auto& s = sample.scores;
      s["window"] = static_cast<double>(w);
      for (const TokenDivergence& t : tokens) {
        token_kl_.add(w, static_cast<float>(t.kl));
        s["kl"] += t.kl;
        s["kl_max"] = std::max(s["kl_max"], t.kl);
        s["same_top"] += t.same_top ? 1 : 0;
        s["p_shift"] += t.p_shift;
        s["p_shift_squares"] += t.p_shift * t.p_shift;
        s["nll"] += t.loss;
        s["base_nll"] += t.base_loss;
        s["nll_shift"] += t.loss - t.base_loss;
        s["tokens"] += 1;
      }
      LATHE_OK(sink(std::move(sample)));
    }
    return {};
  }

 private:
  static Result<Tensor> states(const Engine& engine, const std::vector<TokenId>& ids) {
    LATHE_TRY(KvCache cache, KvCache::create(engine.model->kv_shape(), std::ssize(ids)));
    Batch batch;
    batch.add(cache, ids, true);
    return hidden_states(*engine.model, *engine.ops, batch);
  }

  Result<std::vector<TokenDivergence>> of_window(const Engine& engine,
                                                 const TokenWindow& window) const {
    int64_t first = 0;
    LATHE_TRY(const auto ids, window_tokens(engine, tokens_, window, first));
    LATHE_TRY(const Tensor base, states(base_, ids));
    LATHE_TRY(const Tensor other, states(engine, ids));
    std::vector<TokenDivergence> out(static_cast<size_t>(std::ssize(ids) - first));
    const int64_t vocab = engine.model->config.vocab;
    const int64_t at_once = std::clamp<int64_t>(kLogitElems / vocab, 16, 256);
    // Row r predicts token r + 1.
    for (int64_t r = first - 1; r < std::ssize(ids) - 1; r += at_once) {
      std::vector<int64_t> rows;
      for (int64_t i = r; i < std::min(std::ssize(ids) - 1, r + at_once); ++i) rows.push_back(i);
      const Tensor p = logits(*base_.model, *base_.ops, base_.ops->take_rows(rows, base));
      const Tensor q = logits(*engine.model, *engine.ops, engine.ops->take_rows(rows, other));
      engine.ops->threads().parallel_for(std::ssize(rows), 1, [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) {
          const TokenId next = ids[static_cast<size_t>(r + i + 1)];
          out[static_cast<size_t>(r + i + 1 - first)] = compare(p.row(i), q.row(i), vocab, next);
        }
      });
    }
    return out;
  }

  const Engine& base_;
  DivergenceOptions options_;
  nlohmann::json preflight_;
  std::vector<TokenId> tokens_;
  std::vector<TokenWindow> windows_;
  WindowValues token_kl_{0};
};

}  // namespace

std::unique_ptr<Task> make_divergence(const Engine& base, DivergenceOptions options) {
  return std::make_unique<DivergenceTask>(base, std::move(options));
}

}  // namespace lathe
