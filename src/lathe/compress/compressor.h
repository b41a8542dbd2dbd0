// The compressor: a model and a recipe in, a Lathe model directory out. One matrix is in memory at
// a time; the same source and recipe give the same bytes, whatever the number of threads.
//
// The directory (read back by open_checkpoint; see model/lathe_checkpoint.cc):
//   lathe.json          {"lathe_checkpoint": 1, "lathe": version, "config", "matrices": {name:
//                       {format, rows, cols}}, "recipe", "recipe_hash", "source": {name, files},
//                       "layers": [what each matrix became and lost]}
//   model.safetensors   <matrix>.<part> for every part of its format; vectors in F32
//                       "calibration": {tokens, data_sha256} where a pass looked at data
//                       "reshaped": [{pass: what it did}] where one changed the model as a whole
//   tokenizer files     as in the source; tokenizer.gguf where that was a GGUF file
//   config.json, generation_config.json   as in the source, where it has them; config.json with the
//                       sizes that a reshaping pass left
#pragma once

#include <string>
#include <vector>

#include "lathe/base/threads.h"
#include "lathe/compress/cost.h"
#include "lathe/compress/recipe.h"
#include "lathe/model/checkpoint.h"

namespace lathe {

struct CompressOptions {
  bool overwrite = false;  // replace a model directory that Lathe has written
};

struct MatrixReport {
  std::string name, format;
  int64_t rows = 0, cols = 0, bytes = 0;
  double sparsity = 0;        // share of the weights that are stored as exactly 0
  double mse = 0;             // mean of (ŵ − w)² against the source as transformed
  double relative_error = 0;  // ‖Ŵ − W‖ / ‖W‖
  std::string note;           // what had to be done otherwise than asked; mostly empty
};
nlohmann::json to_json(const MatrixReport& report);
Result<MatrixReport> matrix_report_from_json(const nlohmann::json& json);

struct CompressionReport {
  std::vector<MatrixReport> matrices;
  int64_t stored_bytes = 0;          // matrices and vectors
  double bits_per_weight = 0;        // of all parameters, a tied table counted once
  double block_bits_per_weight = 0;  // of the linear layers inside the blocks
  double seconds = 0;
  int64_t taken_over = 0;      // matrices that a killed process had done already
  int64_t peak_rss_bytes = 0;  // of the process so far
  Cost predicted;              // before it began; zero without calibration
};

// Nothing is left at `out_directory` on failure; what was there stays. A calibrated compression
// that was killed goes on with the block at which it stood, and gives the same bytes.
Result<CompressionReport> compress(const Checkpoint& source, const Recipe& recipe,
                                   const std::string& out_directory, ThreadPool& pool,
                                   const CompressOptions& options = {});
// What that would take. Refuses what compress() would refuse before any work.
Result<Cost> predicted_cost(const Checkpoint& source, const Recipe& recipe, ThreadPool& pool);

}  // namespace lathe
