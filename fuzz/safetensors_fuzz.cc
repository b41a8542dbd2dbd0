// Whole safetensors files. What parses must hold what it claims: aligned bytes of shape × dtype.

// Links: lathe_io

#include "fuzz_support.h"
#include "lathe/base/check.h"
#include "lathe/io/safetensors.h"

using namespace lathe;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = SafetensorsFile::parse(fuzz_bytes(data, size), "fuzz.safetensors");
  if (!file.ok()) {
    LATHE_CHECK(!file.error().message.empty());
    return 0;
  }
  LATHE_CHECK(file->file_bytes() == static_cast<int64_t>(size));
  for (const auto& [name, tensor] : file->tensors()) {
    LATHE_CHECK(file->find(name) == &tensor);
    int64_t bytes = size_of(tensor.dtype);
    for (const int64_t dim : tensor.shape) bytes *= dim;
    LATHE_CHECK(static_cast<int64_t>(tensor.bytes.size()) == bytes);
    LATHE_CHECK(reinterpret_cast<uintptr_t>(tensor.bytes.data()) % size_of(tensor.dtype) == 0);
    touch(tensor.bytes);
  }
  return 0;
}
