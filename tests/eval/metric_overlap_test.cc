// ROUGE, BLEU, chrF and the stemmer against rouge-score, sacrebleu and nltk.
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "eval/metric_golden.h"
#include "lathe/base/hash.h"
#include "lathe/eval/metrics/bleu.h"
#include "lathe/eval/metrics/chrf.h"
#include "lathe/eval/metrics/porter_stemmer.h"
#include "lathe/eval/metrics/rouge.h"
#include "lathe/eval/metrics/statistics.h"

namespace lathe {
namespace {

using Strings = std::vector<std::string>;
constexpr ChrfOptions kChrfPlusPlus{.word_order = 2};

const nlohmann::json& golden() {
  static const nlohmann::json file = read_golden("overlap.json");
  return file;
}

std::vector<std::vector<double>> as_rows(const RougeScores& s) {
  std::vector<std::vector<double>> rows;
  for (const RougeScore& r : {s.rouge1, s.rouge2, s.rouge_l, s.rouge_lsum}) {
    rows.push_back({r.precision, r.recall, r.f1});
  }
  return rows;
}

std::vector<int64_t> as_list(const BleuStats& s) {
  std::vector<int64_t> list = {s.candidate_length, s.reference_length};
  list.insert(list.end(), s.matches.begin(), s.matches.end());
  list.insert(list.end(), s.totals.begin(), s.totals.end());
  return list;
}

TEST(Rouge, EqualsTheReferenceOnMadeUpTexts) {
  for (const auto& row : golden()["rows"]) {
    const auto references = row["references"].get<Strings>();
    const auto candidate = row["candidate"].get<std::string>();
    using Rows = std::vector<std::vector<double>>;
    EXPECT_EQ(as_rows(rouge_best(references, candidate)), row["rouge"].get<Rows>()) << row;
    EXPECT_EQ(as_rows(rouge_best(references, candidate, {.stemmer = true})),
              row["rouge_stemmed"].get<Rows>())
        << row;
  }
}

TEST(Rouge, EqualsTheReferenceOnSummaries) {
  LATHE_SHARED_OR_SKIP(path, "summarization/dialogsum.test.jsonl");
  const auto lines = lines_of(read_text(path));
  for (const bool stemmer : {false, true}) {
    std::vector<double> totals(4, 0.0);
    for (const auto& line : lines) {
      const auto row = nlohmann::json::parse(line);
      const auto scores = as_rows(rouge(row["summary1"].get<std::string>(),
                                        row["summary2"].get<std::string>(), {.stemmer = stemmer}));
      for (size_t k = 0; k < 4; ++k) totals[k] += scores[k][2];
    }
    for (double& t : totals) t /= static_cast<double>(lines.size());
    EXPECT_EQ(totals, golden()["dialogsum"][stemmer ? 1 : 0].get<std::vector<double>>());
  }
}

TEST(Rouge, EqualsTheReferenceOnEveryPairOfSummaries) {
  LATHE_SHARED_OR_SKIP(path, "summarization/dialogsum.test.jsonl");
  const auto rows = lines_of(read_text(path));
  for (const bool stemmer : {false, true}) {
    std::string lines;
    for (const auto& line : rows) {
      const auto row = nlohmann::json::parse(line);
      for (const auto& [a, b] : {std::pair(1, 2), std::pair(1, 3), std::pair(2, 3)}) {
        std::vector<std::string> digits;
        const auto scores =
            rouge(row[fmt::format("summary{}", a)].get<std::string>(),
                  row[fmt::format("summary{}", b)].get<std::string>(), {.stemmer = stemmer});
        for (const auto& kind : as_rows(scores)) {
          for (const double x : kind) digits.push_back(fmt::format("{:.17g}", x));
        }
        lines += fmt::format("{}\n", fmt::join(digits, " "));
      }
    }
    const auto& expected = golden()["dialogsum_lines"][stemmer ? 1 : 0];
    EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), expected["n"].get<int64_t>());
    EXPECT_EQ(sha256_hex(lines), expected["sha256"].get<std::string>()) << stemmer;
  }
}

TEST(PorterStemmer, EqualsTheReference) {
  const auto& stemmer = golden()["stemmer"];
  for (const char* list : {"irregular", "sample"}) {
    for (const auto& pair : stemmer[list]) {
      EXPECT_EQ(porter_stem(pair[0].get<std::string>()), pair[1].get<std::string>()) << pair;
    }
  }
  std::string stems;
  size_t n = 0;
  for (const auto& root : stemmer["roots"].get<Strings>()) {
    for (const auto& suffix : stemmer["suffixes"].get<Strings>()) {
      stems += porter_stem(suffix == "-" ? root : root + suffix) + "\n";
      ++n;
    }
  }
  EXPECT_EQ(n, stemmer["n"].get<size_t>());
  EXPECT_EQ(sha256_hex(stems), stemmer["sha256"].get<std::string>());
  EXPECT_EQ(porter_stem(""), "");
  EXPECT_EQ(porter_stem(std::string(5000, 'y')).size(), 5000u);
}

TEST(PorterStemmer, EqualsTheReferenceOnShakespearesWords) {
  LATHE_SHARED_OR_SKIP(path, "text/tinyshakespeare.txt");
  std::set<std::string> vocabulary;
  std::string word;
  for (char c : read_text(path) + " ") {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    if (c >= 'a' && c <= 'z') {
      word.push_back(c);
    } else if (!word.empty()) {
      vocabulary.insert(std::exchange(word, ""));
    }
  }
  std::string stems;
  for (const auto& w : vocabulary) stems += porter_stem(w) + "\n";
  EXPECT_EQ(vocabulary.size(), golden()["stemmer"]["shakespeare_n"].get<size_t>());
  EXPECT_EQ(sha256_hex(stems), golden()["stemmer"]["shakespeare_sha256"].get<std::string>());
}

TEST(Bleu, EqualsTheReferenceOnMadeUpTexts) {
  BleuStats corpus;
  for (const auto& row : golden()["rows"]) {
    const auto references = row["references"].get<Strings>();
    const auto candidate = row["candidate"].get<std::string>();
    EXPECT_EQ(bleu_tokenize_13a(candidate), row["tokens_13a"].get<std::string>()) << row;
    const BleuStats stats = bleu_stats(candidate, references);
    EXPECT_EQ(as_list(stats), row["bleu_stats"].get<std::vector<int64_t>>()) << row;
    EXPECT_NEAR(bleu_score(stats).bleu, row["bleu"].get<double>(), 1e-12) << row;
    if (references.size() == 1) corpus += stats;
  }
  EXPECT_NEAR(bleu_score(corpus).bleu, golden()["corpus"]["bleu"].get<double>(), 1e-12);
}

TEST(Chrf, EqualsTheReferenceOnMadeUpTexts) {
  ChrfStats plain, plus;
  for (const auto& row : golden()["rows"]) {
    const auto references = row["references"].get<Strings>();
    const auto candidate = row["candidate"].get<std::string>();
    const auto a = chrf_stats(candidate, references);
    const auto b = chrf_stats(candidate, references, kChrfPlusPlus);
    EXPECT_NEAR(chrf_score(a), row["chrf"][0].get<double>(), 1e-12) << row;
    EXPECT_NEAR(chrf_score(b, kChrfPlusPlus), row["chrf"][1].get<double>(), 1e-12) << row;
    if (references.size() == 1) {
      plain += a;
      plus += b;
    }
  }
  EXPECT_NEAR(chrf_score(plain), golden()["corpus"]["chrf"][0].get<double>(), 1e-12);
  EXPECT_NEAR(chrf_score(plus, kChrfPlusPlus), golden()["corpus"]["chrf"][1].get<double>(), 1e-12);
}

TEST(Translation, EqualsThePublishedScoresOfWmt17) {
  LATHE_SHARED_OR_SKIP(reference_path, "translation/wmt17_en_de.ref.de");
  const auto references = lines_of(read_text(reference_path));
  const std::pair<const char*, std::pair<const char*, const char*>> systems[] = {
      {"uedin-nmt.4722", {"28.30", "57.72"}}, {"online-A.0", {"20.80", "52.00"}}};
  for (const auto& [name, published] : systems) {
    const auto path = reference_path.parent_path() / fmt::format("wmt17_en_de.sys.{}.de", name);
    const auto candidates = lines_of(read_text(path));
    ASSERT_EQ(candidates.size(), references.size());
    BleuStats bleu;
    ChrfStats chrf, chrf_plus;
    std::vector<BleuStats> segments;
    std::string lines;
    for (size_t i = 0; i < references.size(); ++i) {
      const std::span<const std::string> one(&references[i], 1);
      segments.push_back(bleu_stats(candidates[i], one));
      bleu += segments.back();
      lines += fmt::format("{}\n", fmt::join(as_list(segments.back()), " "));
      chrf += chrf_stats(candidates[i], one);
      chrf_plus += chrf_stats(candidates[i], one, kChrfPlusPlus);
    }
    const auto& expected = golden()["wmt17"][name];
    EXPECT_EQ(sha256_hex(lines), expected["bleu_stats_sha256"].get<std::string>());
    EXPECT_NEAR(bleu_score(bleu).bleu, expected["bleu"].get<double>(), 1e-12);
    EXPECT_NEAR(chrf_score(chrf), expected["chrf"].get<double>(), 1e-12);
    EXPECT_NEAR(chrf_score(chrf_plus, kChrfPlusPlus), expected["chrf++"].get<double>(), 1e-12);
    EXPECT_EQ(fmt::format("{:.2f}", bleu_score(bleu).bleu), published.first);
    EXPECT_EQ(fmt::format("{:.2f}", chrf_score(chrf)), published.second);

    const auto interval = bootstrap(
        std::ssize(segments),
        [&](std::span<const int64_t> chosen) { return bleu_of_sample(segments, chosen); }, 1, 200);
    EXPECT_LT(interval.low, bleu_score(bleu).bleu);
    EXPECT_GT(interval.high, bleu_score(bleu).bleu);
    EXPECT_LT(interval.high - interval.low, 2.5);
  }
}

TEST(Chrf, ResamplesSegments) {
  const Strings reference = {"the red boat", "a small house"};
  std::vector<ChrfStats> segments;
  for (const auto& r : reference) {
    segments.push_back(chrf_stats("the red boat", std::span<const std::string>(&r, 1)));
  }
  const std::vector<int64_t> only_first = {0, 0};
  EXPECT_EQ(chrf_of_sample(segments, only_first), 100.0);
  const std::vector<int64_t> both = {0, 1};
  EXPECT_LT(chrf_of_sample(segments, both), 100.0);
}

}  // namespace
}  // namespace lathe
