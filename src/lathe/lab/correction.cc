#include "lathe/lab/correction.h"

#include <algorithm>
#include <cmath>

#include "lathe/base/check.h"

namespace lathe {
namespace {

double log_factor(const Correction::Point& point) { return std::log(point.kl / point.sum); }

bool less(const Correction::Point& point, double sum) { return point.sum < sum; }

std::pair<double, double> sizes_of(const Correction::Point& a, const Correction::Point& b) {
  return std::minmax({a.bytes, b.bytes});
}

}  // namespace

void Correction::add(const Point& point) {
  LATHE_CHECK(point.bytes > 0 && point.sum > 0 && point.kl > 0);
  const auto at = std::lower_bound(points_.begin(), points_.end(), point.sum, less);
  if (at == points_.end() || at->sum != point.sum) points_.insert(at, point);
}

double Correction::predict(double sum) const {
  if (points_.empty() || sum <= 0) return sum;
  const auto above = std::lower_bound(points_.begin(), points_.end(), sum, less);
  if (above == points_.end()) return sum * std::exp(log_factor(points_.back()));
  if (above == points_.begin()) return sum * std::exp(log_factor(*above));
  const Point& below = *std::prev(above);
  const double share = std::log(sum / below.sum) / std::log(above->sum / below.sum);
  return sum * std::exp(std::lerp(log_factor(below), log_factor(*above), share));
}

std::optional<std::pair<double, double>> Correction::widest() const {
  std::optional<std::pair<double, double>> found;
  double most = std::log(kApart);
  for (size_t i = 1; i < points_.size(); ++i) {
    const double apart = std::abs(log_factor(points_[i]) - log_factor(points_[i - 1]));
    const auto sizes = sizes_of(points_[i - 1], points_[i]);
    const bool same = points_[i].sum < kSame * points_[i - 1].sum;
    if (apart <= most || same || closed_.contains(sizes)) continue;
    most = apart;
    found = sizes;
  }
  return found;
}

}  // namespace lathe
