// Plan: what a recipe means for one model, matrix by matrix. Everything that can be refused is
// refused here, before any work.
//
// The passes work on the linear layers inside the blocks. Tables (embeddings, positions) and
// lm_head are stored
//   - as an override says, else as `embeddings:` or `head:` says;
//   - as the source stores them, where the recipe has no quantizing pass or is `keep`, and where
//   the
//     source is itself quantized: 16 bits would be larger, and no better;
//   - in the recipe's own format, where that is f32, f16 or bf16;
//   - else in 16 bits: bf16 where the source is bf16, f16 otherwise.
#pragma once

#include <vector>

#include "lathe/compress/pass.h"
#include "lathe/compress/recipe.h"
#include "lathe/model/checkpoint.h"

namespace lathe {

struct MatrixPlan {
  MatrixInfo info;
  std::vector<StepTarget> steps;  // one per step of the recipe
  FormatPtr stored;
};

Result<std::vector<MatrixPlan>> make_plan(const Checkpoint& source, const Recipe& recipe);

}  // namespace lathe
