#include "lathe/eval/overlap.h"

#include <gtest/gtest.h>

#include <fstream>

#include "support/files.h"

namespace lathe {
namespace {

const std::string kThirteen = "one two three four five six seven eight nine ten eleven twelve last";

TEST(Overlap, CaseSpaceAndPunctuationDoNotCount) {
  const Overlap overlap(
      "Before it: One, TWO  three\nfour five (six) seven eight nine ten eleven "
      "twelve \"last\". After.");
  const auto found = overlap.of_texts({kThirteen});
  EXPECT_EQ(found["ngrams"], 1);
  EXPECT_EQ(found["shared"], 1);
  EXPECT_EQ(found["percent"], 100.0);
  EXPECT_EQ(found["words"], 13);
}

TEST(Overlap, TwelveSharedWordsAreNone) {
  const Overlap overlap("one two three four five six seven eight nine ten eleven twelve other");
  EXPECT_EQ(overlap.of_texts({kThirteen})["percent"], 0.0);
}

TEST(Overlap, CountsDistinctRunsWithinOneText) {
  const Overlap overlap(kThirteen);
  // Two runs in the first text, one of them shared; the third text repeats it, the fourth is short.
  const auto found = overlap.of_texts({kThirteen + " more", "a b c", kThirteen, "one two"});
  EXPECT_EQ(found["ngrams"], 2);
  EXPECT_EQ(found["shared"], 1);
  EXPECT_EQ(found["percent"], 50.0);
  // Runs do not reach over the end of a text.
  EXPECT_EQ(
      overlap.of_texts({"one two three four five six seven", "eight nine ten eleven"})["ngrams"],
      0);
}

TEST(Overlap, NothingToCompareIsUnknown) {
  EXPECT_TRUE(Overlap(kThirteen).of_texts({"too short"})["percent"].is_null());
}

TEST(Overlap, ReadsTheTextsOfJson) {
  test::TemporaryFolder folder;
  const std::string calibration = folder.file("c.jsonl"), data = folder.file("t.json");
  std::ofstream(calibration) << "{\"text\": \"" << kThirteen << "\"}\n";
  std::ofstream(data) << "{\"data\": [{\"q\": \"" << kThirteen << "\", \"n\": 3}]}";
  const auto overlap = Overlap::with(calibration);
  ASSERT_TRUE(overlap.ok());
  EXPECT_EQ(overlap->of_files({data}).value()["percent"], 100.0);
  EXPECT_FALSE(overlap->of_files({folder.file("none")}).ok());
  EXPECT_FALSE(Overlap::with(folder.file("none")).ok());
}

}  // namespace
}  // namespace lathe
