#include "lathe/base/parse_json.h"

#include <gtest/gtest.h>

namespace lathe {
namespace {

using nlohmann::json;

TEST(MemberOr, TakesAMemberOfTheKindThatIsAskedFor) {
  const json object = {{"text", "a"}, {"whole", 7}, {"number", 0.5}, {"flag", true}, {"list", {1}}};
  EXPECT_EQ(member_or(object, "text", "b"), "a");
  EXPECT_EQ(member_or(object, "whole", 1), 7);
  EXPECT_EQ(member_or(object, "whole", 1.0), 7.0);
  EXPECT_EQ(member_or(object, "number", 1.0), 0.5);
  EXPECT_TRUE(member_or(object, "flag", false));
  EXPECT_EQ(member_or(object, "list", json::array()), json({1}));
  EXPECT_EQ(member_or(object, "text", json()), "a");
}

TEST(MemberOr, GivesTheOtherForWhatIsAbsentOrOfAnotherKind) {
  const json object = {{"text", "a"}, {"huge", 1e300}, {"flag", true}, {"none", nullptr}};
  EXPECT_EQ(member_or(object, "absent", "b"), "b");
  EXPECT_EQ(member_or(object, "none", 3), 3);
  EXPECT_EQ(member_or(object, "huge", int64_t{3}), 3);
  EXPECT_EQ(member_or(object, "flag", 3), 3);
  EXPECT_FALSE(member_or(object, "huge", false));
  EXPECT_EQ(member_or(object, "flag", "b"), "b");
  EXPECT_EQ(member_or(object, "text", json::array()), json::array());
  for (const json& no_object : {json(), json("text"), json::array({1})}) {
    EXPECT_EQ(member_or(no_object, "text", "b"), "b");
  }
}

}  // namespace
}  // namespace lathe
