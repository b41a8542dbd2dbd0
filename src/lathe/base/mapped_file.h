// A whole file, memory-mapped read-only.
#pragma once

#include <string>

#include "lathe/base/bytes.h"
#include "lathe/base/result.h"

namespace lathe {

// The mapping lives as long as any Bytes cut from it. An empty file gives empty Bytes.
Result<Bytes> map_file(const std::string& path);

// Tells the system that these mapped pages are no longer needed in memory (they are read again from
// the file if touched). Whole pages inside the range only.
void release_pages(const Bytes& bytes);

// Reads a whole (small) text file; refuses one above `limit_bytes`.
Result<std::string> read_text(const std::string& path, size_t limit_bytes = size_t{256} << 20);

}  // namespace lathe
