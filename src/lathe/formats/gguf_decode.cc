#include "lathe/formats/detail.h"
#include "lathe/formats/gguf_codec.h"

namespace lathe::gguf {
namespace {

using formats::load;

uint32_t high_bits(const uint8_t* qh) { return load<uint32_t>(qh); }

}  // namespace

void decode_q4_0(const uint8_t* block, float* out) {
  const auto b = load<BlockQ4_0>(block);
  const float d = f16_to_f32(b.d);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((b.qs[i] & 15) - 8);
    out[i + 16] = d * static_cast<float>((b.qs[i] >> 4) - 8);
  }
}

void decode_q4_1(const uint8_t* block, float* out) {
  const auto b = load<BlockQ4_1>(block);
  const float d = f16_to_f32(b.d), m = f16_to_f32(b.m);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(b.qs[i] & 15) + m;
    out[i + 16] = d * static_cast<float>(b.qs[i] >> 4) + m;
  }
}

void decode_q5_0(const uint8_t* block, float* out) {
  const auto b = load<BlockQ5_0>(block);
  const float d = f16_to_f32(b.d);
  const uint32_t high = high_bits(b.qh);
  for (int i = 0; i < 16; ++i) {
    const int low_q = (b.qs[i] & 15) | static_cast<int>((high >> i & 1) << 4);
    const int high_q = (b.qs[i] >> 4) | static_cast<int>((high >> (i + 16) & 1) << 4);
    out[i] = d * static_cast<float>(low_q - 16);
    out[i + 16] = d * static_cast<float>(high_q - 16);
  }
}

void decode_q5_1(const uint8_t* block, float* out) {
  const auto b = load<BlockQ5_1>(block);
  const float d = f16_to_f32(b.d), m = f16_to_f32(b.m);
  const uint32_t high = high_bits(b.qh);
  for (int i = 0; i < 16; ++i) {
    const int low_q = (b.qs[i] & 15) | static_cast<int>((high >> i & 1) << 4);
    const int high_q = (b.qs[i] >> 4) | static_cast<int>((high >> (i + 16) & 1) << 4);
    out[i] = d * static_cast<float>(low_q) + m;
    out[i + 16] = d * static_cast<float>(high_q) + m;
  }
}

void decode_q8_0(const uint8_t* block, float* out) {
  const auto b = load<BlockQ8_0>(block);
  const float d = f16_to_f32(b.d);
  for (int i = 0; i < kSmall; ++i) out[i] = static_cast<float>(b.qs[i]) * d;
}

void decode_iq4_nl(const uint8_t* block, float* out) {
  const auto b = load<BlockIQ4_NL>(block);
  const float d = f16_to_f32(b.d);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(kIq4Values[b.qs[i] & 15]);
    out[i + 16] = d * static_cast<float>(kIq4Values[b.qs[i] >> 4]);
  }
}

void decode_q2_k(const uint8_t* block, float* out) {
  const auto b = load<BlockQ2_K>(block);
  const float d = f16_to_f32(b.d), dmin = f16_to_f32(b.dmin);
  for (int s = 0; s < 16; ++s) {
    const float scale = d * static_cast<float>(b.scales[s] & 15);
    const float min = dmin * static_cast<float>(b.scales[s] >> 4);
    const uint8_t* qs = b.qs + 32 * (s / 8) + 16 * (s % 2);
    const int shift = 2 * (s / 2 % 4);
    for (int l = 0; l < 16; ++l) {
      out[16 * s + l] = scale * static_cast<float>((qs[l] >> shift) & 3) - min;
    }
  }
}

void decode_q3_k(const uint8_t* block, float* out) {
  const auto b = load<BlockQ3_K>(block);
  const float d = f16_to_f32(b.d);
  for (int s = 0; s < 16; ++s) {
    const int low = (b.scales[s % 8] >> (4 * (s / 8))) & 15;
    const int high = (b.scales[8 + s % 4] >> (2 * (s / 4))) & 3;
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    const uint8_t* qs = b.qs + 32 * (s / 8) + 16 * (s % 2);
    const uint8_t* mask = b.hmask + 16 * (s % 2);
    const int shift = 2 * (s / 2 % 4);
    for (int l = 0; l < 16; ++l) {
      const int set = (mask[l] >> (s / 2)) & 1;
      out[16 * s + l] = scale * static_cast<float>(((qs[l] >> shift) & 3) - (set ? 0 : 4));
    }
  }
}

void decode_q4_k(const uint8_t* block, float* out) {
  const auto b = load<BlockQ4_K>(block);
  const float d = f16_to_f32(b.d), dmin = f16_to_f32(b.dmin);
  for (int s = 0; s < 8; ++s) {
    const ScaleMin sm = scale_min(b.scales, s);
    const float scale = d * static_cast<float>(sm.scale);
    const float min = dmin * static_cast<float>(sm.min);
    const uint8_t* qs = b.qs + 32 * (s / 2);
    const int shift = 4 * (s % 2);
    for (int l = 0; l < 32; ++l) {
      out[32 * s + l] = scale * static_cast<float>((qs[l] >> shift) & 15) - min;
    }
  }
}

void decode_q5_k(const uint8_t* block, float* out) {
  const auto b = load<BlockQ5_K>(block);
  const float d = f16_to_f32(b.d), dmin = f16_to_f32(b.dmin);
  for (int s = 0; s < 8; ++s) {
    const ScaleMin sm = scale_min(b.scales, s);
    const float scale = d * static_cast<float>(sm.scale);
    const float min = dmin * static_cast<float>(sm.min);
    const uint8_t* qs = b.qs + 32 * (s / 2);
    const int shift = 4 * (s % 2);
    for (int l = 0; l < 32; ++l) {
      const int q = ((qs[l] >> shift) & 15) | ((b.qh[l] >> s) & 1) << 4;
      out[32 * s + l] = scale * static_cast<float>(q) - min;
    }
  }
}

void decode_q6_k(const uint8_t* block, float* out) {
  const auto b = load<BlockQ6_K>(block);
  const float d = f16_to_f32(b.d);
  for (int s = 0; s < 16; ++s) {
    const float scale = d * static_cast<float>(b.scales[s]);
    const int half = s / 8, quarter = s / 2 % 4;  // 128 and 32 weights
    const uint8_t* ql = b.ql + 64 * half + 32 * (quarter % 2) + 16 * (s % 2);
    const uint8_t* qh = b.qh + 32 * half + 16 * (s % 2);
    for (int l = 0; l < 16; ++l) {
      const int low = (ql[l] >> (4 * (quarter / 2))) & 15;
      const int high = (qh[l] >> (2 * quarter)) & 3;
      out[16 * s + l] = scale * static_cast<float>((low | high << 4) - 32);
    }
  }
}

}  // namespace lathe::gguf
