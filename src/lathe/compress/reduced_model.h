// A model without some of its layers, key/value heads (with the query heads that share them) or
// feed-forward channels: the same weights, cut.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lathe/model/checkpoint.h"

namespace lathe {

class ReducedModel final : public Checkpoint {
 public:
  // All of `source`, which must outlive this, but only `layers` of its layers (ascending),
  // `kv_heads` of the key/value heads and `ffn` of the channels in each of them: the first ones,
  // until said otherwise.
  ReducedModel(const Checkpoint& source, std::vector<int64_t> layers, int64_t kv_heads,
               int64_t ffn);

  // What stays in block `layer` (of those that are left): ascending, as many as were announced.
  void keep_heads(int64_t layer, std::vector<int64_t> kv_heads);
  void keep_channels(int64_t layer, std::vector<int64_t> channels);
  // In place of a matrix that is cut.
  void replace(const std::string& name, WeightMatrix matrix) {
    replaced_[name] = std::move(matrix);
  }

  bool has(const std::string& name) const override { return source_.has(source_name(name)); }
  // Cut matrices are in the source's format where that is a float one, else in f16.
  Result<WeightMatrix> matrix(const std::string& name, int64_t rows, int64_t cols) const override;
  Result<std::vector<float>> vector(const std::string& name, int64_t size) const override;
  std::vector<std::string> weight_files() const override { return source_.weight_files(); }
  std::string tokenizer_path() const override { return source_.tokenizer_path(); }

 private:
  struct Kept {
    std::vector<int64_t> kv_heads, channels;
  };
  std::string source_name(const std::string& name) const;
  // Of the rows (or columns) of a matrix of `name`; empty: all stay.
  std::vector<int64_t> kept_rows(const std::string& name) const;
  std::vector<int64_t> kept_columns(const std::string& name) const;
  std::vector<int64_t> head_rows(const Kept& kept, int64_t heads_each) const;
  const Kept* kept_in(const std::string& name) const;

  const Checkpoint& source_;
  std::vector<int64_t> layers_;
  std::vector<Kept> kept_;
  std::map<std::string, WeightMatrix> replaced_;
};

// The format in which a changed matrix of `source` is held: its own float format, else f16.
FormatPtr float_format_of(const WeightMatrix& source);
// The columns (rows) of an array rows × cols that stay.
std::vector<float> take_columns(const std::vector<float>& all, int64_t cols,
                                const std::vector<int64_t>& kept);

}  // namespace lathe
