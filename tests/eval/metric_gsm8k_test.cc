#include "lathe/eval/metrics/gsm8k.h"

#include <gtest/gtest.h>

#include <set>

#include "eval/metric_golden.h"

namespace lathe {
namespace {

TEST(Gsm8k, EqualsTheReference) {
  const auto golden = read_golden("gsm8k.json");
  ASSERT_EQ(golden["columns"],
            nlohmann::json({"text", "strict", "flexible", "strict_cot", "gold", "right"}));
  int right = 0, wrong = 0;
  std::set<std::string> texts;
  for (const auto& row : golden["rows"]) {
    const auto text = row[0].get<std::string>();
    const auto gold = row[4].get<std::string>();
    texts.insert(text);
    const Gsm8kExtraction ways[] = {Gsm8kExtraction::kStrict, Gsm8kExtraction::kFlexible,
                                    Gsm8kExtraction::kStrictCot};
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(gsm8k_extract(text, ways[i]), row[1 + i].get<std::string>()) << i << ": " << row;
      const bool expected = row[5][i].get<bool>();
      EXPECT_EQ(gsm8k_match(gold, text, ways[i]), expected) << i << ": " << row;
      ++(expected ? right : wrong);
    }
  }
  EXPECT_GE(texts.size(), 1000u);
  EXPECT_GT(right, 400);
  EXPECT_GT(wrong, 400);
}

TEST(Gsm8k, NormalizesGolds) {
  const auto golden = read_golden("gsm8k.json");
  for (const auto& pair : golden["golds"]) {
    EXPECT_EQ(gsm8k_gold(pair[0].get<std::string>()), pair[1].get<std::string>());
  }
}

TEST(Gsm8k, WorkedExamples) {
  const std::string gold = "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n#### 1,072";
  EXPECT_EQ(gsm8k_gold(gold), "1072");
  EXPECT_TRUE(gsm8k_match(gold, " 48 and so on.\n#### 1072\n", Gsm8kExtraction::kStrict));
  EXPECT_FALSE(gsm8k_match(gold, "It is 1072.", Gsm8kExtraction::kStrict));
  EXPECT_TRUE(gsm8k_match(gold, "It is $1,072.", Gsm8kExtraction::kFlexible));
  EXPECT_FALSE(gsm8k_match(gold, "It is 1072 of 2000", Gsm8kExtraction::kFlexible));
  EXPECT_EQ(gsm8k_extract("nothing", Gsm8kExtraction::kFlexible), kGsm8kInvalid);
  EXPECT_TRUE(gsm8k_match("4", "The answer is 4.", Gsm8kExtraction::kStrictCot));
}

TEST(Gsm8k, EveryGoldOfTheTestSetIsANumberThatMatchesItself) {
  LATHE_SHARED_OR_SKIP(path, "gsm8k/test.jsonl");
  const auto lines = lines_of(read_text(path));
  EXPECT_EQ(lines.size(), 1319u);
  for (const auto& line : lines) {
    const auto answer = nlohmann::json::parse(line)["answer"].get<std::string>();
    const std::string gold = gsm8k_gold(answer);
    EXPECT_EQ(gold.find_first_not_of("-0123456789."), gold.npos) << answer;
    EXPECT_TRUE(gsm8k_match(answer, answer, Gsm8kExtraction::kStrict)) << answer;
    EXPECT_TRUE(gsm8k_match(answer, answer, Gsm8kExtraction::kFlexible)) << answer;
  }
}

}  // namespace
}  // namespace lathe
