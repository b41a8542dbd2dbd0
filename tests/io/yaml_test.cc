#include "lathe/io/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace lathe {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Json = nlohmann::json;

Json parsed(const std::string& text) {
  const auto json = yaml_to_json(text, "t.yaml");
  EXPECT_TRUE(json.ok()) << json.error().message;
  return json.ok() ? *json : Json();
}

std::string refused(const std::string& text) {
  const auto json = yaml_to_json(text, "t.yaml");
  EXPECT_FALSE(json.ok()) << json->dump();
  if (json.ok()) return {};
  EXPECT_EQ(json.error().code, ErrorCode::kBadInput);
  return json.error().message;
}

TEST(Yaml, ScalarsHaveTheTypesOfTheCoreSchema) {
  EXPECT_EQ(parsed("[null, ~, , true, False, 12, -7, +3, 0x1F, 0o17, 007]"),
            Json::parse("[null, null, null, true, false, 12, -7, 3, 31, 15, 7]"));
  EXPECT_EQ(parsed("[0.5, .5, 1e-3, -2.5E+4, +1.5]"),
            Json::parse("[0.5, 0.5, 0.001, -25000, 1.5]"));
  EXPECT_EQ(parsed("[\"1\", '0.5', \"true\", 'null', !!str 12]"),
            Json::parse(R"(["1", "0.5", "true", "null", "12"])"));
  EXPECT_EQ(
      parsed("[yes, int4:g128, nan, inf, 1.2.3, -, 1_000, 0x, e5]"),
      Json::parse(R"(["yes", "int4:g128", "nan", "inf", "1.2.3", "-", "1_000", "0x", "e5"])"));
  EXPECT_TRUE(std::isnan(parsed(".nan").get<double>()));
  EXPECT_EQ(parsed("-.inf").get<double>(), -INFINITY);
  EXPECT_DOUBLE_EQ(parsed("99999999999999999999").get<double>(), 1e20);
}

TEST(Yaml, StructuresNest) {
  const Json expected = Json::parse(R"({"a": [1, {"b": null}], "c": {"d": "x y"}})");
  EXPECT_EQ(parsed("a:\n  - 1\n  - b:\nc:\n  d: x y\n"), expected);
  EXPECT_EQ(parsed(expected.dump()), expected);  // JSON is YAML
  EXPECT_EQ(parsed(""), Json());
  EXPECT_EQ(parsed("x: &v [1, 2]\ny: *v\n"), Json::parse(R"({"x": [1, 2], "y": [1, 2]})"));
}

TEST(Yaml, OrderOfKeysIsKept) {
  const auto json = yaml_to_ordered_json("z: 1\na: 2\nm: 3\n", "t.yaml");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(json->dump(), R"({"z":1,"a":2,"m":3})");
}

TEST(Yaml, ErrorsSayWhere) {
  EXPECT_THAT(refused("a: 1\nb: 2\na: 3\n"),
              StartsWith("t.yaml:3:1: the key 'a' stands here twice"));
  EXPECT_THAT(refused("a: [1, 2\nb: 3\n"), StartsWith("t.yaml:"));
  EXPECT_THAT(refused("a: !!python/object:os.system x"), HasSubstr("tag"));
  EXPECT_THAT(refused("a: !mine [1]"), HasSubstr("t.yaml:1:4"));
  EXPECT_THAT(refused("a: &x {b: 1}\nc:\n  <<: *x\n"), HasSubstr("merge keys"));
  EXPECT_THAT(refused("? [1, 2]\n: x\n"), HasSubstr("a key must be"));
  EXPECT_THAT(refused("a: 1\n---\nb: 2\n"), HasSubstr("more than one YAML document"));
  EXPECT_THAT(refused("a: *nowhere"), StartsWith("t.yaml:1:4"));
  EXPECT_THAT(refused("a: \xff\xfe\x80z"), HasSubstr("t.yaml"));
  EXPECT_THAT(refused(std::string("a: 1\0b", 6)), HasSubstr("zero byte"));
}

TEST(Yaml, HostileFilesAreRefusedQuickly) {
  std::string bomb = "a: &a [1,1,1,1,1,1,1,1,1,1]\n";
  for (char c = 'b'; c <= 'k'; ++c) {
    const std::string alias = std::string("*") + static_cast<char>(c - 1);
    bomb += std::string(1, c) + ": &" + c + " [" + alias;
    for (int i = 0; i < 9; ++i) bomb += "," + alias;
    bomb += "]\n";
  }
  EXPECT_THAT(refused(bomb), HasSubstr("more than 200000 values"));
  const auto nested = [](size_t depth) {
    return "a: " + std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_EQ(parsed(nested(63)).dump().size(), 63u * 2 + 6);
  EXPECT_THAT(refused(nested(64)), HasSubstr("t.yaml:1:67: more than 64 levels deep"));
  EXPECT_THAT(refused(nested(20000)), HasSubstr("levels deep"));
  refused(std::string(20000, '['));
  refused(std::string(20000, '-') + " x: [");
  EXPECT_THAT(refused("a: &a [*a]"), HasSubstr("t.yaml:1"));
  EXPECT_THAT(refused(std::string(9 << 20, ' ')), HasSubstr("bytes of YAML"));
}

}  // namespace
}  // namespace lathe
