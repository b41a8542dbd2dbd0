#include "lathe/lab/choice_solver.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <tuple>

#include "lathe/base/check.h"

namespace lathe {
namespace {

using Costs = std::array<double, kBudgets>;

struct Option {
  double loss;
  Costs cost;
  size_t index;  // in the problem
};

// How a state came about: the state of the stage before, and the option that was added.
struct Link {
  int32_t parent, option;
};

struct State {
  double loss;
  Costs cost;
  double bound;
  Link link;
};

class Solver {
 public:
  explicit Solver(const ChoiceProblem& problem) : problem_(problem) {
    for (size_t d = 0; d < kBudgets; ++d) limited_[d] = std::isfinite(problem.budget[d]);
    for (const auto& group : problem.groups) groups_.push_back(undominated(group));
    for (size_t d = 0; d < kBudgets; ++d) {
      // Multipliers are per budget, so that they are of one size.
      scale_[d] = limited_[d] && problem.budget[d] > 0 ? 1 / problem.budget[d] : limited_[d];
    }
    choice_.resize(groups_.size());
  }

  std::optional<ChoiceSolution> run() {
    for (size_t d = 0; d < kBudgets; ++d) {
      double least = 0;
      for (const auto& group : groups_) least += least_of(group, d);
      if (limited_[d] && least > problem_.budget[d]) return std::nullopt;
    }
    maximize_bound();
    search();
    if (!found_) return std::nullopt;
    ChoiceSolution out;
    for (size_t g = 0; g < groups_.size(); ++g) {
      const ChoiceOption& option = problem_.groups[g][best_[g]];
      out.choice.push_back(best_[g]);
      out.loss += option.loss;
      for (size_t d = 0; d < kBudgets; ++d) out.cost[d] += option.cost[d];
    }
    out.bound = std::min(out.loss, dropped_bound_);
    out.states = states_;
    return out;
  }

 private:
  static double least_of(const std::vector<Option>& group, size_t d) {
    double least = group[0].cost[d];
    for (const Option& option : group) least = std::min(least, option.cost[d]);
    return least;
  }

  // Costs without a budget count as 0.
  std::vector<Option> undominated(const std::vector<ChoiceOption>& group) const {
    LATHE_CHECK(!group.empty());
    std::vector<Option> all;
    for (size_t i = 0; i < group.size(); ++i) {
      Option option{group[i].loss, group[i].cost, i};
      for (size_t d = 0; d < kBudgets; ++d) {
        if (!limited_[d]) option.cost[d] = 0;
      }
      all.push_back(option);
    }
    const auto no_worse = [](const Option& a, const Option& b) {
      return a.loss <= b.loss && a.cost[0] <= b.cost[0] && a.cost[1] <= b.cost[1];
    };
    std::vector<Option> out;
    for (const Option& option : all) {
      const bool beaten = std::any_of(all.begin(), all.end(), [&](const Option& other) {
        return other.index != option.index && no_worse(other, option) &&
               (other.index < option.index || !no_worse(option, other));
      });
      if (!beaten) out.push_back(option);
    }
    return out;
  }

  double reduced(const Option& option, const Costs& multipliers) const {
    double value = option.loss;
    for (size_t d = 0; d < kBudgets; ++d) value += multipliers[d] * option.cost[d] * scale_[d];
    return value;
  }

  // The Lagrangian bound, and in choice_ and used_ what attains it. What lies within the budgets is
  // kept, if it is the best so far.
  double bound_at(const Costs& multipliers) {
    double value = 0;
    used_ = {};
    for (size_t g = 0; g < groups_.size(); ++g) {
      double least = kNoBudget;
      for (size_t i = 0; i < groups_[g].size(); ++i) {
        const double r = reduced(groups_[g][i], multipliers);
        if (r < least) {
          least = r;
          choice_[g] = i;
        }
      }
      value += least;
      for (size_t d = 0; d < kBudgets; ++d) used_[d] += groups_[g][choice_[g]].cost[d];
    }
    if (fits(used_)) {
      double loss = 0;
      for (size_t g = 0; g < groups_.size(); ++g) loss += groups_[g][choice_[g]].loss;
      if (hopeful(loss)) keep_improved(choice_, used_);
    }
    for (size_t d = 0; d < kBudgets; ++d) value -= limited_[d] ? multipliers[d] : 0;
    if (value > bound_) {
      bound_ = value;
      multipliers_ = multipliers;
    }
    return value;
  }

  bool fits(const Costs& cost) const {
    for (size_t d = 0; d < kBudgets; ++d) {
      if (limited_[d] && cost[d] > problem_.budget[d]) return false;
    }
    return true;
  }

  // Takes single options of less loss as long as one fits, then compares.
  void keep_improved(std::vector<size_t> choice, Costs used) {
    for (bool better = true; better;) {
      better = false;
      double most = 0;
      size_t where = 0, what = 0;
      for (size_t g = 0; g < groups_.size(); ++g) {
        const Option& now = groups_[g][choice[g]];
        for (size_t i = 0; i < groups_[g].size(); ++i) {
          const Option& option = groups_[g][i];
          const double gain = now.loss - option.loss;
          if (gain <= most) continue;
          Costs cost = used;
          for (size_t d = 0; d < kBudgets; ++d) cost[d] += option.cost[d] - now.cost[d];
          if (!fits(cost)) continue;
          most = gain;
          where = g;
          what = i;
          better = true;
        }
      }
      if (!better) break;
      for (size_t d = 0; d < kBudgets; ++d) {
        used[d] += groups_[where][what].cost[d] - groups_[where][choice[where]].cost[d];
      }
      choice[where] = what;
    }
    // Anew, without the rounding of the steps above.
    double loss = 0;
    Costs cost = {};
    for (size_t g = 0; g < groups_.size(); ++g) {
      loss += groups_[g][choice[g]].loss;
      for (size_t d = 0; d < kBudgets; ++d) cost[d] += groups_[g][choice[g]].cost[d];
    }
    if (!fits(cost) || (found_ && loss >= best_loss_)) return;
    found_ = true;
    best_loss_ = loss;
    best_.resize(choice.size());
    for (size_t g = 0; g < choice.size(); ++g) best_[g] = groups_[g][choice[g]].index;
  }

  // The bound is concave in the multipliers: over the first one by the sign of its slope, over the
  // second one by golden sections.
  double best_over_first(double second) {
    if (!limited_[0]) return bound_at({0, second});
    double best = bound_at({0, second});
    if (used_[0] <= problem_.budget[0]) return best;
    double low = 0, high = start_;
    for (int i = 0; i < 200; ++i, low = high, high *= 2) {
      best = std::max(best, bound_at({high, second}));
      if (used_[0] <= problem_.budget[0]) break;
    }
    for (int i = 0; i < 40; ++i) {
      const double middle = (low + high) / 2;
      best = std::max(best, bound_at({middle, second}));
      (used_[0] <= problem_.budget[0] ? high : low) = middle;
    }
    return best;
  }

  void maximize_bound() {
    double spread = 0;
    for (const auto& group : groups_) {
      const auto [least, most] =
          std::minmax_element(group.begin(), group.end(),
                              [](const Option& a, const Option& b) { return a.loss < b.loss; });
      spread += most->loss - least->loss;
    }
    start_ = spread > 0 ? spread * 1e-3 : 1;
    const double none = best_over_first(0);
    if (!limited_[1]) return;
    double low = 0, high = start_, before = none;
    for (int i = 0; i < 200; ++i, high *= 2) {
      const double now = best_over_first(high);
      if (now < before) break;
      before = now;
    }
    constexpr double kGolden = 0.6180339887498949;
    double a = high - kGolden * (high - low), b = low + kGolden * (high - low);
    double at_a = best_over_first(a), at_b = best_over_first(b);
    for (int i = 0; i < 40; ++i) {
      if (at_a >= at_b) {
        high = b;
        b = a;
        at_b = at_a;
        a = high - kGolden * (high - low);
        at_a = best_over_first(a);
      } else {
        low = a;
        a = b;
        at_a = at_b;
        b = low + kGolden * (high - low);
        at_b = best_over_first(b);
      }
    }
  }

  // Whether something with this bound could still be better than the best known.
  bool hopeful(double bound) const {
    return !found_ || bound < best_loss_ - 1e-12 * std::abs(best_loss_);
  }

  void search() {
    const size_t n = groups_.size();
    // Options that no better choice can contain.
    for (auto& group : groups_) {
      double least = kNoBudget;
      for (const Option& option : group) least = std::min(least, reduced(option, multipliers_));
      std::erase_if(group, [&](const Option& option) {
        return !hopeful(bound_ + reduced(option, multipliers_) - least);
      });
      if (group.empty()) return;  // the best known is an optimum
    }
    // Large groups first, while there are few states.
    std::vector<size_t> order(n);
    std::iota(order.begin(), order.end(), size_t{0});
    const auto spread = [&](size_t g) {
      double most = 0;
      for (const Option& option : groups_[g]) most = std::max(most, option.cost[0] * scale_[0]);
      return most - least_of(groups_[g], 0) * scale_[0];
    };
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return spread(a) > spread(b); });
    // What the groups after each add at least.
    std::vector<double> rest_bound(n + 1, 0.0);
    std::vector<Costs> rest_cost(n + 1, Costs{});
    std::vector<size_t> cheapest(n);
    for (size_t s = n; s-- > 0;) {
      const auto& group = groups_[order[s]];
      for (size_t i = 1; i < group.size(); ++i) {
        if (reduced(group[i], multipliers_) < reduced(group[cheapest[s]], multipliers_)) {
          cheapest[s] = i;
        }
      }
      rest_bound[s] = rest_bound[s + 1] + reduced(group[cheapest[s]], multipliers_);
      for (size_t d = 0; d < kBudgets; ++d) {
        rest_cost[s][d] = rest_cost[s + 1][d] + least_of(group, d);
      }
    }
    double constant = 0;
    for (size_t d = 0; d < kBudgets; ++d) constant += limited_[d] ? multipliers_[d] : 0;

    std::vector<std::vector<Link>> stages(n + 1);
    std::vector<State> states = {{0, {}, bound_, {-1, -1}}};
    for (size_t s = 0; s < n; ++s) {
      const auto& group = groups_[order[s]];
      std::vector<State> next;
      for (size_t p = 0; p < states.size(); ++p) {
        for (size_t i = 0; i < group.size(); ++i) {
          State state = states[p];
          state.loss += group[i].loss;
          state.bound = state.loss + rest_bound[s + 1] - constant;
          bool possible = true;
          for (size_t d = 0; d < kBudgets; ++d) {
            state.cost[d] += group[i].cost[d];
            state.bound += multipliers_[d] * state.cost[d] * scale_[d];
            possible &= !limited_[d] || state.cost[d] + rest_cost[s + 1][d] <= problem_.budget[d];
          }
          if (!possible || !hopeful(state.bound)) continue;
          state.link = {static_cast<int32_t>(p), static_cast<int32_t>(i)};
          next.push_back(state);
        }
      }
      states_ += std::ssize(next);
      drop_dominated(next);
      drop_surplus(next);
      for (const State& state : next) stages[s + 1].push_back(state.link);
      states = std::move(next);
      complete_first(stages, states, s + 1, order, cheapest);
      if (states.empty()) return;
    }
  }

  static void drop_dominated(std::vector<State>& states) {
    std::sort(states.begin(), states.end(), [](const State& a, const State& b) {
      return std::tie(a.cost[0], a.cost[1], a.loss) < std::tie(b.cost[0], b.cost[1], b.loss);
    });
    // Of the states so far, with no more of cost 0: cost 1 → loss, falling.
    std::map<double, double> stairs;
    std::erase_if(states, [&](const State& state) {
      auto after = stairs.upper_bound(state.cost[1]);
      if (after != stairs.begin() && std::prev(after)->second <= state.loss) return true;
      while (after != stairs.end() && after->second >= state.loss) after = stairs.erase(after);
      stairs[state.cost[1]] = state.loss;
      return false;
    });
  }

  void drop_surplus(std::vector<State>& states) {
    if (std::ssize(states) <= problem_.max_states) return;
    const auto end = states.begin() + problem_.max_states;
    const auto by_bound = [](const State& a, const State& b) { return a.bound < b.bound; };
    std::nth_element(states.begin(), end, states.end(), by_bound);
    dropped_bound_ = std::min(dropped_bound_, std::min_element(end, states.end(), by_bound)->bound);
    states.erase(end, states.end());
  }

  // Fills up the states of the least bounds with what the bound assumes: often a better choice. Of
  // the last stage it takes those of the least losses.
  void complete_first(const std::vector<std::vector<Link>>& stages,
                      const std::vector<State>& states, size_t stage,
                      const std::vector<size_t>& order, const std::vector<size_t>& cheapest) {
    constexpr size_t kTried = 16;
    std::vector<size_t> first(states.size());
    std::iota(first.begin(), first.end(), size_t{0});
    const size_t count = std::min(kTried, first.size());
    std::partial_sort(first.begin(), first.begin() + static_cast<int64_t>(count), first.end(),
                      [&](size_t a, size_t b) {
                        return stage == order.size() ? states[a].loss < states[b].loss
                                                     : states[a].bound < states[b].bound;
                      });
    for (size_t k = 0; k < count; ++k) {
      std::vector<size_t> choice(groups_.size());
      for (size_t s = stage; s < order.size(); ++s) choice[order[s]] = cheapest[s];
      size_t at = first[k];
      for (size_t s = stage; s > 0; --s) {
        const Link link = stages[s][at];
        choice[order[s - 1]] = static_cast<size_t>(link.option);
        at = static_cast<size_t>(link.parent);
      }
      Costs used = {};
      for (size_t g = 0; g < groups_.size(); ++g) {
        for (size_t d = 0; d < kBudgets; ++d) used[d] += groups_[g][choice[g]].cost[d];
      }
      if (fits(used)) keep_improved(choice, used);
    }
  }

  const ChoiceProblem& problem_;
  std::array<bool, kBudgets> limited_ = {};
  Costs scale_ = {};
  std::vector<std::vector<Option>> groups_;
  double start_ = 1;

  double bound_ = -kNoBudget;
  Costs multipliers_ = {};
  std::vector<size_t> choice_;
  Costs used_ = {};

  bool found_ = false;
  double best_loss_ = kNoBudget;
  std::vector<size_t> best_;
  double dropped_bound_ = kNoBudget;
  int64_t states_ = 0;
};

}  // namespace

std::optional<ChoiceSolution> solve_choice(const ChoiceProblem& problem) {
  return Solver(problem).run();
}

std::optional<double> least_cost(ChoiceProblem problem, size_t which) {
  problem.budget[which] = kNoBudget;
  for (auto& group : problem.groups) {
    for (ChoiceOption& option : group) option.loss = option.cost[which];
  }
  const auto solution = solve_choice(problem);
  if (!solution) return std::nullopt;
  return solution->loss;
}

}  // namespace lathe
