// ONNX files as far as language models need them: nodes with their attributes, and initializers,
// inside the file or in data files beside it. Source: onnx/onnx.proto (IR version 10) and the
// "External Data" page of the ONNX documentation.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lathe/base/bytes.h"
#include "lathe/base/result.h"
#include "lathe/io/safetensors.h"

namespace lathe {

struct OnnxAttribute {
  std::string name;
  std::variant<int64_t, float, std::string, std::vector<int64_t>> value;
};

struct OnnxNode {
  std::string op, name;
  std::vector<std::string> inputs, outputs;  // "" stands for an input that is left out
  std::vector<OnnxAttribute> attributes;
  std::string domain;  // "" is ONNX's own

  // nullptr: no attribute of that name and type.
  template <typename T>
  const T* attribute(std::string_view key) const {
    for (const OnnxAttribute& one : attributes) {
      if (one.name == key) return std::get_if<T>(&one.value);
    }
    return nullptr;
  }
};

class OnnxFile {
 public:
  // The whole data file that a tensor of the model names.
  using DataFiles = std::function<Result<Bytes>(const std::string& location)>;

  // Data files lie in the folder of `path` or below it: any other location is refused.
  static Result<OnnxFile> open(const std::string& path);
  static Result<OnnxFile> parse(const Bytes& model, std::string_view name, const DataFiles& files);

  // In file order. Attributes of other types than OnnxAttribute has, subgraphs among them, are left
  // out.
  const std::vector<OnnxNode>& nodes() const { return nodes_; }
  // The bytes are exactly shape × dtype, aligned to the element. Tensors of types that DType lacks,
  // and those whose values are not raw bytes, are left out.
  const std::map<std::string, StoredTensor, std::less<>>& tensors() const { return tensors_; }
  const StoredTensor* find(std::string_view name) const;
  // "model.onnx.data", …, as the tensors name them.
  const std::vector<std::string>& data_files() const { return data_files_; }

 private:
  Status read_graph(std::span<const uint8_t> graph, const DataFiles& files);
  Status read_tensor(std::span<const uint8_t> tensor, const DataFiles& files);

  std::vector<OnnxNode> nodes_;
  std::map<std::string, StoredTensor, std::less<>> tensors_;
  std::vector<std::string> data_files_;
  struct DataFile {
    Bytes bytes;
    int64_t copied = 0;  // of tensors that lie unaligned in it
  };
  std::map<std::string, DataFile> opened_;
};

}  // namespace lathe
