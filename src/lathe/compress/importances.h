// Importances: the mean square of each input column of the linear layers, as a file that llama.cpp
// shares ("importance matrix"). llama-imatrix writes and llama-quantize reads these:
//
//   GGUF  general.type "imatrix", imatrix.datasets [strings], imatrix.chunk_count and .chunk_size
//         (u32); for each weight tensor of the GGUF model, F32: NAME.in_sum2 [K], Σ x², and
//         NAME.counts [1], the rows that were summed. Source: llama.cpp, tools/imatrix/imatrix.cpp
//         and common/imatrix-loader.cpp, commit 3f545becc.
//   .dat  the older one, little-endian: i32 entries; for each i32 length, name, i32 calls, i32 K,
//         f32 [K], calls times the mean of x² (calls 0: the mean itself); then i32 chunks, i32
//         length, name of the data, which may be missing. Only read.
//
// A file holds what the model as it was gives; a compression that looks at text fits each matrix to
// the inputs that the compressed matrices before it give.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lathe/compress/calibration_data.h"
#include "lathe/compress/linear_stats.h"

namespace lathe {

// LinearStats without gram, absolute and largest, by canonical name of the matrix.
using Importances = std::map<std::string, LinearStats>;

// Runs the samples through the model, block by block.
Result<Importances> collect_importances(const Checkpoint& source, Samples samples,
                                        ThreadPool& pool);

// Matrices inside the blocks of a model; entries of other tensors (the head's, say) are left out.
// Refuses malformed files, sizes that are not the model's, values that are negative or not finite,
// entries without any input, experts, and files that name no matrix of this model.
Result<Importances> read_importances(const std::string& path, const ModelConfig& config);

// As GGUF. `data`: what the samples of `length` tokens were taken from. q, k and v have one input:
// it also stands under the name of the one tensor that some GGUF models have for the three.
Status write_importances(const std::string& path, const Importances& importances,
                         const std::string& data, int64_t length);

}  // namespace lathe
