#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "lathe/report/comparison.h"
#include "lathe/report/html.h"
#include "lathe/report/table.h"

namespace lathe {
namespace {

Run run_with(const std::string& id, double f1, double bytes, double speed) {
  Run run;
  run.id = run.variant = id;
  run.baseline = "a";
  run.status = "done";
  run.model = {{"path", "m"}};
  const auto add = [&](const char* task, const char* metric, double value, const char* better) {
    Measurement m;
    m.task = task;
    m.metric = metric;
    m.value = value;
    m.better = better;
    run.results.push_back(m);
  };
  add("squad_v2", "f1", f1, "higher");
  add("size", "weights_bytes", bytes, "lower");
  add("latency", "decode_tokens_per_s", speed, "higher");
  return run;
}

TEST(Pareto, MarksWhatNoOtherRunBeats) {
  const Comparison c = compare_runs({run_with("a", 90, 100, 10), run_with("b", 80, 50, 20),
                                     run_with("c", 79, 60, 30), run_with("d", 90, 100, 9)});
  const auto marks = [&](size_t i) { return std::pair(c.marks[i].memory, c.marks[i].speed); };
  EXPECT_EQ(marks(0), std::pair(true, true));
  EXPECT_EQ(marks(1), std::pair(true, true));
  EXPECT_EQ(marks(2), std::pair(false, true));  // larger and worse than b, but the fastest
  EXPECT_EQ(marks(3), std::pair(true, false));  // equal to a in memory, slower
}

TEST(Table, MissingAndFailedCellsAreSaid) {
  lathe::Run failed = run_with("z", 0, 0, 0);
  failed.status = "failed";
  failed.error = "no room";
  failed.results.clear();
  const std::string text =
      terminal_table(compare_runs({run_with("a", 90, 1e6, 10), failed}), false);
  EXPECT_NE(text.find("z failed: no room"), std::string::npos);
  EXPECT_EQ(text.find('\033'), std::string::npos);
  const std::string list = markdown_table(compare_runs({run_with("a", 90, 1e6, 10), failed}));
  EXPECT_NE(list.find("\n- z failed: no room\n"), std::string::npos) << list;
}

TEST(Table, WhatFailedInSeveralRunsIsSaidOnce) {
  std::vector<lathe::Run> runs = {run_with("a", 90, 1e6, 10), run_with("b", 90, 1e6, 10)};
  for (lathe::Run& run : runs) {
    run.status = "partial";
    run.failures = nlohmann::json::array(
        {{{"name", "task/gsm8k"}, {"error", "task 'gsm8k': rows.jsonl:2: not a JSON object"}}});
  }
  runs[1].failures.push_back({{"name", "probe/latency"}, {"error", "does\nnot fit"}});
  const std::string lines =
      "a, b failed in part: task/gsm8k: rows.jsonl:2: not a JSON object\n"
      "b failed in part: probe/latency: does not fit\n";
  EXPECT_TRUE(terminal_table(compare_runs(runs), false).ends_with(lines));
}

TEST(Table, LegendExplainsOnlyWhatIsThere) {
  const auto text = [](std::vector<lathe::Run> runs) {
    return terminal_table(compare_runs(std::move(runs)), false);
  };
  lathe::Run alone = run_with("a", 90, 1e6, 10);
  EXPECT_NE(text({alone}).find("★ on the Pareto front (m: f1 against memory"), std::string::npos);
  EXPECT_EQ(text({alone}).find("paired difference"), std::string::npos);
  std::erase_if(alone.results, [](const Measurement& m) { return m.task != "squad_v2"; });
  EXPECT_EQ(text({alone}).find("★"), std::string::npos);
  alone.results[0].baseline_delta = 1;
  alone.results[0].verdict = "better";
  EXPECT_NE(text({alone}).find("paired difference"), std::string::npos);
}

TEST(Table, DifferencesCarryTheirVerdictInWords) {
  std::vector<lathe::Run> runs;
  for (const char* verdict : {"=", "worse", "better", "undecided"}) {
    runs.push_back(run_with(verdict, 90, 1e6, 10));
    runs.back().results[0].unit = "%";
    runs.back().results[0].baseline_delta = -1.25;
    runs.back().results[0].verdict = verdict;
  }
  runs[3].results[0].decisive_n = 1234;
  for (const std::string& text :
       {terminal_table(compare_runs(runs), false), markdown_table(compare_runs(runs))}) {
    for (const char* cell : {"90.0 (-1.2 =)", "90.0 (-1.2 worse)", "90.0 (-1.2 better)",
                             "90.0 (-1.2 undecided, n 1,234)"}) {
      EXPECT_NE(text.find(cell), std::string::npos) << cell << " in\n" << text;
    }
  }
  runs[3].results[0].decisive_n.reset();
  EXPECT_NE(terminal_table(compare_runs(runs), false).find("(-1.2 undecided)"), std::string::npos);
}

// What could not be measured is said with its reason, and makes a column only where a run has it.
TEST(Table, UnknownFiguresGiveTheirReason) {
  std::vector<lathe::Run> runs = {run_with("a", 90, 1e6, 10), run_with("b", 80, 1e6, 10)};
  for (lathe::Run& run : runs) {
    Measurement m;
    m.task = "latency";
    m.metric = "joules_per_token";
    m.value = std::nan("");
    m.unit = "J";
    m.extra["unknown"] = "no counter, here";
    run.results.push_back(m);
    m.metric = "joules_per_prompt_token";
    run.results.insert(run.results.end() - 1, m);
  }
  const std::string reason =
      "unknown joules_per_prompt_token, joules_per_token: no counter, here\n";
  for (const std::string& text :
       {terminal_table(compare_runs(runs), false), markdown_table(compare_runs(runs)),
        terminal_rows(runs[0].results, false)}) {
    const size_t at = text.find(reason);
    ASSERT_NE(at, std::string::npos) << text;
    EXPECT_EQ(text.find(reason, at + 1), std::string::npos) << text;
    EXPECT_EQ(text.find("nan"), std::string::npos) << text;
    EXPECT_EQ(text.find("J/tok"), std::string::npos) << text;
  }
  const std::string csv = csv_rows({runs[0]});
  EXPECT_NE(csv.find("latency,joules_per_token,,,,0,J,"), std::string::npos) << csv;
  EXPECT_NE(csv.find(",\"no counter, here\"\n"), std::string::npos) << csv;
  EXPECT_NE(jsonl_rows({runs[0]}).find("\"value\":null"), std::string::npos);

  runs[0].results.back().extra.erase("unknown");
  runs[0].results.back().value = 1.5;
  const std::string text = terminal_table(compare_runs(runs), false);
  EXPECT_NE(text.find("J/tok"), std::string::npos);
  EXPECT_NE(text.find("1.500"), std::string::npos);
  EXPECT_NE(text.find("  unknown\n"), std::string::npos) << text;
}

TEST(Table, EveryConventionHasItsColumn) {
  lathe::Run run = run_with("a", 90, 1e6, 10);
  for (const auto& [convention, value] : {std::pair{"papers", 5.5}, {"hf-stride", 6.5}}) {
    Measurement m;
    m.task = "rosetta";
    m.metric = "ppl";
    m.value = value;
    m.better = "lower";
    m.extra["convention"] = convention;
    run.results.push_back(m);
  }
  const std::string text = terminal_table(compare_runs({run}), false);
  for (const char* piece : {"ppl papers", "ppl hf-stride", "5.500", "6.500"}) {
    EXPECT_NE(text.find(piece), std::string::npos) << piece << " in\n" << text;
  }
}

// A task of any kind has its column, a user's own too; several tasks with one metric are told
// apart.
TEST(Table, EveryTaskHasItsColumns) {
  lathe::Run run = run_with("a", 90, 1e6, 10);
  const auto add = [&](const char* task, const std::vector<const char*>& metrics) {
    for (const char* metric : metrics) {
      Measurement m;
      m.task = task;
      m.metric = metric;
      m.value = 12.5;
      m.better = "higher";
      run.results.push_back(m);
    }
  };
  add("hellaswag", {"acc", "acc_norm"});
  add("arc_easy", {"acc", "acc_norm"});
  add("xsum", {"rouge1", "rouge2", "rougeL", "distinct_1"});
  add("multi30k_en_de", {"bleu", "chrf", "chrf++", "ter"});
  add("mine", {"politeness", "length_words"});
  add("batch", {"decode_tokens_per_s_batch"});
  std::vector<std::string> titles;
  for (const Column& c : compare_runs({run}).columns) titles.push_back(c.title);
  EXPECT_EQ(titles,
            (std::vector<std::string>{"f1", "acc hellaswag", "acc_norm hellaswag", "acc arc_easy",
                                      "acc_norm arc_easy", "rouge1", "rougeL", "bleu", "chrf",
                                      "politeness", "weights", "decode tok/s"}));
}

TEST(Pareto, QualityIsWhatTheTasksMeasure) {
  const auto of = [](const char* metric) {
    lathe::Run run = run_with("a", 90, 1e6, 10);
    run.results[0].task = "mine";
    run.results[0].metric = metric;
    return compare_runs({run});
  };
  for (const char* metric : {"f1", "acc", "rougeL", "bleu", "ppl", "politeness"}) {
    EXPECT_EQ(of(metric).headline, metric);
    EXPECT_TRUE(of(metric).marks[0].memory) << metric;
  }
  lathe::Run timed = run_with("a", 90, 1e6, 10);
  timed.results.erase(timed.results.begin());
  EXPECT_EQ(compare_runs({timed}).headline, "");
  EXPECT_FALSE(compare_runs({timed}).marks[0].memory);
}

TEST(Csv, EveryLineHasTheColumnsOfItsHead) {
  lathe::Run failed = run_with("z", 0, 0, 0);
  failed.status = "failed";
  lathe::Run run = run_with("a", 90, 1e6, 10);
  run.results[0].p_value = 0.25;
  run.results[0].p_holm = 0.5;
  run.results[0].decisive_n = 77;
  run.results[0].test = "mcnemar";
  std::istringstream lines(csv_rows({run, failed}));
  std::string head;
  std::getline(lines, head);
  EXPECT_NE(head.find("verdict,test,p_value,p_holm,decisive_n"), std::string::npos) << head;
  const auto columns = [](const std::string& line) { return std::ranges::count(line, ','); };
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    EXPECT_EQ(columns(line), columns(head)) << line;
    if (count == 0) {
      EXPECT_NE(line.find(",mcnemar,0.25,0.5,77,"), std::string::npos) << line;
    }
  }
  EXPECT_EQ(count, 4);
}

TEST(Csv, FieldsWithCommasAreQuoted) {
  lathe::Run run = run_with("a", 90, 1, 1);
  run.id = "x,\"y\"";
  EXPECT_NE(csv_rows({run}).find("\"x,\"\"y\"\"\""), std::string::npos);
}

TEST(Html, DataCannotEndItsElement) {
  lathe::Run run = run_with("a", 90, 1, 1);
  run.samples = nlohmann::json::array({{{"prediction", "</script><script>alert(1)</script>\xff"}}});
  const auto page = html_report({run}, "t");
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->find("<script>alert(1)"), std::string::npos);
  EXPECT_NE(page->find("\\u003c/script>"), std::string::npos);
}

TEST(Human, NumbersForPeople) {
  EXPECT_EQ(human(3170000, "bytes"), "3.17 MB");
  EXPECT_EQ(human(1446.4, "tok/s"), "1,446");
  EXPECT_EQ(human(88.44, "%"), "88.4");
}

}  // namespace
}  // namespace lathe
