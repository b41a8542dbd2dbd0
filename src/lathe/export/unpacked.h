// A model without sparse layouts (formats/sparse.h): each matrix in the dense format whose codes
// its layout holds, which are the same weights. No target has a sparse layout.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "lathe/export/export.h"
#include "lathe/formats/sparse.h"

namespace lathe {

class UnpackedModel final : public Checkpoint {
 public:
  // `source` must outlive this.
  explicit UnpackedModel(const Checkpoint& source)
      : Checkpoint(source.path(), source.config()), source_(source) {}

  bool has(const std::string& name) const override { return source_.has(name); }
  Result<WeightMatrix> matrix(const std::string& name, int64_t rows, int64_t cols) const override {
    LATHE_TRY(WeightMatrix matrix, source_.matrix(name, rows, cols));
    if (matrix.format().encoding() != Encoding::kSparse) return matrix;
    unpacked_.insert(name);
    return to_dense(matrix);
  }
  Result<std::vector<float>> vector(const std::string& name, int64_t size) const override {
    return source_.vector(name, size);
  }
  std::vector<std::string> weight_files() const override { return source_.weight_files(); }
  std::string tokenizer_path() const override { return source_.tokenizer_path(); }

  // Matrices that were asked for and had a sparse layout.
  int64_t unpacked() const { return static_cast<int64_t>(unpacked_.size()); }

 private:
  const Checkpoint& source_;
  mutable std::set<std::string> unpacked_;
};

// What `write` makes of the unpacked model, with a note of it.
template <typename Write>
Result<ExportReport> export_unpacked(const Checkpoint& source, Write&& write) {
  const UnpackedModel model(source);
  LATHE_TRY(ExportReport report, write(model));
  if (model.unpacked() > 0) {
    report.notes.push_back(fmt::format(
        "{} matrices in sparse layouts are written dense, the same weights at full size",
        model.unpacked()));
  }
  return report;
}

}  // namespace lathe
