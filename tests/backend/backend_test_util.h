// What the backend's tests share: random data, weights in every format, double references.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/base/rng.h"
#include "lathe/formats/gguf_blocks.h"
#include "lathe/formats/gguf_types.h"

namespace lathe::testing {

inline std::vector<float> normal_values(int64_t n, uint64_t seed, float scale = 1.0f) {
  Rng rng(seed);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = scale * static_cast<float>(rng.normal());
  return x;
}

inline Tensor tensor_of(const std::vector<float>& values, int64_t rows, int64_t cols) {
  Tensor t(rows, cols);
  std::memcpy(t.mutable_data(), values.data(), values.size() * 4);
  return t;
}

inline Tensor normal_tensor(int64_t rows, int64_t cols, uint64_t seed, float scale = 1.0f) {
  return tensor_of(normal_values(rows * cols, seed, scale), rows, cols);
}

inline std::vector<float> values_of(const Tensor& t) { return {t.data(), t.data() + t.size()}; }

inline std::unique_ptr<Ops> ops_of(Isa isa, int threads, Math math = Math::kFast) {
  return make_cpu_ops(isa, std::make_shared<ThreadPool>(threads), math);
}

// Random bytes with finite F16 scales, for types that are only read.
inline WeightMatrix random_gguf(const FormatPtr& format, int64_t rows, int64_t cols,
                                uint64_t seed) {
  Rng rng(seed);
  uint8_t* bytes = nullptr;
  const auto total = static_cast<size_t>(format->bytes(rows, cols));
  const Bytes part = Bytes::allocate(total, &bytes);
  for (size_t i = 0; i < total; ++i) bytes[i] = static_cast<uint8_t>(rng.next());
  const auto type = static_cast<GgmlType>(ggml_type_of(*format).value());
  const auto block = static_cast<size_t>(ggml_type_info(static_cast<uint32_t>(type))->block_bytes);
  std::vector<size_t> halves;
  if (type == GgmlType::kQ2_K) halves = {80, 82};
  if (type == GgmlType::kQ3_K) halves = {108};
  if (type == GgmlType::kQ4_K || type == GgmlType::kQ5_K) halves = {0, 2};
  if (type == GgmlType::kQ6_K) halves = {208};
  if (type == GgmlType::kIQ4_NL) halves = {0};
  for (size_t b = 0; b < total; b += block) {
    for (const size_t at : halves) {
      const uint16_t h = f32_to_f16(static_cast<float>(0.001 + 0.002 * rng.uniform()));
      std::memcpy(bytes + b + at, &h, 2);
    }
  }
  return WeightMatrix::create(format, rows, cols, {part}, "random").value();
}

// Empty if the format cannot hold the shape.
inline WeightMatrix random_weights(const std::string& spec, int64_t rows, int64_t cols,
                                   uint64_t seed) {
  const FormatPtr format = parse_format(spec).value();
  if (!format->supports(rows, cols).ok()) return {};
  if (!format->can_encode()) return random_gguf(format, rows, cols, seed);
  std::vector<float> w = normal_values(rows * cols, seed, 0.05f);
  if (format->encoding() == Encoding::kSparse) {
    for (float& x : w) x = std::abs(x) < 0.03f ? 0.0f : x;
  }
  return WeightMatrix::encode(format, w.data(), rows, cols, "random").value();
}

}  // namespace lathe::testing
