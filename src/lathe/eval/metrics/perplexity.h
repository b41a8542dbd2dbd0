// Perplexity without the model: which tokens each convention feeds, and which losses it counts.
// The conventions give different numbers for the same model and text, so a perplexity is always
// reported with its convention; definitions and sources at each one below.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lathe/base/result.h"

namespace lathe {

enum class PerplexityConvention {
  // GPTQ, AWQ, SparseGPT, Wanda: the documents joined by blank lines and tokenized once; disjoint
  // windows, window − 1 losses each; what is left at the end is dropped; no BOS per window.
  kPapers,
  // "Perplexity of fixed-length models" in the transformers documentation: windows start every
  // `stride` tokens, and count only the tokens that no earlier window has counted. The mean loss of
  // each window is weighted by one token less than that number, as there ("batch_size" is taken
  // off); with stride < window this differs from the plain mean by parts in a thousand.
  kHfStride,
  // llama.cpp's perplexity tool: the raw file; disjoint windows, whose first token is replaced by
  // BOS where the model adds one; predictions from the middle of the window on are counted; at
  // least two windows; what is left at the end is dropped.
  kLlamaCpp,
  // lm-evaluation-harness's loglikelihood_rolling, for each document: every token is counted once,
  // the first is predicted from BOS (EOS where there is none), later windows overlap by one token,
  // and the last one reaches back so that it is full.
  kLmEval,
};

Result<PerplexityConvention> parse_perplexity_convention(std::string_view name);
std::string_view to_string(PerplexityConvention convention);
std::vector<std::string> perplexity_convention_names();

enum class WindowBos {
  kNone,
  kReplace,  // BOS takes the place of tokens[begin]
  kPrepend,  // BOS stands before tokens[begin]
};

// tokens[begin, end) of the text. The model is fed all of them but the last, which is only
// predicted; the loss of tokens[i] counts for score_from ≤ i < end.
struct TokenWindow {
  int64_t begin, end;
  int64_t score_from;
  WindowBos bos;
  // The tokens that the window weighs in the perplexity; scored() but in kHfStride.
  int64_t weight;

  int64_t scored() const { return end - score_from; }
  int64_t fed() const { return end - begin - 1 + (bos == WindowBos::kPrepend ? 1 : 0); }
};

struct PerplexityPlan {
  PerplexityConvention convention;
  int64_t window = 2048;  // tokens that the model sees at once
  int64_t stride = 512;   // kHfStride only; 1 ≤ stride ≤ window
  bool add_bos = false;   // kLlamaCpp: the model adds BOS. kLmEval always has its prefix token.
};

// The windows over n_tokens tokens, in order. kLmEval: of one document, none for an empty one. The
// others fail (kBadInput) where the text is too short to count a single loss; all of them where
// window or stride make no sense.
Result<std::vector<TokenWindow>> plan_windows(int64_t n_tokens, const PerplexityPlan& plan);

// What the windows of a text, or the documents of a set, gave. Loss in nats.
struct LossTotals {
  double loss = 0;
  int64_t tokens = 0;
  int64_t words = 0, bytes = 0;  // of the original text; kLmEval only

  // Adds a window whose losses sum to `loss_sum`. Returns what counts for it: its summed loss after
  // weighting, the numerator for the bootstrap over windows (the denominator is window.weight).
  double add(const TokenWindow& window, double loss_sum);
  void add(const LossTotals& document);

  // exp(loss / tokens), exp(loss / words), exp(loss / bytes), loss / (bytes · ln 2). Infinite where
  // a token was impossible; NaN where nothing was counted.
  double perplexity() const;
  double word_perplexity() const;
  double byte_perplexity() const;
  double bits_per_byte() const;
};

// Words as lm-evaluation-harness counts them, len(re.split(r"\s+", text)): runs of white space plus
// one, so that white space at an end, and the empty text, count an empty word.
int64_t lm_eval_word_count(std::string_view text);

}  // namespace lathe
