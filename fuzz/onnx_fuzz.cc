// ONNX files with one data file beside them. What parses must hold what it claims, and weights that
// are decoded must be finite.

// Links: lathe_io

#include <cmath>

#include "fuzz_support.h"
#include "lathe/base/check.h"
#include "lathe/formats/nbits.h"
#include "lathe/io/onnx.h"

using namespace lathe;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes input = fuzz_bytes(data, size);
  const auto file = OnnxFile::parse(input, "fuzz.onnx", [&](const std::string& location) {
    LATHE_CHECK(!location.starts_with("../") && !location.starts_with("/"));
    return Result<Bytes>(input);
  });
  if (!file.ok()) {
    LATHE_CHECK(!file.error().message.empty());
    return 0;
  }
  for (const auto& [name, tensor] : file->tensors()) {
    LATHE_CHECK(file->find(name) == &tensor);
    LATHE_CHECK(checked_bytes(tensor.dtype, tensor.shape) ==
                static_cast<int64_t>(tensor.bytes.size()));
    LATHE_CHECK(reinterpret_cast<uintptr_t>(tensor.bytes.data()) % size_of(tensor.dtype) == 0);
    touch(tensor.bytes);
  }
  for (const OnnxNode& node : file->nodes()) {
    const auto* k = node.attribute<int64_t>("K");
    const auto* n = node.attribute<int64_t>("N");
    const auto* bits = node.attribute<int64_t>("bits");
    const auto* block = node.attribute<int64_t>("block_size");
    if (!k || !n || !bits || !block || node.inputs.size() < 3) continue;
    if (*k < 1 || *k > 4096 || *n < 1 || *n > 4096) continue;  // as a configuration bounds them
    const StoredTensor* codes = file->find(node.inputs[1]);
    const StoredTensor* scales = file->find(node.inputs[2]);
    if (!codes || !scales || scales->dtype != DType::kF32) continue;
    NBits weights;
    weights.bits = static_cast<int>(*bits & 15);
    weights.block = *block;
    weights.rows = *n;
    weights.cols = *k;
    weights.codes = codes->bytes;
    weights.scales = scales->bytes;
    if (node.inputs.size() > 3) {
      if (const StoredTensor* zeros = file->find(node.inputs[3])) weights.zeros = zeros->bytes;
    }
    const auto matrix = from_nbits(weights, "w");
    if (!matrix.ok()) continue;
    for (const float weight : matrix->decode()) LATHE_CHECK(std::isfinite(weight));
  }
  return 0;
}
