#include "lathe/eval/metrics/perplexity.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "lathe/base/suggest.h"
#include "lathe/eval/metrics/python_text.h"

namespace lathe {
namespace {

struct NamedConvention {
  PerplexityConvention convention;
  std::string_view name;
};

constexpr NamedConvention kConventions[] = {
    {PerplexityConvention::kPapers, "papers"},
    {PerplexityConvention::kHfStride, "hf-stride"},
    {PerplexityConvention::kLlamaCpp, "llama.cpp"},
    {PerplexityConvention::kLmEval, "lm-eval"},
};

using Windows = std::vector<TokenWindow>;

TokenWindow make_window(int64_t begin, int64_t end, int64_t score_from, WindowBos bos) {
  return {begin, end, score_from, bos, end - score_from};
}

Error too_short(int64_t n_tokens, int64_t needed, const PerplexityPlan& plan) {
  return bad_input("perplexity ({}, window {}): the text has {} tokens, {} are needed",
                   to_string(plan.convention), plan.window, n_tokens, needed)
      .with_hint("use a longer text or a smaller window");
}

Result<Windows> plan_papers(int64_t n, const PerplexityPlan& plan) {
  if (n < plan.window) return too_short(n, plan.window, plan);
  Windows windows;
  for (int64_t begin = 0; begin + plan.window <= n; begin += plan.window) {
    windows.push_back(make_window(begin, begin + plan.window, begin + 1, WindowBos::kNone));
  }
  return windows;
}

Result<Windows> plan_hf_stride(int64_t n, const PerplexityPlan& plan) {
  if (n < 2) return too_short(n, 2, plan);
  Windows windows;
  int64_t counted = 0;  // tokens that earlier windows have taken care of
  for (int64_t begin = 0; counted < n; begin += plan.stride) {
    const int64_t end = std::min(begin + plan.window, n);
    TokenWindow w = make_window(begin, end, std::max(counted, begin + 1), WindowBos::kNone);
    w.weight = end - counted - 1;
    // One that weighs nothing, a last window that brings one new token, need not be run.
    if (w.weight > 0) windows.push_back(w);
    counted = end;
  }
  return windows;
}

Result<Windows> plan_llama_cpp(int64_t n, const PerplexityPlan& plan) {
  if (n < 2 * plan.window) return too_short(n, 2 * plan.window, plan);
  const WindowBos bos = plan.add_bos ? WindowBos::kReplace : WindowBos::kNone;
  Windows windows;
  for (int64_t begin = 0; begin + plan.window <= n; begin += plan.window) {
    windows.push_back(make_window(begin, begin + plan.window, begin + plan.window / 2 + 1, bos));
  }
  return windows;
}

Windows plan_lm_eval(int64_t n, const PerplexityPlan& plan) {
  Windows windows;
  if (n == 0) return windows;
  int64_t counted = std::min(plan.window, n);
  windows.push_back(make_window(0, counted, 0, WindowBos::kPrepend));
  while (counted < n) {
    const int64_t end = std::min(counted + plan.window, n);
    windows.push_back(make_window(end - plan.window - 1, end, counted, WindowBos::kNone));
    counted = end;
  }
  return windows;
}

}  // namespace

Result<PerplexityConvention> parse_perplexity_convention(std::string_view name) {
  for (const auto& known : kConventions) {
    if (known.name == name) return known.convention;
  }
  return bad_input("unknown perplexity convention '{}'", name)
      .with_hint(suggest(name, perplexity_convention_names()));
}

std::string_view to_string(PerplexityConvention convention) {
  for (const auto& known : kConventions) {
    if (known.convention == convention) return known.name;
  }
  LATHE_CHECK(false && "every convention has a name");
  return {};
}

std::vector<std::string> perplexity_convention_names() {
  std::vector<std::string> names;
  for (const auto& known : kConventions) names.emplace_back(known.name);
  return names;
}

Result<Windows> plan_windows(int64_t n_tokens, const PerplexityPlan& plan) {
  LATHE_CHECK(n_tokens >= 0);
  // Two tokens make one prediction; llama.cpp's needs its second half to hold one.
  const int64_t smallest = plan.convention == PerplexityConvention::kLmEval     ? 1
                           : plan.convention == PerplexityConvention::kLlamaCpp ? 3
                                                                                : 2;
  if (plan.window < smallest) {
    return bad_input("perplexity ({}): window {} is too small", to_string(plan.convention),
                     plan.window)
        .with_hint(fmt::format("use at least {}", smallest));
  }
  switch (plan.convention) {
    case PerplexityConvention::kPapers:
      return plan_papers(n_tokens, plan);
    case PerplexityConvention::kHfStride:
      if (plan.stride < 1 || plan.stride > plan.window) {
        return bad_input("perplexity (hf-stride): stride {} does not fit window {}", plan.stride,
                         plan.window)
            .with_hint("use a stride from 1 to the window, else tokens would be skipped");
      }
      return plan_hf_stride(n_tokens, plan);
    case PerplexityConvention::kLlamaCpp:
      return plan_llama_cpp(n_tokens, plan);
    case PerplexityConvention::kLmEval:
      break;
  }
  return plan_lm_eval(n_tokens, plan);
}

double LossTotals::add(const TokenWindow& window, double loss_sum) {
  const double weighted =
      window.weight == window.scored()
          ? loss_sum
          : loss_sum / static_cast<double>(window.scored()) * static_cast<double>(window.weight);
  loss += weighted;
  tokens += window.weight;
  return weighted;
}

void LossTotals::add(const LossTotals& document) {
  loss += document.loss;
  tokens += document.tokens;
  words += document.words;
  bytes += document.bytes;
}

double LossTotals::perplexity() const { return std::exp(loss / static_cast<double>(tokens)); }
double LossTotals::word_perplexity() const { return std::exp(loss / static_cast<double>(words)); }
double LossTotals::byte_perplexity() const { return std::exp(loss / static_cast<double>(bytes)); }
double LossTotals::bits_per_byte() const {
  return loss / static_cast<double>(bytes) / std::numbers::ln2;
}

int64_t lm_eval_word_count(std::string_view text) {
  int64_t words = 1;
  bool in_space = false;
  for (const char32_t c : decode_utf8(text)) {
    const bool space = is_python_space(c);
    if (space && !in_space) ++words;
    in_space = space;
  }
  return words;
}

}  // namespace lathe
