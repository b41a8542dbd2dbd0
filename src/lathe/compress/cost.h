// What a calibrated compression will take, before it begins: from the shapes, and from a few
// products on the machine as it is at the moment.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lathe/base/result.h"

namespace lathe {

class Checkpoint;
class ThreadPool;
struct CalibrationSpec;
struct MatrixPlan;
struct ModelConfig;
struct Recipe;

struct Cost {
  double seconds = 0;  // 0: not worth measuring (nothing is calibrated)
  // At the most, but for pages of the source, which the system can take back.
  int64_t memory_bytes = 0;
};
nlohmann::json to_json(const Cost& cost);

// Operations per second, measured for some hundredths of a second each.
struct ProductSpeeds {
  double forward = 0;  // of the forward pass of calibration
  double gram = 0;     // of XᵀX, in f32
  double factor = 0;   // of factorizations, in f64, and twice that of the column solver
};
Result<ProductSpeeds> measure_products(ThreadPool& pool);

// `plans` are of `model`, the source as the reshaping passes leave it. What these themselves take
// is not in it.
Cost cost_of(const ModelConfig& model, const std::vector<MatrixPlan>& plans, const Recipe& recipe,
             const ProductSpeeds& speeds);
// Of a pass over the samples that only collects: importances, or all Hessians.
Cost cost_of_collecting(const Checkpoint& source, const CalibrationSpec& spec, bool hessians,
                        const ProductSpeeds& speeds);

// Says (log) what is to be expected, and refuses (kNoRoom) what the free memory cannot hold.
Status announce(const std::string& what, const Cost& cost);
std::string duration_text(double seconds);  // "40 s", "12 min", "3.5 h"

}  // namespace lathe
