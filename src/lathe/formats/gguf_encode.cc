// Encoding ggml's older types as the reference does: by the largest weight, without a search.
#include <algorithm>

#include "lathe/formats/detail.h"
#include "lathe/formats/gguf_codec.h"
#include "lathe/formats/gguf_pack.h"

namespace lathe::gguf {
namespace {

using formats::store;

// 1/d, or 0 where there is nothing to divide by. The reference lets a subnormal d give infinity,
// whose codes are undefined; here they are those of zeros.
float inverse_of(float d) {
  const float inverse = d == 0.0f ? 0.0f : 1.0f / d;
  return std::isfinite(inverse) ? inverse : 0.0f;
}

// The weight of largest magnitude with its sign; the first of equals.
float signed_max(const float* x) {
  float best = x[0];
  for (int i = 1; i < kSmall; ++i) best = std::fabs(x[i]) > std::fabs(best) ? x[i] : best;
  return best;
}

struct MinMax {
  float min, max;
};
MinMax min_max(const float* x) {
  MinMax r{x[0], x[0]};
  for (int i = 1; i < kSmall; ++i) {
    r.min = x[i] < r.min ? x[i] : r.min;
    r.max = x[i] > r.max ? x[i] : r.max;
  }
  return r;
}

// Codes (x − shift)·factor + half, truncated, at most `most`.
void codes_of(const float* x, float shift, float factor, float half, int most, uint8_t* q) {
  for (int i = 0; i < kSmall; ++i) {
    const int code = static_cast<int>((x[i] - shift) * factor + half);
    q[i] = static_cast<uint8_t>(std::clamp(code, 0, most));
  }
}

}  // namespace

void encode_q4_0(const float* x, uint8_t* block) {
  BlockQ4_0 b;
  uint8_t q[kSmall];
  const float d = signed_max(x) / -8.0f;
  codes_of(x, 0.0f, inverse_of(d), 8.5f, 15, q);
  b.d = f32_to_f16(d);
  pack_nibbles(q, b.qs);
  store(block, 0, b);
}

void encode_q4_1(const float* x, uint8_t* block) {
  BlockQ4_1 b;
  uint8_t q[kSmall];
  const MinMax range = min_max(x);
  const float d = (range.max - range.min) / 15.0f;
  codes_of(x, range.min, inverse_of(d), 0.5f, 15, q);
  b.d = f32_to_f16(d);
  b.m = f32_to_f16(range.min);
  pack_nibbles(q, b.qs);
  store(block, 0, b);
}

void encode_q5_0(const float* x, uint8_t* block) {
  BlockQ5_0 b;
  uint8_t q[kSmall];
  const float d = signed_max(x) / -16.0f;
  codes_of(x, 0.0f, inverse_of(d), 16.5f, 31, q);
  b.d = f32_to_f16(d);
  pack_fifth_bits(q, b.qh);
  pack_nibbles(q, b.qs);
  store(block, 0, b);
}

void encode_q5_1(const float* x, uint8_t* block) {
  BlockQ5_1 b;
  uint8_t q[kSmall];
  const MinMax range = min_max(x);
  const float d = (range.max - range.min) / 31.0f;
  codes_of(x, range.min, inverse_of(d), 0.5f, 31, q);
  b.d = f32_to_f16(d);
  b.m = f32_to_f16(range.min);
  pack_fifth_bits(q, b.qh);
  pack_nibbles(q, b.qs);
  store(block, 0, b);
}

void encode_q8_0(const float* x, uint8_t* block) {
  BlockQ8_0 b;
  const float d = formats::absmax(x, kSmall) / 127.0f;
  const float inverse = inverse_of(d);
  for (int i = 0; i < kSmall; ++i) {
    // Halves away from zero. The sum |v| + 0.5 would round 0.49999997 up, hence the two steps.
    const float v = x[i] * inverse;
    const float magnitude = std::fabs(v);
    const auto whole = static_cast<int>(magnitude);
    const int rounded = whole + static_cast<int>(2.0f * (magnitude - static_cast<float>(whole)));
    b.qs[i] = static_cast<int8_t>(v < 0.0f ? -rounded : rounded);
  }
  b.d = f32_to_f16(d);
  store(block, 0, b);
}

}  // namespace lathe::gguf
