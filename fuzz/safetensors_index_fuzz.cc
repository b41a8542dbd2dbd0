// model.safetensors.index.json. What parses names plain files of its own directory.

// Links: lathe_io

#include "fuzz_support.h"
#include "lathe/base/check.h"
#include "lathe/io/safetensors_header.h"

using namespace lathe;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto index = parse_safetensors_index(fuzz_text(data, size), "fuzz.index.json");
  if (!index.ok()) {
    LATHE_CHECK(!index.error().message.empty());
    return 0;
  }
  LATHE_CHECK(!index->empty());
  for (const auto& [tensor, file] : *index) {
    LATHE_CHECK(!file.empty() && file[0] != '.');
    LATHE_CHECK(file.find_first_of(std::string("/\\\0", 3)) == std::string::npos);
  }
  return 0;
}
