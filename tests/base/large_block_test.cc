#include "lathe/base/large_block.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

namespace lathe {
namespace {

TEST(LargeBlock, IsAlignedToLinesAndIfLargeToHugePages) {
  constexpr size_t kHugePage = size_t{2} << 20;
  for (const size_t bytes : {size_t{0}, size_t{1}, kHugePage - 1, kHugePage, 2 * kHugePage + 1}) {
    void* block = allocate_block(bytes);
    const auto address = reinterpret_cast<uintptr_t>(block);
    EXPECT_EQ(address % 64, 0) << bytes;
    if (bytes >= kHugePage) EXPECT_EQ(address % kHugePage, 0) << bytes;
    std::memset(block, 1, bytes);
    free_block(block, bytes);
  }
}

}  // namespace
}  // namespace lathe
