#include "lathe/compress/cost.h"

#include <algorithm>
#include <chrono>

#include "lathe/backend/cpu/block_products.h"
#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/base/log.h"
#include "lathe/base/memory.h"
#include "lathe/compress/calibration.h"
#include "lathe/compress/gram_sum.h"
#include "lathe/compress/plan.h"
#include "lathe/compress/recipe.h"

namespace lathe {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kMeasured = 0.03;  // seconds each

// Of one call, the best of those that fit into the time: what a machine shared with others can do.
template <typename Fn>
double seconds_of(Fn&& fn) {
  const auto start = Clock::now();
  double best = 1e9;
  for (auto before = start;;) {
    fn();
    const auto now = Clock::now();
    best = std::min(best, std::chrono::duration<double>(now - before).count());
    if (std::chrono::duration<double>(now - start).count() > kMeasured) return best;
    before = now;
  }
}

double speed_of_linear(Ops& ops, const FormatPtr& format, ThreadPool& pool) {
  constexpr int64_t kSize = 1024, kTokens = 512;
  const std::vector<float> weights(kSize * kSize, 0.5f);
  auto matrix = WeightMatrix::encode(format, weights.data(), kSize, kSize, "measured", &pool);
  const Linear linear{"", ops.pack(std::move(*matrix)), {}};
  Tensor x(kTokens, kSize);
  std::fill_n(x.mutable_data(), x.size(), 1.0f);
  return 2.0 * kSize * kSize * kTokens / seconds_of([&] { ops.linear(linear, x); });
}

double speed_of_factors(ThreadPool& pool) {
  constexpr int64_t kSize = 64, kTiles = 256;
  const std::vector<double> a(kSize * kSize, 0.5), b(a);
  std::vector<double> c(kSize * kSize * kTiles);
  const double seconds = seconds_of([&] {
    pool.parallel_for(kTiles, 1, [&](int64_t first, int64_t last) {
      for (int64_t t = first; t < last; ++t) {
        subtract_product(c.data() + t * kSize * kSize, kSize, a.data(), kSize, b.data(), kSize,
                         kSize, kSize, kSize);
      }
    });
  });
  return 2.0 * kSize * kSize * kSize * kTiles / seconds;
}

// As numbers of operations of the column solver, fitted to runs of gptq with int4:g128
// (docs/compression.md): of one weight in a pass that searches scales or rounds one by one, and of
// one value of an input that is summed up, beside its products: turned over, rounded, packed,
// added, and what attention and norms take meanwhile.
constexpr double kSearch = 5000, kSummed = 550;

// Rows that a transforming pass multiplies by XᵀX: 20 exponents, 512 rows of a matrix.
constexpr double kTried = 2.0 * 20 * 512;

bool searches(const std::string& pass) {
  return pass == "gptq" || pass == "joint" || pass == "clip" || pass == "imatrix";
}
bool factorizes(const std::string& pass) {
  return pass == "gptq" || pass == "joint" || pass == "sparsegpt";
}

// One input of a block and the matrices that read it.
struct Group {
  double weights = 0, columns = 0;  // of all of them; of the input
  double rows = 0, largest = 0;     // of all; of the largest matrix, in weights
  bool calibrated = false, factorized = false;
  double searched = 0;  // weights
};

enum : size_t { kQkv, kO, kUp, kDown, kGroups };

size_t group_of(const std::string& name) {
  if (name.ends_with(".o_proj")) return kO;
  if (name.ends_with(".down_proj")) return kDown;
  return name.find(".mlp.") != std::string::npos ? kUp : kQkv;
}

std::vector<Group> groups_of(const std::vector<MatrixPlan>& plans, const Recipe& recipe,
                             int64_t layer) {
  std::vector<Group> groups(kGroups);
  for (const MatrixPlan& plan : plans) {
    if (plan.info.layer != layer) continue;
    Group& group = groups[group_of(plan.info.name)];
    const auto rows = static_cast<double>(plan.info.rows);
    group.columns = static_cast<double>(plan.info.cols);
    group.rows += rows;
    group.weights += rows * group.columns;
    group.largest = std::max(group.largest, rows * group.columns);
    for (size_t step = 0; step < plan.steps.size(); ++step) {
      const std::string& pass = recipe.steps[step].pass;
      if (!plan.steps[step].applies || !find_pass(pass).value()->needs_calibration) continue;
      group.calibrated = true;
      group.factorized |= factorizes(pass);
      if (searches(pass)) group.searched += rows * group.columns;
    }
  }
  return groups;
}

// Beside the products of a forward pass: attention, norms, packing.
constexpr double kBeside = 1.35;

// What the program and its libraries hold in any case.
constexpr double kBase = 60e6;

// Activations of one sample of a layer.
double activations(const ModelConfig& c, double length) {
  const auto heads = static_cast<double>((c.heads + 2 * c.kv_heads) * c.head_size);
  return 4 * length *
         (3 * static_cast<double>(c.hidden) +
          std::max(3.0 * static_cast<double>(c.ffn), 2 * heads));
}

}  // namespace

Result<ProductSpeeds> measure_products(ThreadPool& pool) {
  LATHE_TRY(const Isa isa, chosen_isa());
  LATHE_TRY(const Math math, calibration_math());
  const auto ops = make_cpu_ops(isa, pool, math);
  ProductSpeeds out;
  out.forward = speed_of_linear(*ops, parse_format("bf16").value(), pool);
  out.gram = speed_of_linear(*ops, gram_format(isa, math), pool);
  out.factor = speed_of_factors(pool);
  return out;
}

Cost cost_of(const ModelConfig& c, const std::vector<MatrixPlan>& plans, const Recipe& recipe,
             const ProductSpeeds& speeds) {
  Cost out;
  if (!recipe.needs_calibration()) return out;
  const CalibrationSpec& spec = *recipe.calibration;
  const bool stream = !spec.stored();
  const auto tokens = static_cast<double>(spec.samples * spec.length);
  bool transforms = false;
  for (const RecipeStep& step : recipe.steps) {
    transforms |= find_pass(step.pass).value()->kind == PassKind::kTransform;
  }
  double forward = 0, gram = 0, summed = 0, factor = 0, solve = 0, memory = 0;
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    const std::vector<Group> groups = groups_of(plans, recipe, layer);
    double before = 0, block_bytes = 0, peak = 0;
    bool halfway = false, any = transforms;
    for (size_t g = 0; g < kGroups; ++g) {
      const Group& group = groups[g];
      any |= group.calibrated;
      block_bytes += group.weights * 2.6;  // packed in 16 bits, and what is done of it
      if (transforms && stream) {
        forward += 2 * tokens * before;
        gram += tokens * group.columns * group.columns;
        summed += tokens * group.columns;
      }
      if (transforms) gram += kTried * group.columns * group.columns;
      if (group.calibrated) {
        const double square = group.columns * group.columns;
        if (stream) {
          if (g >= kUp && !halfway && !c.parallel_residual) {
            forward += 2 * tokens * (groups[kQkv].weights + groups[kO].weights);
            halfway = true;
          }
          forward += 2 * tokens * (halfway ? (g == kDown ? groups[kUp].weights : 0.0) : before);
          gram += tokens * square;
          summed += tokens * group.columns;
          peak =
              std::max(peak, static_cast<double>(GramSum::bytes(static_cast<int64_t>(group.columns),
                                                                static_cast<int64_t>(tokens))));
        }
        if (group.factorized) {
          factor += 2.0 / 3 * square * group.columns;
          solve += group.rows * square;
          // XᵀX, its factor, the inverse of that in f64, and f32; weights as they were and become.
          peak = std::max(peak, std::max(28 * square, 12 * square + 14 * group.largest));
        }
        peak = std::max(peak, 8 * square + 12 * group.largest);
      }
      solve += kSearch * group.searched;
      before += group.weights;
    }
    if (stream && any && layer + 1 < c.layers) {
      forward += 2 * tokens * (halfway ? groups[kUp].weights + groups[kDown].weights : before);
    }
    memory = std::max(memory, block_bytes + peak);
  }
  if (stream) {
    memory += 4 * tokens * static_cast<double>(c.hidden) +
              activations(c, static_cast<double>(spec.length));
  }
  out.seconds = kBeside * forward / speeds.forward + gram / speeds.gram +
                (factor + solve / 2 + kSummed * summed) / speeds.factor;
  out.memory_bytes = static_cast<int64_t>(memory + kBase);
  return out;
}

Cost cost_of_collecting(const Checkpoint& source, const CalibrationSpec& spec, bool hessians,
                        const ProductSpeeds& speeds) {
  const ModelConfig& c = source.config();
  const auto tokens = static_cast<double>(spec.samples * spec.length);
  double forward = 0, gram = 0, summed = 0, memory = 0;
  for (const MatrixInfo& info : matrices_of(c)) {
    if (info.layer < 0) continue;
    const double weights = static_cast<double>(info.rows) * static_cast<double>(info.cols);
    forward += 2 * tokens * weights;
    if (info.layer == 0) memory += 2 * weights;
    const std::string& name = info.name;
    const bool first = name.ends_with(".q_proj") || name.ends_with(".o_proj") ||
                       name.ends_with(".down_proj") ||
                       name.ends_with(c.gated ? ".gate_proj" : ".up_proj");
    if (!hessians || !first) continue;
    const auto size = static_cast<double>(info.cols);
    gram += tokens * size * size;
    summed += tokens * size;
    if (info.layer == 0) {
      memory += static_cast<double>(GramSum::bytes(info.cols, static_cast<int64_t>(tokens)));
    }
  }
  memory +=
      4 * tokens * static_cast<double>(c.hidden) + activations(c, static_cast<double>(spec.length));
  return {
      kBeside * forward / speeds.forward + gram / speeds.gram + kSummed * summed / speeds.factor,
      static_cast<int64_t>(memory + kBase)};
}

nlohmann::json to_json(const Cost& cost) {
  return {{"seconds", cost.seconds}, {"memory_bytes", cost.memory_bytes}};
}

std::string duration_text(double seconds) {
  if (seconds < 100) return fmt::format("{:.0f} s", std::max(1.0, seconds));
  if (seconds < 100 * 60) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

Status announce(const std::string& what, const Cost& cost) {
  const int64_t available = available_memory_bytes();
  spdlog::info("{}: about {} and {} MB of memory", what, duration_text(cost.seconds),
               cost.memory_bytes >> 20);
  if (cost.memory_bytes <= available) return {};
  return no_room("{}: needs about {} MB of memory, {} MB are free", what, cost.memory_bytes >> 20,
                 available >> 20)
      .with_hint("fewer or shorter samples (--samples, --sample-length) need less");
}

}  // namespace lathe
