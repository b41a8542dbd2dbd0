// Task files: what is read, and what is refused with which words.
#include "lathe/eval/data/task_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "eval/metric_golden.h"
#include "lathe/eval/data/csv.h"
#include "lathe/eval/data/row_prompts.h"

namespace lathe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

class TaskFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              ("lathe_tasks_" + std::to_string(::getpid()) + "_" +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return (folder_ / name).string();
  }

  std::string refused(const std::string& yaml) const {
    const auto spec = parse_task_spec(yaml, "t.yaml", folder_.string());
    if (spec.ok()) return "accepted";
    EXPECT_EQ(spec.error().code, ErrorCode::kBadInput) << spec.error().message;
    return spec.error().message + " | " + spec.error().hint;
  }

  Result<std::vector<PromptedRow>> asked(const std::string& yaml,
                                         PromptOptions options = {}) const {
    auto spec = parse_task_spec(yaml, "t.yaml", folder_.string());
    EXPECT_TRUE(spec.ok()) << spec.error().message;
    if (!spec.ok()) return Error(spec.error());
    std::string path;
    return prompt_rows(**spec, options, &path);
  }

  static Result<std::vector<PromptedRow>> of_builtin(const std::string& task,
                                                     const std::string& data) {
    for (const BuiltinTask& builtin : builtin_tasks()) {
      if (builtin.file != task + ".yaml") continue;
      LATHE_TRY(const auto spec, parse_task_spec(builtin.yaml, builtin.file, ""));
      std::string path;
      return prompt_rows(*spec, {.data = data}, &path);
    }
    return not_found("no task {}", task);
  }

  fs::path folder_;
};

const std::string kBase =
    "task: t\noutput: generate\nprompt: \"Q: {{q}}\"\ntarget: \"{{a}}\"\nmetrics: [exact_match]\n"
    "data: {path: rows.jsonl}\n";

TEST_F(TaskFiles, AsksWhatTheRowsSay) {
  write("rows.jsonl", "{\"q\": \"one\", \"a\": \"1\"}\n\n{\"q\": \"two\", \"a\": \"2\"}\n");
  const auto rows = asked(kBase +
                              "preamble: \"Count.\\n\"\ndelimiter: \" -> \"\nfew_shot: {shots: 1, "
                              "separator: \"\\n\", examples: [{q: zero, a: \"0\"}]}\n",
                          {.shots = 1});
  ASSERT_TRUE(rows.ok()) << rows.error().message;
  ASSERT_EQ(rows->size(), 2u);
  EXPECT_EQ((*rows)[0].id, "1");
  EXPECT_THAT((*rows)[0].contexts, ElementsAre("Count.\nQ: zero -> 0\nQ: one"));
  EXPECT_THAT((*rows)[1].references, ElementsAre("2"));
  EXPECT_EQ(asked(kBase, {.limit = 1})->size(), 1u);
  EXPECT_EQ(asked(kBase, {.prompt = "{{a}}?"})->at(0).contexts[0], "1?");
}

TEST_F(TaskFiles, ReadsEveryFormat) {
  const std::string head =
      "task: t\noutput: generate\nprompt: \"{{q}}\"\ntarget: \"{{a}}\"\nmetrics: [rouge]\n";
  write("x.json", "{\"v\": {\"rows\": [{\"q\": \"ü\", \"a\": \"b\"}]}}");
  EXPECT_EQ(asked(head + "data: {path: x.json, rows: v.rows}")->at(0).contexts[0], "ü");
  write("x.csv", "\xEF\xBB\xBFq,a\r\n\"two, \"\"three\"\"\nlines\",b\r\n");
  EXPECT_EQ(asked(head + "data: {path: x.csv}")->at(0).contexts[0], "two, \"three\"\nlines");
  write("x.tsv", "q1\ta1\nq2\ta2");
  EXPECT_EQ(asked(head + "data: {path: x.tsv, columns: [q, a]}")->at(1).references[0], "a2");
  write("x.en", "hello\nworld\n");
  write("x.de", "hallo\nwelt\n");
  const auto pairs = asked(head + "data: {path: x, format: parallel, columns: {q: .en, a: .de}}");
  EXPECT_EQ(pairs->at(1).contexts[0], "world");
  EXPECT_EQ(pairs->at(1).references[0], "welt");
}

TEST_F(TaskFiles, RefusesBrokenFilesInWordsThatHelp) {
  EXPECT_THAT(refused("a: [1"), HasSubstr("t.yaml:"));
  EXPECT_THAT(refused("- 1"), HasSubstr("a list of keys"));
  EXPECT_THAT(refused("task: t\xff"), HasSubstr("UTF-8"));
  EXPECT_THAT(refused(kBase + "promt: x"),
              HasSubstr("unknown key 'promt' | did you mean 'prompt'?"));
  EXPECT_THAT(refused("task: t\noutput: generatee\n"), HasSubstr("did you mean 'generate'?"));
  EXPECT_THAT(refused("task: a/b\noutput: generate\n"), HasSubstr("may hold letters"));
  EXPECT_THAT(refused(kBase + "max_tokens: many"),
              HasSubstr("'max_tokens' must be a whole number"));
  EXPECT_THAT(refused(kBase + "stops: [1]"), HasSubstr("'stops' must be text"));
  EXPECT_THAT(refused(kBase + "filters: {f: [{regex: \"(\"}]}"),
              HasSubstr("filter 'f': pattern '('"));
  EXPECT_THAT(refused(kBase + "filters: {f: [{regexp: x}]}"), HasSubstr("did you mean 'regex'?"));
  EXPECT_THAT(refused(kBase + "few_shot: {shots: 3}"), HasSubstr("needs 'examples' or 'data'"));
  EXPECT_THAT(refused(kBase + "answer: \"0\""), HasSubstr("for multiple_choice"));
  const std::string no_metrics =
      "task: t\noutput: generate\nprompt: \"{{q}}\"\ntarget: \"{{a}}\"\n";
  EXPECT_THAT(refused(no_metrics), HasSubstr("'metrics' is missing"));
  EXPECT_THAT(refused(no_metrics + "metrics: [blue]"),
              HasSubstr("unknown metric 'blue' | did you mean 'bleu'?"));
  EXPECT_THAT(refused(no_metrics + "metrics: [f1, f1]"), HasSubstr("two metrics are called 'f1'"));
  EXPECT_THAT(refused(no_metrics + "metrics: [{bleu: {order: 4}}]"),
              HasSubstr("unknown key 'order'"));
  EXPECT_THAT(refused(no_metrics + "metrics: [{f1: {filter: x}}]"), HasSubstr("no filter 'x'"));
  EXPECT_THAT(refused("task: t\noutput: generate\nprompt: \"{{q\"\ntarget: a\nmetrics: [f1]"),
              HasSubstr("'prompt': template: line 1"));
  EXPECT_THAT(refused("task: t\noutput: multiple_choice\nprompt: q\nchoices: [a]\nmetrics: [acc]"),
              HasSubstr("needs 'answer'"));
  EXPECT_THAT(refused("task: t\noutput: multiple_choice\nprompt: q\nchoices: [a]\nanswer: \"0\"\n"
                      "metrics: [accuracy]"),
              HasSubstr("unknown metric 'accuracy'"));
}

TEST_F(TaskFiles, RefusesBrokenRowsInWordsThatHelp) {
  const auto error = [&](const std::string& yaml, PromptOptions options = {}) {
    const auto rows = asked(yaml, std::move(options));
    EXPECT_FALSE(rows.ok());
    return rows.ok() ? "" : rows.error().message + " | " + rows.error().hint;
  };
  EXPECT_THAT(error(kBase), HasSubstr("'rows.jsonl' is not there"));
  write("rows.jsonl", "");
  EXPECT_THAT(error(kBase), HasSubstr("rows.jsonl: the file is empty"));
  write("rows.jsonl", "\n \n");
  EXPECT_THAT(error(kBase), HasSubstr("holds no rows"));
  write("rows.jsonl", "{\"q\": \"x\"}\n");
  EXPECT_THAT(error(kBase),
              HasSubstr("row 1: template: line 1: 'a' is undefined | the row's fields: q"));
  write("rows.jsonl", "{\"q\": \"x\", \"a\": \"1\"}\n[1]\n");
  EXPECT_THAT(error(kBase), HasSubstr("rows.jsonl:2: not a JSON object"));
  write("rows.jsonl", "{\"q\": \"x\", \"a\": \"1\"}\n{\"q\": \"\xC3(\"}\n");
  EXPECT_THAT(error(kBase), HasSubstr("rows.jsonl:2: not valid UTF-8"));
  write("rows.jsonl",
        "{\"q\": \"x\", \"a\": \"1\", \"n\": 7}\n{\"q\": \"y\", \"a\": \"1\", \"n\": 7}\n");
  const std::string with_id =
      kBase.substr(0, kBase.find("data:")) + "data: {path: rows.jsonl, id: n}";
  EXPECT_THAT(error(with_id), HasSubstr("the id '7' stands twice"));
  EXPECT_THAT(error(kBase, {.shots = 2}), HasSubstr("'shots' needs 'shots_data'"));
  EXPECT_THAT(error(kBase, {.shots_data = "rows.jsonl", .shots = 9}),
              HasSubstr("9 shots, but only 2"));
  write("x.csv", "q,a\n1,2,3\n");
  EXPECT_THAT(error(kBase, {.data = "x.csv"}), HasSubstr("x.csv:2: 3 fields, expected 2"));
  write("x.csv", "q,a\n\"1,2\n");
  EXPECT_THAT(error(kBase, {.data = "x.csv"}), HasSubstr("line 2: a quote that is never closed"));
  write("x.parquet", "PAR1");
  EXPECT_THAT(error(kBase, {.data = "x.parquet"}), HasSubstr("Parquet is not read"));
  write("x.json", "{\"data\": 3}");
  EXPECT_THAT(error(kBase, {.data = "x.json"}), HasSubstr("the rows are not a list"));
  write("c.jsonl", "{\"q\": \"x\", \"o\": [\"a\", \"b\"], \"l\": \"C\"}\n");
  EXPECT_THAT(
      error("task: t\noutput: multiple_choice\nprompt: \"{{q}}\"\nchoices: o\nlabels: [A, B]\n"
            "answer: \"{{l}}\"\nmetrics: [acc]\ndata: {path: c.jsonl}"),
      HasSubstr("the answer 'C' is none of the 2 options"));
  write("a", "1\n2\n");
  write("b", "1\n");
  EXPECT_THAT(
      error("task: t\noutput: generate\nprompt: \"{{q}}\"\ntarget: \"{{r}}\"\nmetrics: [f1]\n"
            "data: {path: \"\", format: parallel, columns: {q: a, r: b}}"),
      HasSubstr("1 lines, but"));
}

TEST(BuiltinTasks, AreReadAndNamedAsTheirFiles) {
  EXPECT_GE(builtin_tasks().size(), 15u);
  for (const BuiltinTask& task : builtin_tasks()) {
    const auto spec = parse_task_spec(task.yaml, task.file, "");
    ASSERT_TRUE(spec.ok()) << spec.error().message;
    EXPECT_EQ((*spec)->name + ".yaml", task.file);
    EXPECT_FALSE((*spec)->description.empty()) << task.file;
  }
  EXPECT_TRUE(make_task("gsm8k_cot", {{"limit", 3}}).ok());
  EXPECT_THAT(make_task("gsm8k_cott", {}).error().hint, HasSubstr("gsm8k_cot"));
  EXPECT_THAT(make_task("mmlu", {{"shot", 5}}).error().hint, HasSubstr("shots"));
}

// Rows as the data sets' own files have them (the first fields of each), asked and answered.
TEST_F(TaskFiles, BuiltinSummariesAndTranslationsReadTheirDataSets) {
  struct Shape {
    const char *task, *file, *text, *asked;
    std::vector<std::string> golds;
  };
  const std::vector<Shape> shapes = {
      {"cnn_dailymail",
       "c.jsonl",
       R"({"article": "Long.", "highlights": "Short .\nTwo .", "id": "f0"})",
       "Article: Long.",
       {"Short .\nTwo ."}},
      {"xsum",
       "x.jsonl",
       R"({"document": "Long.", "summary": "Short.", "id": "3"})",
       "Article: Long.",
       {"Short."}},
      {"dialogsum",
       "d.jsonl",
       R"({"fname": "test_0", "dialogue": "#Person1#: Hi", "summary1": "a", "summary2": "b", "summary3": "c"})",
       "Dialogue:\n#Person1#: Hi",
       {"a", "b", "c"}},
      {"dialogsum",
       "d.csv",
       "id,dialogue,summary,topic\ntest_0_1,#Person1#: Hi,a,greeting\n",
       "Dialogue:\n#Person1#: Hi",
       {"a"}},
      {"samsum",
       "s.json",
       R"([{"id": "1", "dialogue": "A: Hi", "summary": "A greets."}])",
       "Dialogue:\nA: Hi",
       {"A greets."}},
      {"samsum",
       "s.csv",
       "id,dialogue,summary\n1,A: Hi,A greets.\n",
       "Dialogue:\nA: Hi",
       {"A greets."}},
  };
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(std::string(shape.task) + " " + shape.file);
    const auto rows = of_builtin(shape.task, write(shape.file, shape.text));
    ASSERT_TRUE(rows.ok()) << rows.error().message;
    ASSERT_EQ(rows->size(), 1u);
    EXPECT_THAT(rows->at(0).contexts[0], HasSubstr(shape.asked));
    EXPECT_EQ(rows->at(0).references, shape.golds);
  }
  for (const auto& [task, language] :
       {std::pair("multi30k_en_de", "de"), std::pair("multi30k_en_fr", "fr"),
        std::pair("multi30k_en_cs", "cs"), std::pair("wmt17_en_de", "de")}) {
    SCOPED_TRACE(task);
    write("pair.en", "A dog.\nTwo dogs.\n");
    write(std::string("pair.") + language, "Eins.\nZwei.\n");
    const auto rows = of_builtin(task, (folder_ / "pair").string());
    ASSERT_TRUE(rows.ok()) << rows.error().message;
    ASSERT_EQ(rows->size(), 2u);
    EXPECT_THAT(rows->at(1).contexts[0], HasSubstr("English: Two dogs.\n"));
    EXPECT_THAT(rows->at(1).references, ElementsAre("Zwei."));
  }
}

// lm-evaluation-harness's own filter and metric on the same texts (see metric_gsm8k_test.cc).
TEST(BuiltinTasks, Gsm8kCotScoresAsTheReference) {
  std::shared_ptr<const TaskSpec> spec;
  for (const BuiltinTask& task : builtin_tasks()) {
    if (std::string(task.file) == "gsm8k_cot.yaml")
      spec = parse_task_spec(task.yaml, "", "").value();
  }
  ASSERT_EQ(spec->text_metrics.size(), 2u);
  ASSERT_EQ(spec->filters.size(), 2u);
  int compared = 0;
  const auto golden = read_golden("gsm8k.json");
  for (const auto& row : golden["rows"]) {
    const auto text = row[0].get<std::string>();
    const std::vector<std::string> gold = {row[4].get<std::string>()};
    const size_t columns[] = {2, 1};  // strict_cot, flexible
    for (size_t m = 0; m < 2; ++m) {
      const std::string answer = spec->filters[m].second.apply(text);
      EXPECT_EQ(answer, row[1 + columns[m]].get<std::string>()) << row;
      std::map<std::string, double> scores;
      spec->text_metrics[m].metric.score(gold, answer, scores);
      EXPECT_EQ(scores.begin()->second, row[5][columns[m]].get<bool>() ? 1 : 0) << row;
      ++compared;
    }
  }
  EXPECT_GT(compared, 2000);
}

}  // namespace
}  // namespace lathe
