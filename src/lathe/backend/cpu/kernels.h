// The kernels that one instruction set offers, and the packed weight layouts that they read.
//
// This header stands between the files compiled for one instruction set and the rest, so it is
// plain C in spirit: no standard library, no inline function, no type with a constructor. All
// kernels are noexcept, allocate nothing and take raw pointers that need no alignment unless
// stated.
//
// Shape letters: T tokens, N rows out, K columns in, D head size.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace lathe::cpu {

// Rows of a panel: 16 matrix rows are interleaved, so that lane i of a vector belongs to row i.
constexpr int kPanel = 16;
// Bytes between a load of codes and the line that is asked for meanwhile; 1, 2, 4 and 6 kB were
// slower (docs/performance.md, share of the read bandwidth).
constexpr int64_t kAhead = 3072;
// Bytes of codes that a stream of one row's products has before it jumps to the next panels.
constexpr int64_t kStreamBytes = 64 << 10;
// Columns of packed data are padded with zero codes to a multiple of this.
constexpr int kColumnUnit = 32;
// The most tokens that multiply_few() takes.
constexpr int kFewTokens = 4;

// Packed codes of one panel, for 8 consecutive columns k … k+7. Byte j of every dword belongs to
// the columns 4·i + j, so that four neighbours meet four bytes of x in one integer instruction;
// narrower codes of a byte follow each other from the lowest bit on.
enum class Codes : int32_t {
  kF32,   // [8][16] f32
  kF16,   // [8][16] f16
  kBf16,  // [4][16] dwords; low half = even column, high half = odd column
  kInt8,  // [2][16] dwords; byte j = column 4·i + j, two's complement
  kInt4,  // [1][16] dwords; low half of byte j = column j, high half = column 4 + j
  kInt2,  // per 16 columns: [16] dwords; bits 2i and 2i + 1 of byte j = column 4·i + j
};

enum class Scales : int32_t {
  kNone,   // floats
  kF32,    // f32 [panels][groups][16]
  kF16,    // f16 [panels][groups][16]
  kSuper,  // int8 [panels][groups][16], times f16 `super_scales` [panels][supers][16]
  // u8 [panels][groups][16] each:
  kE8M0,    // scale_factor · 2^(code − 127), 0 for code 0
  kE4M3,    // scale_factor · 2^−8 · the code as a float of 4 and 3 bits without sign
  kNested,  // dynamic map (kernel_codes.h) of the code · super_floats [panels][supers][16] +
            // scale_factor
};

// weight(row, k) = scale · (value − zero) + offset, all per row and group of columns; value = code
// (int8), table[code] (int4, int2) plus high_table[high code], or the float itself.
//
// Integer kernels read the same value as unit · book[code] where `by_book`, else as
// code − code_zero with low and high bits together (int8: the code itself).
struct PackedView {
  Codes codes;
  int32_t high_bits;  // 0, 1 or 2 further bits per code, in their own plane
  int64_t rows, cols;
  int64_t group, groups;  // columns per group (a multiple of 8), groups per row
  const uint8_t* data;    // [panels], each panel_bytes; aligned to 64
  int64_t panel_bytes;
  // [panels]; dwords of 16 rows, dword = 16 (two bits) or 32 (one bit) consecutive columns, in the
  // order of kInt2.
  const uint8_t* high;
  int64_t high_panel_bytes;
  // Indexed by the low four bits of what is left after shifting, so that a table of fewer than 16
  // values is repeated.
  float table[16];
  float high_table[16];
  bool by_book;
  int32_t code_zero;
  float unit;
  int8_t book[16];  // table / unit, rounded
  Scales scale_kind;
  const void* scales;
  float scale_factor;
  const uint16_t* super_scales;
  const float* super_floats;
  int64_t groups_per_super, supers;
  const uint8_t* zeros;        // u8 [panels][groups][16], or null
  const uint16_t* offsets;     // f16 [panels][groups][16], or null
  const uint8_t* mins;         // u8 [panels][groups][16], offset = −super_min · min, or null
  const uint16_t* super_mins;  // f16 [panels][supers][16]
  // Sparse panels, null for dense ones: of each unit of kSparseUnit columns the bits of the 64
  // codes that there are, in the order of the dense panel (int4: the low halves of a vector, then
  // the high ones), [panels][units], an even number of units.
  const uint64_t* masks;
  int64_t units;
  // Where the codes of each chunk of kSparseChunk columns begin, in bytes from `data`:
  // [panels][chunks]. Those of a unit of int4 begin at a byte; 64 bytes may be read anywhere.
  // panel_bytes is that of a dense panel.
  const int64_t* starts;
  int64_t chunks;
  int32_t zero_code;  // what stands where there is no code; with `zeros` (int4) that of the group
};
constexpr int64_t kSparseUnit = 4;
constexpr int64_t kSparseChunk = 256;

// x as integers of 15 bits with a scale per token and block: x(t, k) ≈ scale · (128·high + low),
// |high| ≤ 127, −64 ≤ low < 64. A block is a run of at most kQuantBlock columns of one group; every
// group starts a new one. For Scales::kSuper all groups of a super-block share a scale.
struct QuantizedView {
  int64_t tokens, cols, columns;         // columns: cols rounded up to 64, zeros behind
  int64_t group, groups, block, blocks;  // of columns; blocks per group
  int64_t span;                          // groups that share a scale
  // [columns/64][T][64], from run to run of 64 columns `run` bytes: of several tokens the high and
  // the low parts of a run lie behind each other, one tile if it has that many rows.
  const int8_t *high, *low;
  int64_t run;
  const float* scales;       // [groups/span][blocks][T]
  const int32_t* code_sums;  // [groups][blocks][T]: Σ 128·high + low
  const float* sums;         // [groups][T]: Σ x, of the rounded x
};
constexpr int64_t kQuantBlock = 256;
// The most tokens that multiply_codes() takes.
constexpr int kCodeTokens = 16;

// x as bytes with a scale per token and block: x(t, k) ≈ scale · code, |code| ≤ 127. A block is a
// run of at most kByteBlock columns of one group; every group starts a new one. Tokens lie in
// blocks of kByteTokens side by side, so that a row of the product reads x in one stream.
struct BytesView {
  int64_t tokens, cols, columns;  // columns: cols rounded up to 64, zeros behind
  int64_t group, groups, block, blocks;
  bool signed_codes;      // of the weights that x is for: int8 or by_book
  int32_t code_zero;      // theirs
  const int8_t* codes;    // [token blocks][columns/4][16][4]
  const float* scales;    // [token blocks][groups][blocks][16]
  const int32_t* starts;  // the same: what the constant zero of the codes adds to Σ code · code
  const float* sums;      // [token blocks][groups][16]: Σ x, of the rounded x
};
constexpr int64_t kByteBlock = 128;
constexpr int kByteTokens = 16;

// Elements of the key-value cache.
enum class KvCode : int32_t { kF32, kF16, kBf16, kInt8 };

// Panels of 16 lanes: element (k, panel, lane) lies at data[panel·panel_stride + k·stride + lane];
// int8, as Codes::kInt8: at data[panel·panel_stride + k/4·64 + lane·4 + k % 4].
struct KvTile {
  KvCode code;
  const void* data;
  int64_t stride, panel_stride, panels, depth;
  // int8: the value is element · lane_scales[16·panel + lane], or element · depth_scales[k]; the
  // other is null.
  const float* lane_scales;
  const float* depth_scales;
};

// Queries of one key head over the int8 keys and values of positions [begin, end), begin a multiple
// of kKvRun, which lie as KvCache has them. Blocks of kKvBlock positions, kKvQueries rows at once.
constexpr int64_t kKvRun = 64;  // positions of a run of values
constexpr int64_t kKvBlock = 256;
constexpr int64_t kKvQueries = 8;
struct KvAttention {
  int64_t size, key_stride, value_stride;  // D, Dk, Dv
  const int8_t *keys, *values;             // of position `begin`, like the scales
  const float *key_scales, *value_scales;
  int64_t begin, end;
  // Asked for at the end: what this thread will read then, at most a block.
  const int8_t *next_keys, *next_values;
  int64_t next_positions;
  int64_t rows;
  const float* queries;             // [rows][D]
  const int64_t *lowest, *highest;  // [rows]: positions [lowest, highest) are visible
  float scale, cap;                 // of the scores; cap 0: none
  float *maxima, *totals, *sums;    // [rows], [rows], [rows][Dv]: carry over, as in softmax_step()
  void* memory;                     // kv_attention_floats() floats, aligned to 64
};

enum class Unary : int32_t { kSilu, kGeluErf, kGeluTanh, kRelu };

struct Kernels {
  int32_t tokens_at_once;  // tokens of one multiply() call
  int32_t panels_at_once;  // panels of one multiply() call

  // y[t][n] = Σ_k x(t, k)·w[n][k] + bias[n] for the rows n of panels [begin, end), t < tokens ≤ 4.
  // x(t, k) = x[k·tokens + t], zero from K to the next multiple of 8; sums [T][groups] holds Σ x
  // over each group (null if the format has neither zeros nor offsets nor mins); bias [N] or null;
  // y [T][ldy].
  void (*multiply_few)(const PackedView* w, int64_t begin, int64_t end, const float* x,
                       const float* sums, int32_t tokens, const float* bias, float* y,
                       int64_t ldy) noexcept;
  // tile[k − begin][lane] = w[16·panel + lane][k] for k in [begin, end); begin is a multiple of
  // kColumnUnit. Row stride `stride` ≥ 16 floats; up to 7 rows past the end are written.
  void (*decode)(const PackedView* w, int64_t panel, int64_t begin, int64_t end, float* tile,
                 int64_t stride) noexcept;
  // The codes of columns [begin, end) of a sparse panel in their places of a dense one at `codes`,
  // aligned to 64; begin is a multiple of kSparseChunk. Up to 7 columns past the end are written.
  void (*expand)(const PackedView* w, int64_t panel, int64_t begin, int64_t end,
                 uint8_t* codes) noexcept;
  // y[t][16p + lane] (+)= Σ_k x(t, k)·tile[k][16p + lane] for p < panels ≤ panels_at_once and
  // t < tokens ≤ tokens_at_once. x(t, k) = x[k·tokens_at_once + t].
  void (*multiply)(const float* tile, int64_t stride, int64_t depth, const float* x, float* y,
                   int64_t ldy, int32_t panels, int32_t tokens, bool accumulate) noexcept;
  // The same for one panel with x(t, k) = x[t·ldx + k], any number of tokens.
  void (*multiply_rows)(const float* tile, int64_t stride, int64_t depth, const float* x,
                        int64_t ldx, float* y, int64_t ldy, int64_t tokens,
                        bool accumulate) noexcept;
  // y[r][16·panel + lane] (+)= Σ_k x[r·ldx + k]·tile(k, panel, lane), k < depth, any number of
  // rows.
  void (*multiply_kv)(const KvTile* tile, const float* x, int64_t ldx, float* y, int64_t ldy,
                      int64_t rows, bool accumulate) noexcept;
  // to[c][r] = from[r][c] for r < rows ≤ 16, c < cols; lanes r in [rows, 16) are set to zero.
  void (*transpose)(const float* from, int64_t ld_from, int64_t rows, int64_t cols, float* to,
                    int64_t ld_to) noexcept;
  float (*dot)(const float* a, const float* b, int64_t n) noexcept;

  void (*add)(float* a, const float* b, int64_t n) noexcept;                // a += b
  void (*scale)(float* a, float s, int64_t n) noexcept;                     // a *= s
  void (*scale_each)(float* a, const float* s, int64_t n) noexcept;         // a[i] *= s[i]
  void (*activate)(Unary f, float* x, int64_t n) noexcept;                  // x = f(x)
  void (*gate)(Unary f, float* gate, const float* up, int64_t n) noexcept;  // gate = f(gate)·up
  void (*soft_cap)(float cap, float* x, int64_t n) noexcept;                // cap·tanh(x/cap)
  void (*rms_norm)(const float* x, const float* w, float eps, int64_t n, float* y) noexcept;
  // b may be null.
  void (*layer_norm)(const float* x, const float* w, const float* b, float eps, int64_t n,
                     float* y) noexcept;
  // x[i], x[i + half] rotated by (cosine[i], sine[i]), i < half.
  void (*rotate)(float* x, const float* cosine, const float* sine, int64_t half) noexcept;
  // One step of the online softmax over s[0, n), n a multiple of 16. Scores in [lo, hi) are
  // scaled, capped (cap > 0) and replaced by exp(score − maximum); the rest becomes 0. `maximum`
  // and `sum` carry over from block to block; returns the factor for what was summed before.
  float (*softmax_step)(float* s, int64_t n, int64_t lo, int64_t hi, float scale, float cap,
                        float* maximum, float* sum) noexcept;

  // For the ceilings: `rounds` times 16 independent chains of fused multiply-add; returns a sum so
  // that the work is not dropped. *flops receives the operations of one round.
  float (*burn)(int64_t rounds, int64_t* flops) noexcept;
  // Sums n bytes (a multiple of 256) as integers, as fast as memory gives them: `streams` parts
  // side by side, each with prefetches `ahead` bytes before the loads (0: none).
  uint32_t (*read)(const uint8_t* p, int64_t n, int64_t streams, int64_t ahead) noexcept;
};

// Two panels (or one) times a run of tokens, in BF16 tiles of 32 columns.
struct Bf16Product {
  const uint32_t*
      weights;           // [panels][tiles][16][16]: dword [i][lane] = columns 2i (low half), 2i + 1
  int64_t panel_stride;  // dwords from panel to panel
  int32_t panels;        // 1 or 2
  int64_t tiles;
  const uint16_t* x;     // [token blocks][tiles][16][32]
  int64_t block_stride;  // elements of x from block to block
  int64_t tokens;
  float* sums;       // [token blocks][512]: sums over the tiles before, aligned to 64
  bool first, last;  // no sums before; results go to y instead of `sums`
  float* y;          // [T][ldy], `rows` of it
  int64_t ldy, rows;
  const float* bias;  // [rows] or null
};
constexpr int kTileTokens = 16;
constexpr int kTileDepth = 32;

// Products on integers and BF16, faster than f32 and rounded once more: x to 15 bits
// (QuantizedView), to bytes or to BF16. Those of BF16 are null where it does not pay, those of
// bytes where BF16 is as fast; an instruction set without any has no table, and LATHE_MATH=exact
// leaves them out.
struct FastKernels {
  // Row t of x, [K] floats, to its place in q's arrays, which the caller owns and has zeroed. A
  // block with NaN or infinity gets NaN results.
  void (*quantize)(const float* x, int64_t t, const QuantizedView* q) noexcept;
  // y[t][n] = Σ_k x(t, k)·w[n][k] + bias[n] for the rows n of panels [begin, end) of integer codes
  // and all tokens ≤ kCodeTokens of x, whose groups are those of w. bias [N] or null; y [T][ldy].
  // Each token's result is the same however many there are.
  void (*multiply_codes)(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
                         const float* bias, float* y, int64_t ldy) noexcept;
  // The same for a sparse matrix and at most kFewTokens tokens, or null: such panels are expanded.
  void (*multiply_sparse)(const PackedView* w, int64_t begin, int64_t end, const QuantizedView* x,
                          const float* bias, float* y, int64_t ldy) noexcept;
  // Columns [begin, end) of a panel as Bf16Product::weights, begin a multiple of kTileDepth; zeros
  // up to the next such multiple. To the nearest, halves away from zero.
  void (*decode_bf16)(const PackedView* w, int64_t panel, int64_t begin, int64_t end,
                      uint32_t* tiles) noexcept;
  // `tokens` ≤ 16 rows of x as one block of Bf16Product::x, zeros behind cols and tokens. To the
  // nearest, halves to even.
  void (*round_bf16)(const float* x, int64_t ldx, int64_t tokens, int64_t cols,
                     uint16_t* block) noexcept;
  // Each element is summed along its row alone: neither the other tokens nor their number matter.
  void (*multiply_bf16)(const Bf16Product* product) noexcept;
  // `tokens` ≤ kByteTokens rows of x as token block `block` of q, which the caller owns and has
  // zeroed. A block with NaN or infinity gets results that are not finite.
  void (*round_bytes)(const float* x, int64_t ldx, int64_t tokens, int64_t block,
                      const BytesView* q) noexcept;
  // As multiply_codes() with bytes for x, for any number of tokens.
  void (*multiply_bytes)(const PackedView* w, int64_t begin, int64_t end, const BytesView* x,
                         const float* bias, float* y, int64_t ldy) noexcept;
  // Queries and weights of the values in 15 bits, the latter with a scale per row and block. Rows
  // do not depend on each other.
  void (*attend_int8)(const KvAttention* a) noexcept;
  // As Kernels::multiply_kv() for many rows and floats, or null: with 16 bits of each. `memory`:
  // kv_tile_dwords(rows, depth), aligned to 64 bytes.
  void (*multiply_kv)(const KvTile* tile, const float* x, int64_t ldx, float* y, int64_t ldy,
                      int64_t rows, bool accumulate, uint32_t* memory) noexcept;
};
constexpr int64_t kv_tile_dwords(int64_t rows, int64_t depth) {
  return ((rows + kTileTokens - 1) / kTileTokens + 2) * ((depth + kTileDepth - 1) / kTileDepth) *
         512;
}

extern const Kernels kPortableKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const FastKernels kAvx2Fast;
extern const FastKernels kAvx512Fast;
extern const FastKernels kAmxFast;
#endif

}  // namespace lathe::cpu
