// The solver against every choice there is, and on instances of a real model's size.
#include "lathe/lab/choice_solver.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>

#include "lathe/base/rng.h"

namespace lathe {
namespace {

double uniform(Rng& rng) { return static_cast<double>(rng.below(1'000'000)) * 1e-6; }

// Losses that fall with the costs, as formats' do, or with no order at all.
ChoiceProblem random_problem(Rng& rng, int64_t groups, int64_t options, bool ordered) {
  ChoiceProblem problem;
  for (int64_t g = 0; g < groups; ++g) {
    std::vector<ChoiceOption> group;
    const double weight = std::exp(4 * uniform(rng));
    const auto count = 1 + static_cast<int64_t>(rng.below(static_cast<uint64_t>(options)));
    for (int64_t i = 0; i < count; ++i) {
      ChoiceOption option;
      // Whole numbers, so that sums are exact.
      option.cost = {static_cast<double>(1 + rng.below(40)), static_cast<double>(rng.below(40))};
      option.loss =
          ordered ? weight * std::exp2(-option.cost[0] / 4) * (0.5 + uniform(rng)) : uniform(rng);
      group.push_back(option);
    }
    problem.groups.push_back(std::move(group));
  }
  return problem;
}

struct Extremes {
  std::array<double, kBudgets> least = {}, most = {};
};
Extremes extremes(const ChoiceProblem& problem) {
  Extremes out;
  for (const auto& group : problem.groups) {
    for (size_t d = 0; d < kBudgets; ++d) {
      double least = group[0].cost[d], most = least;
      for (const ChoiceOption& option : group) {
        least = std::min(least, option.cost[d]);
        most = std::max(most, option.cost[d]);
      }
      out.least[d] += least;
      out.most[d] += most;
    }
  }
  return out;
}

// Infinite where no choice fits.
double brute_force(const ChoiceProblem& problem) {
  double best = kNoBudget;
  std::vector<size_t> choice(problem.groups.size(), 0);
  for (;;) {
    double loss = 0;
    std::array<double, kBudgets> cost = {};
    for (size_t g = 0; g < choice.size(); ++g) {
      const ChoiceOption& option = problem.groups[g][choice[g]];
      loss += option.loss;
      for (size_t d = 0; d < kBudgets; ++d) cost[d] += option.cost[d];
    }
    if (cost[0] <= problem.budget[0] && cost[1] <= problem.budget[1]) best = std::min(best, loss);
    size_t g = 0;
    while (g < choice.size() && ++choice[g] == problem.groups[g].size()) choice[g++] = 0;
    if (g == choice.size()) return best;
  }
}

void expect_consistent(const ChoiceProblem& problem, const ChoiceSolution& solution) {
  ASSERT_EQ(solution.choice.size(), problem.groups.size());
  double loss = 0;
  std::array<double, kBudgets> cost = {};
  for (size_t g = 0; g < problem.groups.size(); ++g) {
    const ChoiceOption& option = problem.groups[g].at(solution.choice[g]);
    loss += option.loss;
    for (size_t d = 0; d < kBudgets; ++d) cost[d] += option.cost[d];
  }
  EXPECT_DOUBLE_EQ(loss, solution.loss);
  for (size_t d = 0; d < kBudgets; ++d) {
    EXPECT_DOUBLE_EQ(cost[d], solution.cost[d]);
    EXPECT_LE(cost[d], problem.budget[d]);
  }
  EXPECT_LE(solution.bound, solution.loss);
}

TEST(ChoiceSolver, EqualsEveryChoiceThereIs) {
  Rng rng(7);
  int64_t feasible = 0, infeasible = 0;
  for (int trial = 0; trial < 1500; ++trial) {
    ChoiceProblem problem =
        random_problem(rng, 1 + static_cast<int64_t>(rng.below(7)), 5, trial % 3 != 0);
    const Extremes range = extremes(problem);
    for (size_t d = 0; d < kBudgets; ++d) {
      if (trial % 4 == static_cast<int>(d)) continue;  // one budget, the other one, or both
      const double share = -0.05 + 1.1 * uniform(rng);
      problem.budget[d] = std::floor(range.least[d] + share * (range.most[d] - range.least[d]));
    }
    const double expected = brute_force(problem);
    const auto found = solve_choice(problem);
    ASSERT_EQ(found.has_value(), std::isfinite(expected)) << "trial " << trial;
    found ? ++feasible : ++infeasible;
    if (!found) continue;
    expect_consistent(problem, *found);
    EXPECT_NEAR(found->loss, expected, 1e-9 * (1 + expected)) << "trial " << trial;
    EXPECT_NEAR(found->gap(), 0, 1e-9 * (1 + expected)) << "trial " << trial;
  }
  EXPECT_GT(feasible, 800);
  EXPECT_GT(infeasible, 100);
}

// With hardly any states the result may be worse, but the bound still tells how much at most.
TEST(ChoiceSolver, BoundHoldsWhereStatesAreDropped) {
  Rng rng(8);
  int64_t inexact = 0;
  for (int trial = 0; trial < 500; ++trial) {
    ChoiceProblem problem = random_problem(rng, 7, 5, trial % 2 == 0);
    const Extremes range = extremes(problem);
    for (size_t d = 0; d < kBudgets; ++d) {
      problem.budget[d] = std::floor(range.least[d] + 0.4 * (range.most[d] - range.least[d]));
    }
    problem.max_states = 2;
    const double expected = brute_force(problem);
    const auto found = solve_choice(problem);
    if (!found) continue;
    expect_consistent(problem, *found);
    EXPECT_LE(found->bound, expected + 1e-9);
    EXPECT_GE(found->loss, expected - 1e-9);
    inexact += found->gap() > 1e-9;
  }
  EXPECT_GT(inexact, 10);
}

TEST(ChoiceSolver, LeastCostWithinTheOtherBudget) {
  Rng rng(9);
  for (int trial = 0; trial < 200; ++trial) {
    ChoiceProblem problem = random_problem(rng, 5, 5, false);
    const Extremes range = extremes(problem);
    EXPECT_DOUBLE_EQ(least_cost(problem, 0).value(), range.least[0]);
    problem.budget[1] = std::floor(range.least[1] + 0.1 * (range.most[1] - range.least[1]));
    const double least = least_cost(problem, 0).value();
    problem.budget[0] = least;
    EXPECT_TRUE(solve_choice(problem).has_value());
    problem.budget[0] = least - 1;
    EXPECT_FALSE(solve_choice(problem).has_value());
  }
}

// 40 layers of seven matrices, twelve formats, bytes and nanoseconds.
TEST(ChoiceSolver, SlowRealSizesWithinATenThousandth) {
  for (const bool both : {false, true}) {
    Rng rng(10);
    ChoiceProblem problem;
    for (int g = 0; g < 280; ++g) {
      const double weights = 1e6 * static_cast<double>(1 + rng.below(8));
      const double sensitivity = std::exp(6 * uniform(rng));
      std::vector<ChoiceOption> group;
      for (int i = 0; i < 12; ++i) {
        const double bits = 2.5 + 0.5 * i + 0.2 * uniform(rng);
        group.push_back({sensitivity * std::exp2(-2 * bits) * (0.7 + 0.6 * uniform(rng)),
                         {std::floor(weights * bits / 8),
                          std::floor(weights * (0.6 + 0.8 * uniform(rng)) * bits / 100)}});
      }
      problem.groups.push_back(std::move(group));
    }
    const Extremes range = extremes(problem);
    problem.budget[0] = std::floor(0.6 * range.least[0] + 0.4 * range.most[0]);
    if (both) problem.budget[1] = std::floor(0.75 * range.least[1] + 0.25 * range.most[1]);
    const auto before = std::chrono::steady_clock::now();
    const auto found = solve_choice(problem);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - before;
    ASSERT_TRUE(found);
    expect_consistent(problem, *found);
    EXPECT_LT(found->gap(), 1e-4 * found->loss);
    RecordProperty(both ? "gap_both" : "gap_bytes", std::to_string(found->gap() / found->loss));
    RecordProperty(both ? "seconds_both" : "seconds_bytes", std::to_string(seconds.count()));
  }
}

}  // namespace
}  // namespace lathe
