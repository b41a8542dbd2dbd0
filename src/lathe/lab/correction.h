// Correction: from the sum of what each matrix costs alone to what all of them cost together, by
// mixtures of which both are known. The factor between the two depends on the sum, and is linear in
// its logarithm from one mixture to the next. Where it changes much between two neighbours another
// mixture is wanted there, so that the prediction is as good where errors saturate as where they
// add up.
#pragma once

#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace lathe {

class Correction {
 public:
  // Neighbours whose factors differ by less need no mixture between them. Half of it is about what
  // a straight line between them can be off by.
  static constexpr double kApart = 1.1;
  // Nor do neighbours whose sums differ by less: what their factors differ by is chance.
  static constexpr double kSame = 1.05;

  struct Point {
    double bytes, sum, kl;  // all above 0
  };
  // One that is there already (the same sum) is left as it is.
  void add(const Point& point);
  size_t size() const { return points_.size(); }
  const std::vector<Point>& points() const { return points_; }

  // The sum itself as long as there are no points; beyond the last one, its factor.
  double predict(double sum) const;

  // Between which two sizes the factor changes most, if by more than kApart. Those with sums within
  // kSame, and those of which close() has said that there is nothing between, are left out.
  std::optional<std::pair<double, double>> widest() const;
  void close(const std::pair<double, double>& sizes) { closed_.insert(sizes); }

 private:
  std::vector<Point> points_;  // by rising sum
  std::set<std::pair<double, double>> closed_;
};

}  // namespace lathe
