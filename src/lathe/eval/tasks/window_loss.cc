#include "lathe/eval/tasks/window_loss.h"

#include "lathe/generate/score.h"

namespace lathe {

Result<std::vector<TokenId>> window_tokens(const Engine& engine, const std::vector<TokenId>& tokens,
                                           const TokenWindow& window, int64_t& first) {
  std::vector<TokenId> ids;
  const auto bos = engine.tokenizer->bos() ? engine.tokenizer->bos() : engine.tokenizer->eos();
  if (window.bos != WindowBos::kNone && !bos) {
    return unsupported(
        "this perplexity convention needs a BOS or EOS token, and the tokenizer has neither");
  }
  if (window.bos == WindowBos::kPrepend) ids.push_back(*bos);
  const auto offset = static_cast<int64_t>(ids.size());
  ids.insert(ids.end(), tokens.begin() + window.begin, tokens.begin() + window.end);
  if (window.bos == WindowBos::kReplace) ids[0] = *bos;
  first = window.score_from - window.begin + offset;
  return ids;
}

Result<double> window_loss(const Engine& engine, const std::vector<TokenId>& tokens,
                           const TokenWindow& window) {
  int64_t first = 0;
  LATHE_TRY(const auto ids, window_tokens(engine, tokens, window, first));
  // The last token is only predicted; feeding it costs one row and changes nothing.
  LATHE_TRY(const auto losses, token_losses(engine, ids, first));
  double sum = 0;
  for (const double loss : losses) sum += loss;
  return sum;
}

}  // namespace lathe
