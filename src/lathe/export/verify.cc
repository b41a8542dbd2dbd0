#include "lathe/export/verify.h"

#include <algorithm>
#include <cmath>

#include "lathe/model/forward.h"

namespace lathe {
namespace {

constexpr const char* kText =
    "Once upon a time there was a lathe in a small workshop by the river. Every morning the old "
    "turner came in, put on his apron and said: \"What shall we make today?\" On Monday he made 12 "
    "chairs, on Tuesday 30 bowls, and on Wednesday he rested.\n\nThe capital of France is Paris. "
    "def add(a, b): return a + b";
constexpr int64_t kMostTokens = 96;

std::vector<TokenId> fixed_ids(const ModelConfig& config, int64_t count) {
  std::vector<TokenId> ids;
  for (int64_t i = 0; i < count; ++i) {
    ids.push_back(static_cast<TokenId>((i * i * 31 + i * 7 + 3) % config.vocab));
  }
  return ids;
}

Result<Tensor> logits_of(const Checkpoint& checkpoint, Ops& ops, std::span<const TokenId> ids) {
  const auto length = static_cast<int64_t>(ids.size());
  LATHE_TRY(const auto model, load_model(checkpoint, ops, {length}));
  LATHE_TRY(KvCache cache, KvCache::create(model->config.kv_shape(), length));
  Batch batch;
  batch.add(cache, ids, true);
  return forward(*model, ops, batch);
}

double log_sum(const float* row, int64_t count, double largest) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += std::exp(static_cast<double>(row[i]) - largest);
  return std::log(sum) + largest;
}

}  // namespace

Result<Verification> verify_export(const Checkpoint& source, const Checkpoint& exported,
                                   const EngineOptions& options) {
  LATHE_TRY(const auto ops, make_ops(options));
  Verification out;
  const ModelConfig& config = source.config();
  const int64_t most =
      std::min({kMostTokens, config.max_positions, exported.config().max_positions});
  std::vector<TokenId> ids;
  const auto tokenizer = tokenizer_of(source);
  if (tokenizer.ok()) {
    ids = (*tokenizer)->encode(kText);
    if (const auto other = tokenizer_of(exported); other.ok()) {
      out.same_tokens = (*other)->encode(kText) == ids;
    }
    if (static_cast<int64_t>(ids.size()) > most) ids.resize(static_cast<size_t>(most));
  } else {
    ids = fixed_ids(config, most);
  }
  LATHE_TRY(const Tensor a, logits_of(source, *ops, ids));
  LATHE_TRY(const Tensor b, logits_of(exported, *ops, ids));
  if (a.rows() != b.rows() || a.cols() != b.cols()) {
    return failed("the exported model has {} logits, the source {}", b.cols(), a.cols());
  }
  out.tokens = a.rows();
  int64_t agree = 0;
  for (int64_t r = 0; r < a.rows(); ++r) {
    const float *x = a.row(r), *y = b.row(r);
    const int64_t count = a.cols();
    const auto* top_x = std::max_element(x, x + count);
    const auto* top_y = std::max_element(y, y + count);
    agree += top_x - x == top_y - y ? 1 : 0;
    const double log_x = log_sum(x, count, *top_x), log_y = log_sum(y, count, *top_y);
    double kl = 0;
    for (int64_t i = 0; i < count; ++i) {
      out.largest_difference = std::max<double>(out.largest_difference, std::fabs(x[i] - y[i]));
      out.largest_logit = std::max<double>(out.largest_logit, std::fabs(x[i]));
      const double p = x[i] - log_x;
      kl += std::exp(p) * (p - (y[i] - log_y));
    }
    out.mean_kl += std::max(kl, 0.0) / static_cast<double>(a.rows());
  }
  out.equal = out.largest_difference == 0;
  out.top1_agreement = static_cast<double>(agree) / static_cast<double>(a.rows());
  return out;
}

}  // namespace lathe
