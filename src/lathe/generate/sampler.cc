#include "lathe/generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace lathe {

Status validate(const SamplingOptions& o) {
  if (!(o.temperature >= 0) || !std::isfinite(o.temperature)) {
    return bad_input("temperature is {}, expected 0 or more", o.temperature);
  }
  if (o.top_k < 0) return bad_input("top-k is {}, expected 0 (off) or more", o.top_k);
  if (!(o.top_p > 0) || o.top_p > 1)
    return bad_input("top-p is {}, expected above 0 to 1", o.top_p);
  if (!(o.min_p >= 0) || o.min_p > 1) return bad_input("min-p is {}, expected 0 to 1", o.min_p);
  return {};
}

int32_t sample(std::span<const float> logits, const SamplingOptions& options, Rng& rng) {
  const auto best = std::max_element(logits.begin(), logits.end());
  if (options.temperature <= 0) return static_cast<int32_t>(best - logits.begin());

  // Candidates, most likely first. With min-p, what lies below the threshold is never sorted.
  const double largest = *best;
  std::vector<int32_t> order;
  const double floor =
      options.min_p > 0 ? largest + options.temperature * std::log(options.min_p) : -INFINITY;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] >= floor) order.push_back(static_cast<int32_t>(i));
  }
  const auto likelier = [&](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
  if (options.top_k > 0 && options.top_k < static_cast<int64_t>(order.size())) {
    std::partial_sort(order.begin(), order.begin() + options.top_k, order.end(), likelier);
    order.resize(static_cast<size_t>(options.top_k));
  } else {
    std::sort(order.begin(), order.end(), likelier);
  }

  std::vector<double> weights(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    weights[i] = std::exp((logits[static_cast<size_t>(order[i])] - largest) / options.temperature);
  }
  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (options.top_p < 1) {
    double kept = 0;
    size_t count = 0;
    while (count < weights.size() && kept < options.top_p * total) kept += weights[count++];
    weights.resize(std::max<size_t>(1, count));
    total = std::accumulate(weights.begin(), weights.end(), 0.0);
  }
  double draw = rng.uniform() * total;
  for (size_t i = 0; i < weights.size(); ++i) {
    draw -= weights[i];
    if (draw < 0) return order[i];
  }
  return order[weights.size() - 1];
}

}  // namespace lathe
