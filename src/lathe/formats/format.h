// Format: how a weight matrix is stored. A constant descriptor, written as a format spec
// ("f16", "int8:row", "int4:g128,asym", "nf4:b64,dq", "q4_k" …).
//
// A stored matrix is one or more *parts* (codes, scales, …), each a plain tensor with a name, so
// that every format lies in a safetensors file as `<matrix>.<part>` and is memory-mapped as it
// stands. Weights are rows N (outputs) × columns K (inputs), row-major, as in y = x·Wᵀ.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lathe/base/bytes.h"
#include "lathe/base/result.h"
#include "lathe/tensor/dtype.h"

namespace lathe {

struct PartSpec {
  std::string name;  // suffix in the checkpoint: "weight", "weight.absmax", "weight.scale", …
  DType dtype;
  std::vector<int64_t> shape;
  // The shape is the most that there can be, of one-byte elements; how much of it is stored follows
  // from the weights (sparse layouts).
  bool varies = false;
  // Of a part that varies: the bytes to reckon with where no weight is 0; 0: all of them.
  int64_t expected_bytes = 0;
  int64_t bytes() const;
};

// What a test may expect of round(w) for normally distributed weights: signal-to-noise ratio in dB,
// two-sided, since "too good" is a bug as well. Lossless formats say low = high = +inf.
struct SnrBounds {
  double low_db, high_db;
};

// What kind of block arithmetic a kernel needs; kernels are chosen by this, never by name.
enum class Encoding : uint8_t {
  kFloat,         // F32, F16, BF16 elements
  kInt8,          // int8 codes, f32 scale per row or per group
  kInt4,          // 4-bit codes, two to a byte; scale (and zero point) per row or group
  kBits,          // codes of 2, 3 or 4 bits in a stream; scale and zero point or offset per group
  kCodebook4,     // NF4, FP4: 16-entry table, absmax per block of the flattened matrix
  kMicro,         // MXFP4, NVFP4: E2M1 elements, a scale of 8 bits per block of a row
  kGguf,          // a ggml block type, as it lies in a GGUF file
  kSparse,        // the codes of another format without those that stand for 0 (sparse.h)
  kInt8Outliers,  // int8 codes with a scale per row, beside columns in bf16 (outliers.h)
};

class Format {
 public:
  virtual ~Format() = default;

  virtual std::string spec() const = 0;  // canonical; parse_format(spec()) gives this format again
  virtual uint32_t id() const = 0;       // permanent: kind in the low byte, parameters above
  virtual Encoding encoding() const = 0;
  virtual bool lossless() const { return false; }
  // True when a weight of exactly 0 decodes to exactly 0 whatever its neighbours are.
  virtual bool exact_zero() const = 0;
  virtual SnrBounds snr() const = 0;

  // Whether a matrix of this shape can be stored; the error says why not and what would fit.
  virtual Status supports(int64_t rows, int64_t cols) const = 0;
  virtual std::vector<PartSpec> parts(int64_t rows, int64_t cols) const = 0;

  // False for formats that are only read (some GGUF types).
  virtual bool can_encode() const { return true; }
  // `weights` is rows × cols f32, finite; `out` has one buffer per part, of its size. Round to
  // nearest.
  virtual void encode(const float* weights, int64_t rows, int64_t cols,
                      std::span<uint8_t* const> out) const = 0;
  // Parts that vary are encoded into buffers of the most bytes they can have, zeros behind; this
  // cuts them to what they hold.
  virtual void trim(std::vector<Bytes>& /*parts*/, int64_t /*rows*/, int64_t /*cols*/) const {}
  // True when every part has one equal slice per row, encoded from that row alone, so that ranges
  // of rows may be encoded at the same time. False where blocks run across the ends of rows.
  virtual bool rows_independent() const { return true; }
  // Decodes rows [begin, end) to f32, row-major.
  virtual void decode_rows(std::span<const Bytes> parts, int64_t rows, int64_t cols, int64_t begin,
                           int64_t end, float* out) const = 0;
  // Checks part sizes and contents of a hostile file: nothing that decode does may then read out of
  // bounds, and no decoded weight is NaN or infinite.
  virtual Status validate(std::span<const Bytes> parts, int64_t rows, int64_t cols) const = 0;

  // `zeros`: the share of the weights that are 0, of which parts that vary make use.
  int64_t bytes(int64_t rows, int64_t cols, double zeros = 0) const;
  double bits_per_weight(int64_t rows, int64_t cols) const;
};

using FormatPtr = std::shared_ptr<const Format>;

// One row of the registry: a kind of format, its syntax and what it is.
struct FormatKind {
  std::string name;         // "int4"
  std::string syntax;       // "int4:row | int4:gN[,asym]"
  std::string description;  // one line
  std::vector<std::string>
      examples;  // canonical specs; every one goes through the conformance tests
  Result<FormatPtr> (*parse)(std::string_view options);  // what stands after the colon
};

// The one list of formats. Adding a format: its own file and one line in registry.cc.
const std::vector<FormatKind>& format_kinds();
Result<FormatPtr> parse_format(std::string_view spec);
// All example specs of all kinds.
std::vector<std::string> example_formats();

}  // namespace lathe
