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
  // Until the order ends, its first product is expected after each.
  EXPECT_EQ(expected(foresight, "abcd"), "aaaa");
  EXPECT_EQ(expected(foresight, "abcd"), "bcda");
  EXPECT_EQ(expected(foresight, "abcdabcd"), "bcdabcda");
}

TEST(Foresight, FollowsAnOrderThatChanges) {
  Foresight foresight;
  expected(foresight, "abcabc");
  expected(foresight, "abde");
  EXPECT_EQ(expected(foresight, "abde"), "bdea");
  // A model that begins anew before its end.
  expected(foresight, "ab");
  expected(foresight, "abde");
  expected(foresight, "fgh");
  expected(foresight, "fgh");
}

TEST(Foresight, CallsThatNeverRepeatAreForgotten) {
  Foresight foresight;
  std::vector<char> many(20000);
  for (char& c : many) {
    const Soon first[] = {{reinterpret_cast<const uint8_t*>(&c), 1}};
    ASSERT_EQ(foresight.next(&c, first).size(), 1u);
  }
}

}  // namespace
}  // namespace lathe::cpu
