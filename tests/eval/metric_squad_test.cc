#include "lathe/eval/metrics/squad.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "eval/metric_golden.h"
#include "lathe/base/hash.h"
#include "lathe/eval/metrics/python_text.h"

namespace lathe {
namespace {

using Strings = std::vector<std::string>;

SquadSample sample_of(const Strings& golds, const std::string& prediction, double na_probability) {
  return {squad_score(golds, prediction), !golds.empty(), !prediction.empty(), na_probability};
}

void expect_equal(const SquadMetrics& m, const nlohmann::json& golden) {
  EXPECT_EQ(m.exact_match, golden["exact"].get<double>());
  EXPECT_EQ(m.f1, golden["f1"].get<double>());
  EXPECT_EQ(m.n, golden["total"].get<int64_t>());
  EXPECT_EQ(m.has_ans_exact, golden["HasAns_exact"].get<double>());
  EXPECT_EQ(m.has_ans_f1, golden["HasAns_f1"].get<double>());
  EXPECT_EQ(m.has_ans_n, golden["HasAns_total"].get<int64_t>());
  EXPECT_EQ(m.no_ans_exact, golden["NoAns_exact"].get<double>());
  EXPECT_EQ(m.no_ans_f1, golden["NoAns_f1"].get<double>());
  EXPECT_EQ(m.no_ans_n, golden["NoAns_total"].get<int64_t>());
  EXPECT_EQ(m.sweep.best_exact, golden["best_exact"].get<double>());
  EXPECT_EQ(m.sweep.best_exact_threshold, golden["best_exact_thresh"].get<double>());
  EXPECT_EQ(m.sweep.best_f1, golden["best_f1"].get<double>());
  EXPECT_EQ(m.sweep.best_f1_threshold, golden["best_f1_thresh"].get<double>());
}

TEST(Squad, EqualsTheReferenceOnMadeUpRows) {
  const auto golden = read_golden("squad.json");
  std::vector<SquadSample> samples;
  for (const auto& row : golden["rows"]) {
    const auto golds = row["golds"].get<Strings>();
    const auto prediction = row["prediction"].get<std::string>();
    EXPECT_EQ(squad_normalize(prediction), row["normalized"].get<std::string>()) << row;
    samples.push_back(sample_of(golds, prediction, row["na_probability"].get<double>()));
    EXPECT_EQ(samples.back().score.exact_match, row["exact"].get<double>()) << row;
    EXPECT_EQ(samples.back().score.f1, row["f1"].get<double>()) << row;
  }
  EXPECT_GE(samples.size(), 100u);
  expect_equal(squad_aggregate(samples), golden["aggregate"]);
  expect_equal(squad_aggregate(samples, 0.6), golden["aggregate_threshold_0.6"]);
}

// The same as perturb() in tools/oracles/eval_squad.py.
std::string perturb(size_t i, const std::string& gold, const std::string& other) {
  Strings words;
  for (size_t begin = 0; begin <= gold.size();) {
    const size_t end = std::min(gold.find(' ', begin), gold.size());
    words.push_back(gold.substr(begin, end - begin));
    begin = end + 1;
  }
  const auto joined = [](auto first, auto last, const std::string& with) {
    std::string out;
    for (auto it = first; it != last; ++it) out += (it == first ? "" : with) + *it;
    return out;
  };
  switch (i % 12) {
    case 0:
      return gold;
    case 1:
      return "the " + gold + ".";
    case 2: {
      std::string upper = gold;
      for (char& c : upper) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
      return upper;
    }
    case 3:
      return joined(words.begin() + 1, words.end(), " ");
    case 4:
      return joined(words.begin(), words.end() - 1, " ");
    case 5:
      return other;
    case 6:
      return "";
    case 7:
      return gold + " " + other;
    case 8:
      return joined(words.rbegin(), words.rend(), " ");
    case 9:
      return "An " + gold + " (a)";
    case 10:
      return joined(words.begin(), words.end(), "  ");
    default: {
      const auto characters = decode_utf8(gold);
      return encode_utf8(std::u32string_view(characters).substr(0, characters.size() / 2));
    }
  }
}

TEST(Squad, EqualsTheReferenceOnThousandsOfPredictions) {
  LATHE_SHARED_OR_SKIP(path, "qa/squad_v2_dev_half.json");
  const auto golden = read_golden("squad.json")["data"];
  const std::string raw = read_text(path);
  ASSERT_EQ(sha256_hex(raw), golden["sha256"].get<std::string>());
  const auto data = nlohmann::json::parse(raw);
  std::vector<SquadSample> samples;
  std::string other = "nothing yet", lines;
  for (const auto& article : data["data"]) {
    for (const auto& paragraph : article["paragraphs"]) {
      for (const auto& question : paragraph["qas"]) {
        Strings golds;
        for (const auto& answer : question["answers"]) golds.push_back(answer["text"]);
        const std::string gold = golds.empty() ? "" : golds[0];
        const size_t i = samples.size();
        const std::string prediction = perturb(i, gold, other);
        const double probability = static_cast<double>(i * 7919 % 1000) / 1000;
        samples.push_back(sample_of(golds, prediction, probability));
        lines += fmt::format("{} {:.17g} {}\n", samples.back().score.exact_match,
                             samples.back().score.f1, squad_normalize(prediction));
        if (!gold.empty()) other = gold;
      }
    }
  }
  EXPECT_EQ(samples.size(), golden["n"].get<size_t>());
  EXPECT_EQ(sha256_hex(lines), golden["lines_sha256"].get<std::string>());
  expect_equal(squad_aggregate(samples), golden["aggregate"]);
}

TEST(Squad, TurnsGenerationsIntoAnswers) {
  const std::pair<std::string, std::string> cases[] = {
      {" the red boat\nQuestion: what", "the red boat"},
      {"\n\n  Paris.  \n", "Paris."},
      {"unanswerable", ""},
      {"Unanswerable.", ""},
      {"  UNANSWERABLE \nbecause", ""},
      {"No answer", ""},
      {"no  answer.", ""},
      {"N/A", ""},
      {"the", ""},
      {"", ""},
      {" \n ", ""},
      {"unanswerable question", "unanswerable question"},
      {"no", "no"},
      {"none", "none"},
      {"42\r\nnext", "42"},
      {"caf\xc3", "caf\xef\xbf\xbd"},
  };
  for (const auto& [text, answer] : cases) {
    EXPECT_EQ(squad_answer_from_generation(text), answer) << text;
  }
  // Each phrase is stated as it normalizes, or it would never be met.
  for (const auto phrase : squad_no_answer_phrases()) EXPECT_EQ(squad_normalize(phrase), phrase);
}

TEST(Squad, AggregatesWhatIsThere) {
  EXPECT_EQ(squad_aggregate({}).n, 0);
  const std::vector<SquadSample> answered = {sample_of({"x"}, "x", 0), sample_of({"x y"}, "x", 0)};
  const auto m = squad_aggregate(answered);
  EXPECT_EQ(m.exact_match, 50.0);
  EXPECT_NEAR(m.f1, 100 * (1 + 2.0 / 3) / 2, 1e-12);
  EXPECT_EQ(m.has_ans_exact, 50.0);
  EXPECT_FALSE(m.no_ans_exact.has_value());
  EXPECT_FALSE(m.no_ans_f1.has_value());
  const std::vector<SquadSample> empty_only = {sample_of({}, "", 0)};
  EXPECT_FALSE(squad_aggregate(empty_only).has_ans_f1.has_value());
  EXPECT_EQ(squad_aggregate(empty_only).no_ans_f1, 100.0);
}

}  // namespace
}  // namespace lathe
