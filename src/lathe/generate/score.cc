#include "lathe/generate/score.h"

#include <algorithm>
#include <cmath>

#include "lathe/model/forward.h"

namespace lathe {
namespace {

// Rows of logits held at once: about 32 MB of them.
constexpr int64_t kLogitElems = int64_t{8} << 20;
// Tokens of one forward pass; longer windows go through the cache in pieces.
constexpr int64_t kChunk = 512;

double loss_of(const float* logits, int64_t count, TokenId target) {
  const float largest = *std::max_element(logits, logits + count);
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += std::exp(static_cast<double>(logits[i]) - largest);
  return std::log(sum) + largest - logits[target];
}

}  // namespace

Result<std::vector<double>> token_losses(const Engine& engine, std::span<const TokenId> ids,
                                         int64_t first) {
  const Model& model = *engine.model;
  const auto length = static_cast<int64_t>(ids.size());
  LATHE_CHECK(first >= 1 && first <= length);
  // The last token is only predicted, not fed.
  const int64_t fed = std::max<int64_t>(1, length - 1);
  if (fed > model.context) {
    return bad_input("{} tokens do not fit the context of {}", fed, model.context);
  }
  for (const TokenId id : ids) {
    if (id < 0 || id >= model.config.vocab) {
      return bad_input("token {} is outside of the vocabulary", id);
    }
  }
  LATHE_TRY(KvCache cache, KvCache::create(model.kv_shape(), fed));
  std::vector<double> losses(static_cast<size_t>(length - first));
  const int64_t rows_at_once = std::clamp<int64_t>(kLogitElems / model.config.vocab, 16, 256);
  for (int64_t begin = 0; begin < fed; begin += kChunk) {
    const int64_t end = std::min(fed, begin + kChunk);
    Batch batch;
    batch.add(cache, ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)),
              true);
    const Tensor hidden = hidden_states(model, *engine.ops, batch);
    // Row r predicts token r + 1.
    const int64_t last_row = std::min(end, length - 1);
    for (int64_t r = std::max(begin, first - 1); r < last_row; r += rows_at_once) {
      const int64_t stop = std::min(last_row, r + rows_at_once);
      std::vector<int64_t> rows;
      for (int64_t i = r; i < stop; ++i) rows.push_back(i - begin);
      const Tensor out = logits(model, *engine.ops, engine.ops->take_rows(rows, hidden));
      engine.ops->threads().parallel_for(stop - r, 1, [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) {
          losses[static_cast<size_t>(r + i + 1 - first)] =
              loss_of(out.row(i), out.cols(), ids[static_cast<size_t>(r + i + 1)]);
        }
      });
    }
  }
  return losses;
}

}  // namespace lathe
