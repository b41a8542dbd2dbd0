// Field and type numbers of onnx.proto, for the reader and the writer.
#pragma once

#include <array>
#include <cstdint>

#include "lathe/tensor/dtype.h"

namespace lathe::onnx {

struct ModelField {
  static constexpr uint32_t kIrVersion = 1, kProducer = 2, kProducerVersion = 3, kGraph = 7,
                            kOpsets = 8;
};
struct OpsetField {
  static constexpr uint32_t kDomain = 1, kVersion = 2;
};
struct GraphField {
  static constexpr uint32_t kNodes = 1, kName = 2, kInitializers = 5, kInputs = 11, kOutputs = 12;
};
struct NodeField {
  static constexpr uint32_t kInputs = 1, kOutputs = 2, kName = 3, kOp = 4, kAttributes = 5,
                            kDomain = 7;
};
struct AttributeField {
  static constexpr uint32_t kName = 1, kFloat = 2, kInt = 3, kString = 4, kInts = 8, kType = 20;
};
struct AttributeType {
  static constexpr int64_t kFloat = 1, kInt = 2, kString = 3, kInts = 7;
};
struct TensorField {
  static constexpr uint32_t kDims = 1, kType = 2, kName = 8, kRaw = 9, kExternal = 13,
                            kLocation = 14;
};
struct EntryField {
  static constexpr uint32_t kKey = 1, kValue = 2;
};
struct ValueField {
  static constexpr uint32_t kName = 1, kType = 2;
};
struct TypeField {
  static constexpr uint32_t kTensor = 1, kElement = 1, kShape = 2, kDim = 1, kDimValue = 1,
                            kDimSymbol = 2;
};

struct TypeNumber {
  int64_t number;
  DType dtype;
};
inline constexpr std::array<TypeNumber, 10> kTypes = {{{1, DType::kF32},
                                                       {2, DType::kU8},
                                                       {3, DType::kI8},
                                                       {5, DType::kI16},
                                                       {6, DType::kI32},
                                                       {7, DType::kI64},
                                                       {9, DType::kBool},
                                                       {10, DType::kF16},
                                                       {11, DType::kF64},
                                                       {16, DType::kBF16}}};

constexpr int64_t type_number(DType dtype) {
  for (const TypeNumber& type : kTypes) {
    if (type.dtype == dtype) return type.number;
  }
  return 0;
}

}  // namespace lathe::onnx
