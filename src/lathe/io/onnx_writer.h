// ONNX files with their weights in one data file beside them, written with bounded memory: weights
// go to disk as they come, the graph last.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lathe/base/result.h"
#include "lathe/io/onnx.h"

namespace lathe {

// A dimension of an input or output: a number, or a name that stands for any.
struct OnnxDim {
  OnnxDim(int64_t number) : value(number) {}              // NOLINT: shapes read as lists
  OnnxDim(const char* name) : value(-1), symbol(name) {}  // NOLINT
  int64_t value;
  std::string symbol;
};

class OnnxWriter {
 public:
  // `path` ends in ".onnx"; the data file is `path` + ".data". Opset: of ONNX's own operators;
  // com.microsoft's version is 1.
  static Result<OnnxWriter> create(const std::string& path, int64_t opset);
  OnnxWriter(OnnxWriter&&) noexcept;
  OnnxWriter& operator=(OnnxWriter&&) noexcept;
  ~OnnxWriter();  // removes temporary files unless finished

  // An initializer in the data file, aligned to pages if it is large. Its size must be that of
  // shape × dtype, its name new: anything else is our own bug.
  Status weight(const std::string& name, DType dtype, const std::vector<int64_t>& shape,
                std::span<const uint8_t> bytes);
  // A small one inside the graph; the same name with the same value again is no new one.
  void constant(const std::string& name, DType dtype, const std::vector<int64_t>& shape,
                std::span<const uint8_t> bytes);
  void node(const OnnxNode& node);
  void input(const std::string& name, DType dtype, const std::vector<OnnxDim>& shape);
  void output(const std::string& name, DType dtype, const std::vector<OnnxDim>& shape);

  Status finish();

 private:
  struct Impl;
  explicit OnnxWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lathe
