// Whole GGUF files. What parses must hold what it claims: aligned bytes of the right size.

// Links: lathe_io

#include "fuzz_support.h"
#include "lathe/base/check.h"
#include "lathe/io/ggml_block_sizes.h"
#include "lathe/io/gguf.h"

using namespace lathe;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = GgufFile::parse(fuzz_bytes(data, size), "fuzz.gguf");
  if (!file.ok()) {
    LATHE_CHECK(!file.error().message.empty());
    return 0;
  }
  for (const auto& [key, value] : file->metadata()) {
    LATHE_CHECK(file->has(key) && file->raw(key).size() >= 5);
    touch(file->raw(key));
    (void)file->integer(key);
    (void)file->number(key);
    (void)file->boolean(key);
    (void)file->string(key);
    (void)file->array(key);
  }
  for (const GgufTensor& tensor : file->tensors()) {
    LATHE_CHECK(file->find(tensor.name) == &tensor);
    int64_t elements = 1;
    for (const int64_t dim : tensor.shape) elements *= dim;
    const auto block = ggml_block(tensor.type);
    LATHE_CHECK(block.has_value());
    LATHE_CHECK(static_cast<int64_t>(tensor.bytes.size()) ==
                elements / block->elements * block->bytes);
    touch(tensor.bytes);
  }
  touch(file->header_bytes());
  return 0;
}
