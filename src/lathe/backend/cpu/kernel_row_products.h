// Packed integer codes to bytes, and the products of one row of x with several panels of them.
// Included after lanes_codes_*.h, once per instruction set.
#pragma once

#include "lathe/backend/cpu/kernel_codes.h"
#include "lathe/backend/cpu/kernel_streams.h"
#include "lathe/backend/cpu/kernel_unrolled.h"

namespace lathe::cpu {
namespace {

// Columns that one round of the inner loop takes: those that share a vector of codes.
template <Codes kCodes, int kHigh>
constexpr int64_t kUnit = kCodes == Codes::kInt2 || kHigh == 2 ? 16
                          : kHigh == 1                         ? 32
                                                               : 8;

// Quads of columns that a vector of codes holds.
template <Codes kCodes>
constexpr int kQuadsOfVector = kCodes == Codes::kInt8 ? 1 : 8 / kLowBits<kCodes>;

// The bytes of columns k + 4·Q … k + 4·Q + 3, k the first of a unit, from the vector that holds
// them; their further bits begin at bit kHighAt of `high`.
template <Codes kCodes, int kHigh, bool kBook, int Q, int kHighAt = 0>
LANE I unpacked(const Bytes16& book, const I& codes, const I& high) {
  if constexpr (kCodes == Codes::kInt8) {
    return from_signed(codes);
  } else {
    constexpr int kBits = kLowBits<kCodes>;
    constexpr int kMask = (1 << kBits) - 1;
    const I shifted = shift<kBits*(Q % kQuadsOfVector<kCodes>)>(codes);
    if constexpr (kBook) return lookup_low_bits(book, shifted);
    const I low = and_bytes(shifted, kMask);
    if constexpr (kHigh == 0) return low;
    return or_masked(low, shift<kHigh * Q - kBits + kHighAt>(high), ((1 << kHigh) - 1) << kBits);
  }
}

// The same from where the unit begins. Each line of codes asks for the one kAhead bytes on: several
// requests in a row would wait for each other, and the arithmetic for them.
template <Codes kCodes, int kHigh, bool kBook, int Q>
LANE I bytes_of(const Bytes16& book, const uint8_t* p, const I& high) {
  constexpr int kVector = Q / kQuadsOfVector<kCodes> * 64;
  if constexpr (Q % kQuadsOfVector<kCodes> == 0) prefetch(p + kAhead + kVector);
  return unpacked<kCodes, kHigh, kBook, Q>(book, load_int(p + kVector), high);
}

// The further bits of the unit that begins at column k of a panel, from its bit 0 on.
template <Codes kCodes, int kHigh>
LANE I high_bits(const uint8_t* panel_high, int64_t k) {
  if constexpr (kHigh == 0) {
    return zero_int();
  } else {
    constexpr int64_t kOfVector = 32 / kHigh;
    const I bits = load_int(panel_high + k / kOfVector * 64);
    if constexpr (kOfVector <= kUnit<kCodes, kHigh>) return bits;
    return shift_right(bits, static_cast<int>(k % kOfVector / 4) * kHigh);
  }
}

template <Codes kCodes, int kHigh, bool kBook, int Q, int kQuads, typename Sums>
LANE void quads(const Bytes16& book, const uint8_t* p, const I& high, const int8_t* highs,
                const int8_t* lows, Sums& sums) {
  if constexpr (Q < kQuads) {
    const I bytes = bytes_of<kCodes, kHigh, kBook, Q>(book, p, high);
    sums.template at<Q>(bytes, highs, lows);
    quads<kCodes, kHigh, kBook, Q + 1, kQuads>(book, p, high, highs, lows, sums);
  }
}

// The most quads whose products fit into 16 bits together: 2 · 128 · code per quad.
template <Codes kCodes, int kHigh, bool kBook>
constexpr int kQuadsInPairs = kCodes == Codes::kInt8 || kBook ? 1
                              : kCodes == Codes::kInt2        ? 8
                              : kHigh == 0                    ? 8
                              : kHigh == 1                    ? 4
                                                              : 2;

// Products of one row of x with kPanels panels at once. Several streams of codes come from memory
// faster than one, up to 1.4 times, and each part of x is spread over the lanes once for all.
template <Codes kCodes, int kHigh, bool kBook, int kQuads, int kPanels, bool kShort>
struct RowProducts {
  static constexpr bool kSigned = kCodes == Codes::kInt8 || kBook;
  using Sums = RowSums<kSigned, kQuadsInPairs<kCodes, kHigh, kBook>, kShort>;
  Sums (&high)[kPanels];
  Sums (&low)[kPanels];

  // `p`: where the codes begin, `bits`: their further ones. Each line of codes asks for the one
  // `ahead` bytes on.
  template <int kHighAt = 0>
  LANE_MEMBER void add(const Bytes16& book, const uint8_t* const (&p)[kPanels],
                       const I (&bits)[kPanels], const int8_t* highs, const int8_t* lows,
                       int64_t ahead) {
    constexpr int kOfVector = kQuadsOfVector<kCodes>;
    unrolled<kQuads / kOfVector>([&](auto v) UNROLLED {
      I codes[kPanels];
      unrolled<kPanels>([&](auto i) UNROLLED { codes[i] = load_int(p[i] + v * 64); });
      unrolled<kOfVector>([&](auto q) UNROLLED {
        constexpr int kQuad = decltype(v)::kIndex * kOfVector + decltype(q)::kIndex;
        const I of_high = quad(highs + 4 * kQuad), of_low = quad(lows + 4 * kQuad);
        unrolled<kPanels>([&](auto i) UNROLLED {
          const I bytes = unpacked<kCodes, kHigh, kBook, kQuad, kHighAt>(book, codes[i], bits[i]);
          high[i].template at<kQuad, kQuads>(bytes, of_high);
          low[i].template at<kQuad, kQuads>(bytes, of_low);
          if constexpr (kOfVector == 1) prefetch(p[i] + v * 64 + ahead);
        });
        if constexpr (kOfVector > 1 && kQuad * kPanels % kOfVector == 0) {
          prefetch(p[kQuad % kOfVector * kPanels / kOfVector] + v * 64 + ahead);
        }
      });
    });
  }
};

// Where the sums of a group begin, for the zero of its codes. Where x holds a NaN its sum may be
// any integer, and its scale is a NaN.
LANE I without_zeros(uint32_t code_zero, int32_t code_sum) {
  return set1_int(static_cast<int32_t>(0u - code_zero * static_cast<uint32_t>(code_sum)));
}

}  // namespace
}  // namespace lathe::cpu
