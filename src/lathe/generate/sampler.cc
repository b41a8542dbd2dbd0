#include "lathe/generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace lathe {
namespace {

struct Candidate {
  int32_t id;
  float logit;
  double weight;
};

bool likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// The first of the largest values. Sixteen maxima side by side, which the compiler turns into
// vectors; the first of several equal ones is then looked up.
int32_t first_of_largest(std::span<const float> x) {
  constexpr size_t kLanes = 16;
  float most[kLanes];
  std::fill_n(most, kLanes, x[0]);
  size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) most[j] = x[i + j] > most[j] ? x[i + j] : most[j];
  }
  for (; i < x.size(); ++i) most[0] = x[i] > most[0] ? x[i] : most[0];
  const float largest = *std::max_element(most, most + kLanes);
  const auto at = std::find(x.begin(), x.end(), largest);
  return at == x.end() ? 0 : static_cast<int32_t>(at - x.begin());
}

// Moves the fewest candidates whose weights reach `wanted` to the front, likeliest first; gives
// their number. Only these are sorted: they are sought among the likeliest 64, then four times as
// many, and so on.
size_t sort_until(std::vector<Candidate>& all, double wanted) {
  double kept = 0;
  size_t sorted = 0;
  for (size_t next = 64; sorted < all.size(); next *= 4) {
    const size_t end = std::min(all.size(), next);
    const auto first = all.begin() + static_cast<std::ptrdiff_t>(sorted);
    const auto last = all.begin() + static_cast<std::ptrdiff_t>(end);
    if (end < all.size()) std::nth_element(first, last - 1, all.end(), likelier);
    std::sort(first, last, likelier);
    for (; sorted < end; ++sorted) {
      if (kept >= wanted) return sorted;
      kept += all[sorted].weight;
    }
  }
  return sorted;
}

}  // namespace

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
  const int32_t best = first_of_largest(logits);
  if (options.temperature <= 0) return best;

  const double largest = logits[static_cast<size_t>(best)];
  const double floor =
      options.min_p > 0 ? largest + options.temperature * std::log(options.min_p) : -INFINITY;
  const bool top_p = options.top_p < 1;
  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  // Top-p counts what top-k has left, and min-p drops from that. Without top-p the order is all the
  // same, and what min-p drops need not be looked at again.
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] >= (top_p ? -INFINITY : floor)) {
      candidates.push_back({static_cast<int32_t>(i), logits[i], 0});
    }
  }
  if (candidates.empty()) return best;  // nothing but NaN
  // Which ones remain is decided without sorting all; the draw goes through them in order of id,
  // or of likelihood where top-p has sorted them.
  if (options.top_k > 0 && options.top_k < static_cast<int64_t>(candidates.size())) {
    const auto end = candidates.begin() + options.top_k;
    std::nth_element(candidates.begin(), end - 1, candidates.end(), likelier);
    candidates.erase(end, candidates.end());
    std::sort(candidates.begin(), candidates.end(),
              [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  }
  double total = 0;
  for (Candidate& c : candidates) {
    c.weight = std::exp((c.logit - largest) / options.temperature);
    total += c.weight;
  }
  if (top_p) {
    std::erase_if(candidates, [&](const Candidate& c) { return c.logit < floor; });
    const size_t count = sort_until(candidates, options.top_p * total);
    candidates.resize(std::max<size_t>(1, count));
    total = 0;
    for (const Candidate& c : candidates) total += c.weight;
  }
  double draw = rng.uniform() * total;
  for (const Candidate& c : candidates) {
    draw -= c.weight;
    if (draw < 0) return c.id;
  }
  return candidates.back().id;
}

}  // namespace lathe
