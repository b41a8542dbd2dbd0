// Pass: one compression step, working on one matrix after another.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lathe/base/threads.h"
#include "lathe/compress/work_matrix.h"

namespace lathe {

// What one step does to one matrix, worked out from recipe, overrides and model (plan.h).
struct StepTarget {
  bool applies = false;
  double sparsity = 0;        // pruning steps
  bool own_sparsity = false;  // set by an override: not part of a threshold over all matrices
  std::string pattern;        // set by an override, has been parsed: N:M in place of the pass's
  FormatPtr format;           // quantizing steps; null: as the source stores it
};

struct PassParameter {
  std::string name;
  nlohmann::json default_value;  // discarded-type: required
  std::string description;
  // The canonical value; the error does not name the parameter.
  Result<nlohmann::json> (*check)(const nlohmann::json& value);
};

// Visits every matrix that this step applies to, in order, as it is when the step's turn comes.
// Nothing that is done to it lasts.
using Sweep = std::function<Status(const std::function<Status(WorkMatrix&, const StepTarget&)>&)>;

class WorkBlock;

// A pass at work on one model. apply() is called once for each matrix that it applies to, in order;
// transform(), of the transforming passes, once for each block before that.
class PassRun {
 public:
  virtual ~PassRun() = default;
  virtual Status apply(WorkMatrix& matrix, const StepTarget& target) = 0;
  virtual Status transform(WorkBlock& /*block*/) { return {}; }
};

struct PassSetup {
  const nlohmann::json& parameters;  // as checked, all there
  ThreadPool& pool;
  Sweep sweep;  // to look at the whole model before the first apply()
};

// kTransform: changes matrices and norms of a block together, so that the model computes the same
// and rounds better. Such passes come before those that prune and round.
// kReduce (takes layers, heads or channels away) and kRotate change the model as a whole, and come
// before all others (reshape.h). kJoint: prunes and quantizes in one.
enum class PassKind : uint8_t { kPrune, kQuantize, kTransform, kJoint, kReduce, kRotate };
constexpr bool prunes(PassKind kind) {
  return kind == PassKind::kPrune || kind == PassKind::kJoint;
}
constexpr bool quantizes(PassKind kind) {
  return kind == PassKind::kQuantize || kind == PassKind::kJoint;
}
constexpr bool reshapes(PassKind kind) {
  return kind == PassKind::kReduce || kind == PassKind::kRotate;
}

// What a reshaping pass looks at.
struct ReshapeSetup {
  const nlohmann::json& parameters;  // as checked, all there
  ThreadPool& pool;
  // Null: only the shapes of the result are wanted; what the pass takes away does not matter.
  const std::vector<std::vector<int32_t>>* samples;
};
struct Reshaped {
  std::unique_ptr<const Checkpoint> model;  // over the source, which must outlive it
  nlohmann::json report;                    // for lathe.json
};

struct Pass {
  std::string name, description;
  PassKind kind;
  bool needs_calibration;
  std::vector<PassParameter> parameters;
  Result<std::unique_ptr<PassRun>> (*start)(const PassSetup& setup);
  // Quantizing passes that do not work with every format: asked before any work. Null: all do.
  Status (*supports)(const FormatPtr& format, int64_t rows, int64_t cols) = nullptr;
  // Of reshaping passes, which have no start().
  Result<Reshaped> (*reshape)(const Checkpoint& source, const ReshapeSetup& setup) = nullptr;
  // Of calibrated passes: the mean squares of the inputs are all that it looks at.
  bool importances_suffice = false;
};

// The one list of passes. Adding one: its own file, its line in passes/list.h and in
// passes/registry.cc.
const std::vector<Pass>& passes();
Result<const Pass*> find_pass(std::string_view name);
// All parameters with defaults filled in; refuses unknown and missing ones.
Result<nlohmann::json> check_parameters(const Pass& pass, const nlohmann::json& given);

}  // namespace lathe
