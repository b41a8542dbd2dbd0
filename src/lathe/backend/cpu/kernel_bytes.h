// Many tokens times packed integer codes: x as bytes with a scale per token and block, codes
// unpacked in registers and multiplied as they stand. Included after kernel_ints.h, once per
// instruction set.
#pragma once

#include "lathe/backend/cpu/kernel_ints.h"
#include "lathe/backend/cpu/kernel_unrolled.h"

namespace lathe::cpu {
namespace {

// ---- x to bytes -------------------------------------------------------------------------------

constexpr float kByteMost = 127;

// One token, the `lane` of its block; bytes behind `cols` are zero before and stay so.
LANE void round_token(const float* x, int64_t block, int64_t lane, const BytesView* q) {
  int8_t* codes = const_cast<int8_t*>(q->codes) + block * q->columns * kByteTokens + 4 * lane;
  const int64_t all_blocks = q->groups * q->blocks;
  const auto code_zero = static_cast<uint32_t>(q->signed_codes ? kSignedZero : q->code_zero);
  float* scales = const_cast<float*>(q->scales) + block * all_blocks * kByteTokens + lane;
  int32_t* starts = const_cast<int32_t*>(q->starts) + block * all_blocks * kByteTokens + lane;
  float* sums = const_cast<float*>(q->sums) + block * q->groups * kByteTokens + lane;
  for (int64_t g = 0; g < q->groups; ++g) {
    const int64_t end = (g + 1) * q->group < q->cols ? (g + 1) * q->group : q->cols;
    float group_sum = 0;
    for (int64_t b = 0; b < q->blocks; ++b) {
      const int64_t from = g * q->group + b * q->block;
      const int64_t to = from + q->block < end ? from + q->block : end;
      const float largest = largest_of(x, from, to);
      // Below this the reciprocal would overflow; such a block counts as zero.
      const bool tiny = largest < 1e-30f;
      const F inverse = set1(tiny ? 0.0f : kByteMost / largest);
      I total = zero_int();
      for (int64_t k = from; k < to; k += 16) {
        const int64_t count = to - k < 16 ? to - k : 16;
        const I code = to_int(mul(count == 16 ? load(x + k) : load_part(x + k, count), inverse));
        int8_t bytes[16];
        store_bytes(bytes, code);
        // A block begins at a multiple of 8; its last four bytes may be cut short by the columns.
        for (int64_t i = 0; i < count; i += 4) {
          __builtin_memcpy(codes + (k + i) * kByteTokens, bytes + i, 4);
        }
        total = add_int(total, code);
      }
      const float scale = tiny ? 0.0f : largest / kByteMost;
      // Unsigned: where x holds a NaN the sum may be any integer, and the scale is a NaN.
      const auto sum = static_cast<uint32_t>(sum_int(total));
      const int64_t at = (g * q->blocks + b) * kByteTokens;
      scales[at] = scale;
      starts[at] = static_cast<int32_t>(0u - code_zero * sum);
      group_sum += scale * static_cast<float>(static_cast<int32_t>(sum));
    }
    sums[g * kByteTokens] = group_sum;
  }
}

void round_bytes(const float* x, int64_t ldx, int64_t tokens, int64_t block,
                 const BytesView* q) noexcept {
  for (int64_t t = 0; t < tokens; ++t) round_token(x + t * ldx, block, t, q);
}

// ---- products ---------------------------------------------------------------------------------

template <Codes kCodes, int kHigh, bool kBook, int kPanels, int kTokens>
struct BytesTile {
  static constexpr int64_t kColumns = kUnit<kCodes, kHigh>;
  static constexpr int64_t kStep = kColumns / 8 * kStepBytes<kCodes>;
  static constexpr bool kSigned = kCodes == Codes::kInt8 || kBook;

  const uint8_t* data[kPanels];  // where the next columns begin
  const uint8_t* high[kPanels];  // where the panel begins
  // What is fetched meanwhile: the next block of x, `next_block` bytes further, and of the next
  // panels this pass's share of 1 in 2^share, from `ahead` on, so that memory never rests.
  int64_t next_block;
  const uint8_t* ahead[kPanels];
  int share;

  // Σ codes · codes over the columns [from, to), which lie in one block of x; codes of x at column
  // 0.
  LANE_MEMBER void multiply(const Bytes16& book, int64_t from, int64_t to, const int8_t* codes,
                            const int32_t* starts, I (&sums)[kPanels][kTokens]) {
    unrolled<kTokens>([&](auto t) UNROLLED {
      const I start = set1_int(starts[t]);
      unrolled<kPanels>([&](auto n) UNROLLED { sums[n][t] = start; });
    });
    int64_t k = from;
    do {  // a block is never empty, and a loop that may be costs a copy of every sum
      const int8_t* x = codes + k * kByteTokens;
      I more[kPanels];
      unrolled<kPanels>([&](auto n) UNROLLED { more[n] = high_bits<kCodes, kHigh>(high[n], k); });
      unrolled<kColumns / 4>([&](auto q) UNROLLED {
        I weights[kPanels];
        unrolled<kPanels>([&](auto n) UNROLLED {
          weights[n] = bytes_of<kCodes, kHigh, kBook, decltype(q)::kIndex>(book, data[n], more[n]);
        });
        __builtin_prefetch(x + q * 4 * kByteTokens + next_block, 0, 2);
        unrolled<kTokens>([&](auto t) UNROLLED {
          const I value = quad(x + q * 4 * kByteTokens + 4 * t);
          unrolled<kPanels>(
              [&](auto n) UNROLLED { sums[n][t] = dot<kSigned>(sums[n][t], weights[n], value); });
        });
      });
      const int64_t at = k / 8 * kStepBytes<kCodes>;
      unrolled<kPanels>([&](auto n) UNROLLED {
        unrolled<(kStep > 64 ? kStep / 64 : 1)>([&](auto line) UNROLLED {
          __builtin_prefetch(ahead[n] + ((at + line * 64) >> share), 0, 2);
        });
        prefetch(data[n] + kAhead);
        data[n] += kStep;
      });
      k += kColumns;
    } while (k < to);
  }
};

// kPanels panels times the tokens [first, first + kTokens) of one block; `y` is the first of them,
// of which `tokens` are wanted.
template <Codes kCodes, int kHigh, bool kBook, int kPanels, int kTokens>
void bytes_panels(const PackedView* w, int64_t panel, const BytesView* x, int64_t block,
                  int64_t first_token, int64_t tokens, const float* bias, float* y,
                  int64_t ldy) noexcept {
  const Bytes16 book = load_book(w->book);
  const bool offset = has_offset(w);
  const int8_t* codes = x->codes + (block * x->columns) * kByteTokens + 4 * first_token;
  const int64_t first_scale = block * x->groups * x->blocks * kByteTokens + first_token;
  const float* scales = x->scales + first_scale;
  const int32_t* starts = x->starts + first_scale;
  const float* x_sums = x->sums + block * x->groups * kByteTokens + first_token;
  BytesTile<kCodes, kHigh, kBook, kPanels, kTokens> tile;
  int64_t rows[kPanels];
  F total[kPanels][kTokens], group_total[kPanels][kTokens];
  for (int n = 0; n < kPanels; ++n) {
    tile.data[n] = w->data + (panel + n) * w->panel_bytes;
    tile.high[n] = kHigh > 0 ? w->high + (panel + n) * w->high_panel_bytes : nullptr;
    rows[n] = rows_of(w, panel + n);
    for (F& t : total[n]) t = bias ? load_part(bias + (panel + n) * kPanel, rows[n]) : zero();
  }
  tile.next_block = x->columns * kByteTokens;
  const int64_t of_block = x->tokens - block * kByteTokens;
  static_assert(kByteTokens <= 4 * kByteTokensAtOnce);
  constexpr int kMostShare = kByteTokens / kByteTokensAtOnce / 2;
  tile.share = of_block <= kByteTokensAtOnce       ? 0
               : of_block <= 2 * kByteTokensAtOnce ? 1
                                                   : kMostShare;
  for (int n = 0; n < kPanels; ++n) {
    tile.ahead[n] = tile.data[n] + kPanels * w->panel_bytes +
                    first_token / kByteTokensAtOnce * (w->panel_bytes >> tile.share);
  }
  for (int64_t t = 0; t < tokens; ++t) {
    for (int n = 0; n < kPanels; ++n) __builtin_prefetch(y + t * ldy + (panel + n) * kPanel, 1);
  }
  for (int64_t g = 0; g < w->groups; ++g, x_sums += kByteTokens) {
    const int64_t first_column = g * w->group;
    const int64_t last = first_column + w->group < w->cols ? first_column + w->group : w->cols;
    F scale[kPanels];
    unrolled<kPanels>([&](auto n) UNROLLED {
      scale[n] = group_scale(w, panel + n, g);
      if (offset) {
        const F o = group_offset(w, panel + n, g, scale[n]);
        unrolled<kTokens>([&](auto t)
                              UNROLLED { total[n][t] = fma(o, set1(x_sums[t]), total[n][t]); });
      }
      if constexpr (kBook) scale[n] = mul(scale[n], set1(w->unit));
    });
    I sums[kPanels][kTokens];
    if (x->blocks == 1) {
      tile.multiply(book, first_column, last, codes, starts, sums);
      unrolled<kPanels>([&](auto n) UNROLLED {
        unrolled<kTokens>([&](auto t) UNROLLED {
          total[n][t] = fma(mul(to_float(sums[n][t]), scale[n]), set1(scales[t]), total[n][t]);
        });
      });
      scales += kByteTokens;
      starts += kByteTokens;
      continue;
    }
    for (auto& panel_total : group_total) {
      for (F& t : panel_total) t = zero();
    }
    for (int64_t from = first_column; from < last; from += x->block) {
      tile.multiply(book, from, from + x->block < last ? from + x->block : last, codes, starts,
                    sums);
      scales += kByteTokens, starts += kByteTokens;
      unrolled<kPanels>([&](auto n) UNROLLED {
        unrolled<kTokens>([&](auto t) UNROLLED {
          group_total[n][t] =
              fma(to_float(sums[n][t]), set1(scales[t - kByteTokens]), group_total[n][t]);
        });
      });
    }
    unrolled<kPanels>([&](auto n) UNROLLED {
      unrolled<kTokens>(
          [&](auto t) UNROLLED { total[n][t] = fma(scale[n], group_total[n][t], total[n][t]); });
    });
  }
  for (int n = 0; n < kPanels; ++n) {
    for (int64_t t = 0; t < tokens; ++t) {
      store_part(y + t * ldy + (panel + n) * kPanel, total[n][t], rows[n]);
    }
  }
}

// The tokens of a block from `t` on, kTokens at once as long as more than half of them are left.
template <Codes kCodes, int kHigh, bool kBook, int kPanels, int kTokens>
LANE void bytes_block(const PackedView* w, int64_t panel, const BytesView* x, int64_t block,
                      int64_t t, const float* bias, float* y, int64_t ldy) {
  const int64_t first = block * kByteTokens;
  const int64_t tokens = x->tokens - first < kByteTokens ? x->tokens - first : kByteTokens;
  for (; tokens - t > kTokens / 2 || (kTokens == 4 && t < tokens); t += kTokens) {
    const int64_t count = tokens - t < kTokens ? tokens - t : kTokens;
    bytes_panels<kCodes, kHigh, kBook, kPanels, kTokens>(w, panel, x, block, t, count, bias,
                                                         y + (first + t) * ldy, ldy);
  }
  if constexpr (kTokens > 4) {
    bytes_block<kCodes, kHigh, kBook, kPanels, kTokens / 2>(w, panel, x, block, t, bias, y, ldy);
  }
}

// All panels for one block of tokens after the other: their codes stay in the second-level cache.
// Two panels share the loads of x; with short groups or much to unpack, one panel's totals stay in
// registers instead, which is worth more.
template <Codes kCodes, int kHigh, bool kBook>
void bytes_codes(const PackedView* w, int64_t begin, int64_t end, const BytesView* x,
                 const float* bias, float* y, int64_t ldy) noexcept {
  const int64_t blocks = (x->tokens + kByteTokens - 1) / kByteTokens;
  const bool paired = kBytePanelsAtOnce == 2 && w->group >= 32 && !has_offset(w);
  for (int64_t block = 0; block < blocks; ++block) {
    int64_t panel = begin;
    if constexpr (kBytePanelsAtOnce == 2 && kHigh == 0) {
      for (; paired && panel + 2 <= end; panel += 2) {
        bytes_block<kCodes, kHigh, kBook, 2, kByteTokensAtOnce>(w, panel, x, block, 0, bias, y,
                                                                ldy);
      }
    }
    for (; panel < end; ++panel) {
      bytes_block<kCodes, kHigh, kBook, 1, kByteTokensAtOnce>(w, panel, x, block, 0, bias, y, ldy);
    }
  }
}

void multiply_bytes(const PackedView* w, int64_t begin, int64_t end, const BytesView* x,
                    const float* bias, float* y, int64_t ldy) noexcept {
  for_kind_of_codes(w, [&]<Codes kCodes, int kHigh, bool kBook>() {
    bytes_codes<kCodes, kHigh, kBook>(w, begin, end, x, bias, y, ldy);
  });
}

}  // namespace
}  // namespace lathe::cpu
