// The scale search of AWQ, apart from where the scales then go.
#pragma once

#include "lathe/compress/output_loss.h"
#include "lathe/formats/weight_matrix.h"

namespace lathe {

// A matrix that reads the scaled input: rows × K weights and what they will be rounded to.
struct AwqMatrix {
  std::vector<float> weights;
  int64_t rows = 0;
  FormatPtr format;
};

struct AwqChoice {
  double exponent = 0;              // 0: no scaling
  std::vector<float> factors;       // one per channel
  double loss = 0, plain_loss = 0;  // of the output, with these and without any
};

// Tries exponents i/steps: factors = mean|x|^exponent, divided by √(largest · smallest). `activity`
// is mean|x| per channel, channel_of[k] the channel of column k.
Result<AwqChoice> awq_search(const std::vector<AwqMatrix>& matrices,
                             const std::vector<float>& activity,
                             const std::vector<int32_t>& channel_of, const OutputLoss& loss,
                             int steps, ThreadPool& pool);

}  // namespace lathe
