#include "lathe/compress/passes/sparse.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "lathe/compress/recipe.h"

namespace lathe {
namespace {

Result<nlohmann::json> check_sparsity(const nlohmann::json& value) {
  LATHE_TRY(const double sparsity, sparsity_from_json(value));
  return nlohmann::json(sparsity);
}

Result<nlohmann::json> check_pattern_text(const nlohmann::json& value) {
  LATHE_OK(parse_pattern(value));
  return value;
}

}  // namespace

Result<SparsePattern> parse_pattern(const nlohmann::json& value) {
  const std::string text = value.is_string() ? value.get<std::string>() : std::string();
  if (value.is_string() && text.empty()) return SparsePattern{};
  int used = 0;
  int keep = 0, of = 0;
  if (std::sscanf(text.c_str(), "%2d:%2d%n", &keep, &of, &used) == 2 &&
      used == static_cast<int>(text.size()) && keep >= 1 && keep < of && of <= 32) {
    return SparsePattern{keep, of};
  }
  return bad_input("must be N:M with 1 ≤ N < M ≤ 32, such as 2:4, not {}", value.dump());
}

PassParameter sparsity_parameter() {
  return {"sparsity", nlohmann::json(nlohmann::json::value_t::discarded),
          "the share of the weights that becomes zero, 0 to 0.95", check_sparsity};
}

PassParameter pattern_parameter() {
  return {"pattern", "", "N:M: of M neighbours in a row N stay (2:4 with sparsity 0.5)",
          check_pattern_text};
}

double sparsity_of(const SparsePattern& pattern) {
  if (pattern.of == 0) return 0;
  return 1.0 - static_cast<double>(pattern.keep) / static_cast<double>(pattern.of);
}

SparsePattern pattern_of(const StepTarget& target, const SparsePattern& of_pass) {
  return target.pattern.empty() ? of_pass : parse_pattern(target.pattern).value();
}

Status check_pattern(const SparsePattern& pattern, double sparsity) {
  if (pattern.of == 0 || sparsity == 0) return {};
  const double own = sparsity_of(pattern);
  if (std::fabs(own - sparsity) < 1e-6) return {};
  return bad_input("pattern {}:{} has a sparsity of {:g}, not {:g}", pattern.keep, pattern.of, own,
                   sparsity);
}

std::vector<uint8_t> mask_by_row(const float* scores, int64_t rows, int64_t cols, double sparsity,
                                 const SparsePattern& pattern, ThreadPool& pool) {
  std::vector<uint8_t> mask(static_cast<size_t>(rows * cols));
  const int64_t run = pattern.of > 0 ? pattern.of : cols;
  pool.parallel_for(rows, 4, [&](int64_t first, int64_t last) {
    std::vector<int64_t> order;
    for (int64_t at = first * cols; at < last * cols;) {
      const int64_t left = cols - at % cols;
      const int64_t count = std::min(run, left);
      const int64_t pruned = pattern.of > 0 ? std::max(int64_t{0}, count - pattern.keep)
                                            : std::llround(sparsity * static_cast<double>(count));
      order.resize(static_cast<size_t>(count));
      std::iota(order.begin(), order.end(), at);
      std::nth_element(order.begin(), order.begin() + std::max(int64_t{0}, pruned - 1), order.end(),
                       [&](int64_t a, int64_t b) {
                         return scores[a] != scores[b] ? scores[a] < scores[b] : a < b;
                       });
      for (int64_t i = 0; i < pruned; ++i) mask[size_t(order[size_t(i)])] = 1;
      at += count;
    }
  });
  return mask;
}

}  // namespace lathe
