// The multiple-choice knapsack problem: of every group one option, so that the sum of losses is
// least and no sum of costs exceeds its budget.
//
// Lagrangian bounds (Geoffrion 1974) with dynamic programming over undominated states (Nemhauser
// and Ullmann 1969): groups are added one by one; a state is dropped when another one has no more
// loss and no more of any cost, or when its bound shows that it cannot become better than the best
// choice known. That is exact. Where more than `max_states` are left, those of the least bounds go
// on, and the smallest bound among the others limits how far from the optimum the result can be.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace lathe {

constexpr size_t kBudgets = 2;
constexpr double kNoBudget = std::numeric_limits<double>::infinity();

struct ChoiceOption {
  double loss = 0;                         // finite
  std::array<double, kBudgets> cost = {};  // finite, ≥ 0
};

struct ChoiceProblem {
  std::vector<std::vector<ChoiceOption>> groups;  // none empty
  std::array<double, kBudgets> budget = {kNoBudget, kNoBudget};
  int64_t max_states = 20'000;
};

struct ChoiceSolution {
  std::vector<size_t> choice;  // an option of each group
  double loss = 0;
  std::array<double, kBudgets> cost = {};
  double bound = 0;    // no choice within the budgets has less loss; equal to `loss`: an optimum
  int64_t states = 0;  // looked at
  double gap() const { return loss - bound; }
};

// Empty where nothing was found within the budgets; that is a proof as long as no stage had more
// than max_states.
std::optional<ChoiceSolution> solve_choice(const ChoiceProblem& problem);

// The least sum of cost `which` that a choice can have within the other budgets; its own budget is
// not looked at.
std::optional<double> least_cost(ChoiceProblem problem, size_t which);

}  // namespace lathe
