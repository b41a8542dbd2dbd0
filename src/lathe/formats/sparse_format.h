// What the sparse layouts (sparse.h) have in common. Not for the layers above.
#pragma once

#include "lathe/formats/detail.h"
#include "lathe/formats/sparse_codes.h"

namespace lathe::formats {

// A layout stores which codes of a dense format there are, and those codes, in parts of its own;
// behind them stand the parts of the dense format but its codes. A code is left out where it stands
// for exactly 0, whether the weight was pruned or rounded to it.
class SparseFormat : public Format {
 public:
  SparseFormat(Kind kind, const char* name, DenseCodes codes)
      : codes_(std::move(codes)), kind_(kind), name_(name) {}

  const FormatPtr& dense() const { return codes_.format(); }
  // "N:M", or empty: any zeros.
  virtual std::string pattern() const { return {}; }
  // All parts of the dense format.
  std::vector<Bytes> to_dense(std::span<const Bytes> parts, int64_t rows, int64_t cols) const;
  // The reverse; false if there was no room for all codes.
  bool from_dense(std::span<const Bytes> of_dense, int64_t rows, int64_t cols,
                  std::vector<Bytes>& parts) const;

  std::string spec() const override { return fmt::format("{}:{}", name_, dense()->spec()); }
  uint32_t id() const override {
    const uint32_t dense_id = dense()->id();
    return make_id(kind_, dense_id >> 8 << 4 | (dense_id & 15));
  }
  Encoding encoding() const override { return Encoding::kSparse; }
  bool exact_zero() const override { return true; }
  Status supports(int64_t rows, int64_t cols) const override;
  std::vector<PartSpec> parts(int64_t rows, int64_t cols) const override;
  void encode(const float* weights, int64_t rows, int64_t cols,
              std::span<uint8_t* const> out) const override;
  void decode_rows(std::span<const Bytes> parts, int64_t rows, int64_t cols, int64_t begin,
                   int64_t end, float* out) const override;
  Status validate(std::span<const Bytes> parts, int64_t rows, int64_t cols) const override;

 protected:
  // Of the layout itself; the second one holds the codes.
  virtual std::vector<PartSpec> own_parts(int64_t rows, int64_t cols) const = 0;
  // Writes them whole, from all codes (the dense part) and the dense parts behind those.
  virtual bool pack(const uint8_t* codes, std::span<const Bytes> others, int64_t rows, int64_t cols,
                    std::span<uint8_t* const> out) const = 0;
  // Puts the codes of row r over those that stand for 0.
  virtual void place(std::span<const Bytes> parts, int64_t cols, int64_t r,
                     uint16_t* row) const = 0;
  // Once the sizes are right.
  virtual Status validate_own(std::span<const Bytes> parts, int64_t rows, int64_t cols) const = 0;

  const DenseCodes codes_;

 private:
  std::span<const Bytes> others_of(std::span<const Bytes> parts, int64_t rows, int64_t cols) const;
  Bytes zeroed_codes(int64_t rows, int64_t cols, uint8_t** data) const;
  void unpack(std::span<const Bytes> parts, int64_t rows, int64_t cols, int64_t r,
              uint16_t* row) const;
  void decode_codebook(std::span<const Bytes> parts, int64_t rows, int64_t cols, int64_t begin,
                       int64_t end, float* out) const;

  Kind kind_;
  const char* name_;
};

// FORMAT of "sparse:FORMAT".
Result<DenseCodes> parse_dense(std::string_view options);

}  // namespace lathe::formats
