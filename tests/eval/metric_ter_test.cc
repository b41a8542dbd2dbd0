// TER against sacrebleu, text statistics against nltk and scipy.
#include "lathe/eval/metrics/ter.h"

#include <gtest/gtest.h>

#include "eval/metric_golden.h"
#include "lathe/base/hash.h"
#include "lathe/eval/metrics/text_statistics.h"

namespace lathe {
namespace {

using Strings = std::vector<std::string>;

TEST(Ter, EqualsTheReferenceOnMadeUpTexts) {
  const auto golden = read_golden("ter.json"), overlap = read_golden("overlap.json");
  ASSERT_EQ(golden["rows"].size(), overlap["rows"].size());
  for (size_t i = 0; i < golden["rows"].size(); ++i) {
    const auto& row = overlap["rows"][i];
    const auto references = row["references"].get<Strings>();
    const TerStats stats = ter_stats(row["candidate"].get<std::string>(), references);
    const auto expected = golden["rows"][i].get<std::vector<double>>();
    EXPECT_EQ(static_cast<double>(stats.edits), expected[0]) << row;
    EXPECT_EQ(stats.reference_length, expected[1]) << row;
    EXPECT_EQ(ter_score(static_cast<double>(stats.edits), stats.reference_length), expected[2])
        << row;
  }
}

TEST(Ter, EqualsTheReferenceOnWmt17Slow) {
  LATHE_SHARED_OR_SKIP(reference_path, "translation/wmt17_en_de.ref.de");
  const auto golden = read_golden("ter.json");
  const auto references = lines_of(read_text(reference_path));
  for (const char* name : {"uedin-nmt.4722", "online-A.0"}) {
    const auto candidates = lines_of(
        read_text(reference_path.parent_path() / (std::string("wmt17_en_de.sys.") + name + ".de")));
    ASSERT_EQ(candidates.size(), references.size());
    std::string lines;
    double edits = 0, length = 0;
    for (size_t i = 0; i < references.size(); ++i) {
      const TerStats s = ter_stats(candidates[i], std::span<const std::string>(&references[i], 1));
      lines += std::to_string(s.edits) + " " +
               std::to_string(static_cast<int64_t>(s.reference_length)) + "\n";
      edits += static_cast<double>(s.edits);
      length += s.reference_length;
    }
    EXPECT_EQ(sha256_hex(lines), golden["wmt17"][name]["stats_sha256"].get<std::string>()) << name;
    EXPECT_EQ(ter_score(edits, length), golden["wmt17"][name]["ter"].get<double>()) << name;
  }
}

TEST(Ter, WorkedExamples) {
  const auto edits = [](const char* candidate, const char* reference) {
    const Strings references = {reference};
    return ter_stats(candidate, references).edits;
  };
  EXPECT_EQ(edits("a b c d", "A B C D"), 0);
  EXPECT_EQ(edits("c d a b", "a b c d"), 1);  // one shift
  EXPECT_EQ(edits("", "a b"), 2);
  EXPECT_EQ(edits("a b", ""), 2);
  EXPECT_EQ(ter_score(2, 0), 100);
  EXPECT_EQ(ter_score(0, 0), 0);
}

TEST(TextStatistics, EqualsTheReference) {
  const auto golden = read_golden("ter.json"), overlap = read_golden("overlap.json");
  Strings texts;
  for (const auto& row : overlap["rows"]) texts.push_back(row["candidate"].get<std::string>());
  for (const auto& text : golden["extra_texts"]) texts.push_back(text.get<std::string>());
  ASSERT_EQ(texts.size(), golden["statistics"].size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const TextStatistics s = text_statistics(texts[i]);
    const auto expected = golden["statistics"][i].get<std::vector<double>>();
    EXPECT_EQ(static_cast<double>(s.words), expected[0]) << texts[i];
    EXPECT_EQ(static_cast<double>(s.characters), expected[1]) << texts[i];
    EXPECT_EQ(s.distinct_1, expected[2]) << texts[i];
    EXPECT_EQ(s.distinct_2, expected[3]) << texts[i];
    EXPECT_EQ(s.repeated_4, expected[4]) << texts[i];
    EXPECT_NEAR(s.entropy, expected[5], 1e-12) << texts[i];
  }
}

}  // namespace
}  // namespace lathe
