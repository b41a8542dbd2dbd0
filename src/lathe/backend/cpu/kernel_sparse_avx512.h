// Few tokens times sparse integer codes: multiply_codes() of kernel_ints.h with codes that are
// spread in registers, and the same sums in the same order. Included after kernel_ints.h.
//
// Why not by way of expand(): a panel of 5632 columns takes 90 kB, so that every byte goes to the
// second-level cache and back. On two Zen 4 cores that cost all that half of the weights saved.
#pragma once

#include "lathe/backend/cpu/kernel_ints.h"
#include "lathe/backend/cpu/lanes_sparse_avx512.h"

namespace lathe::cpu {
namespace {

// The bytes of 4 columns, as bytes_of() gives them; p moves on to the next unit.
template <Codes kCodes, bool kBook>
LANE I spread_unit(const Bytes16& book, uint64_t mask, const __m512i& none, const uint8_t*& p) {
  const int64_t count = __builtin_popcountll(mask);
  if constexpr (kCodes == Codes::kInt8) {
    const __m512i codes = _mm512_maskz_expand_epi8(mask, _mm512_loadu_si512(p));
    p += count;
    return from_signed({codes});
  } else {
    const I codes{_mm512_mask_expand_epi8(none, mask, unpack_nibbles(p))};
    p += (count + 1) / 2;
    if constexpr (kBook) return lookup_bytes(book, codes);
    return codes;
  }
}

// The code that stands for 0 in each byte of a group.
LANE __m512i zero_codes(const PackedView* w, int64_t panel, int64_t g) {
  if (!w->zeros) return _mm512_set1_epi8(static_cast<char>(w->zero_code));
  const uint8_t* zeros = w->zeros + (panel * w->groups + g) * kPanel;
  const __m512i rows =
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(zeros)));
  return _mm512_mullo_epi32(rows, _mm512_set1_epi32(0x01010101));
}

template <Codes kCodes, bool kBook, int kTokens>
void sparse_panel(const PackedView* w, int64_t panel, const QuantizedView* x, const float* bias,
                  float* y, int64_t ldy) noexcept {
  const Bytes16 book = load_book(w->book);
  const int32_t code_zero = kCodes == Codes::kInt8 || kBook ? kSignedZero : w->code_zero;
  const uint8_t* p = w->data + w->starts[panel * w->chunks];
  const uint64_t* masks = w->masks + panel * w->units;
  const int64_t rows = rows_of(w, panel);
  Totals<kBook, kTokens> totals;
  totals.start(panel, bias, rows, kTokens);
  for (int64_t g = 0; g < w->groups; ++g) {
    const int64_t first_column = g * w->group;
    const int64_t last = first_column + w->group < w->cols ? first_column + w->group : w->cols;
    const __m512i none = zero_codes(w, panel, g);
    for (int64_t b = 0; b < x->blocks; ++b) {
      const int64_t from = first_column + b * x->block;
      const int64_t to = from + x->block < last ? from + x->block : last;
      const int64_t at = (g * x->blocks + b) * x->tokens;
      CodeSums<kCodes, kBook, kTokens> sums;
      sums.start(x, at, code_zero);
      for (int64_t k = from; k < to; k += 8, masks += 2) {
        prefetch(p + kAhead);
        const I first = spread_unit<kCodes, kBook>(book, masks[0], none, p);
        const I second = spread_unit<kCodes, kBook>(book, masks[1], none, p);
        const int64_t place = k / 64 * x->run + k % 64;
        sums.template at<0>(first, x->high + place, x->low + place);
        sums.template at<1>(second, x->high + place, x->low + place);
      }
      for (int t = 0; t < kTokens; ++t) totals.add_block(w, sums.joined(t), x, g, b, 0, t);
    }
    totals.end_group(w, panel, g, x, 0, kTokens);
  }
  for (int t = 0; t < kTokens; ++t) {
    store_part(y + t * ldy + panel * kPanel, totals.total[t], rows);
  }
}

template <Codes kCodes, bool kBook>
void sparse_tokens(const PackedView* w, int64_t panel, const QuantizedView* x, const float* bias,
                   float* y, int64_t ldy) noexcept {
  switch (x->tokens) {
    case 1:
      return sparse_panel<kCodes, kBook, 1>(w, panel, x, bias, y, ldy);
    case 2:
      return sparse_panel<kCodes, kBook, 2>(w, panel, x, bias, y, ldy);
    case 3:
      return sparse_panel<kCodes, kBook, 3>(w, panel, x, bias, y, ldy);
    default:
      return sparse_panel<kCodes, kBook, 4>(w, panel, x, bias, y, ldy);
  }
}

void multiply_sparse(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
                     const float* bias, float* y, int64_t ldy) noexcept {
  for (int64_t panel = begin; panel < end; ++panel) {
    if (w->codes == Codes::kInt8) {
      sparse_tokens<Codes::kInt8, false>(w, panel, x, bias, y, ldy);
    } else if (w->by_book) {
      sparse_tokens<Codes::kInt4, true>(w, panel, x, bias, y, ldy);
    } else {
      sparse_tokens<Codes::kInt4, false>(w, panel, x, bias, y, ldy);
    }
  }
}

}  // namespace
}  // namespace lathe::cpu
