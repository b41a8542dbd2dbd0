// What follows a product, learned from the last time.
#include "lathe/backend/cpu/foresight.h"

#include <gtest/gtest.h>

namespace lathe::cpu {
namespace {

using Soon = ThreadPool::Soon;

// Matrices are bytes of this text; two threads begin at a matrix and the one behind it.
constexpr const char* kMemory = "abcdefghijklmnop";
const void* key(char name) { return kMemory + (name - 'a'); }

// Products of these names in turn; what was expected after each, '-' where nothing was known.
std::string expected(Foresight& foresight, const std::string& names) {
  std::string found;
  for (const char name : names) {
    const auto* at = static_cast<const uint8_t*>(key(name));
    const Soon first[] = {{at, 1}, {at + 1, 2}};
    const std::vector<Soon> next = foresight.next(key(name), first);
    if (next.empty()) {
      found += '-';
      continue;
    }
    EXPECT_EQ(next.size(), 2u);
    EXPECT_EQ(next[1].data, next[0].data + 1);
    EXPECT_EQ(next[0].bytes, 1);
    EXPECT_EQ(next[1].bytes, 2);
    found += static_cast<char>('a' + (next[0].data - static_cast<const uint8_t*>(key('a'))));
  }
  return found;
}

TEST(Foresight, KnowsTheOrderFromTheSecondTimeOn) {
  Foresight foresight;
  EXPECT_EQ(expected(foresight, "abcd"), "----");
  EXPECT_EQ(expected(foresight, "abcd"), "bcda");
  EXPECT_EQ(expected(foresight, "abcdabcd"), "bcdabcda");
}

TEST(Foresight, ExpectsWhatFollowedLast) {
  Foresight foresight;
  expected(foresight, "abcabc");
  EXPECT_EQ(expected(foresight, "abde"), "bc--");
  EXPECT_EQ(expected(foresight, "abde"), "bdea");
  EXPECT_EQ(expected(foresight, "fg"), "--");  // another model
  EXPECT_EQ(expected(foresight, "abde"), "bdef");
}

TEST(Foresight, OldProductsAreForgotten) {
  Foresight foresight;
  expected(foresight, "abab");
  std::vector<char> others(20000);
  for (const char& c : others) foresight.next(&c, {});
  EXPECT_EQ(expected(foresight, "abab"), "--ba");
}

}  // namespace
}  // namespace lathe::cpu
