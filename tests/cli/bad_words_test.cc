// Bad words and data through the program: options, recipes, experiments, data sets and run folders
// that make no sense. One error that says what, where and, if it helps, what to do; exit code 2;
// nothing half-written.
#include "cli_support.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
using test::expect_one_error;
using test::tiny;
using test::write_file;

TEST(BadWords, OptionsAndValues) {
  expect_one_error(test::run("inpsect x"), 2, {"inpsect", "did you mean 'inspect'?"});
  expect_one_error(test::run("eval x --taks a"), 2, {"--taks", "did you mean '--tasks'?"});
  expect_one_error(test::run("compress x --fromat int8 -o y"), 2, {"did you mean '--format'?"});
  expect_one_error(test::run("run " + tiny() + " -p x --threads many"), 2, {"--threads"});
  expect_one_error(test::run("run " + tiny() + " -p x --seed x"), 2, {"--seed"});
  expect_one_error(test::run("run " + tiny() + " -p x --device gpu0"), 2, {"gpu0", "cpu"});
  expect_one_error(test::run("run " + tiny() + " -p x --top-p 2"), 2, {"top-p"});
  expect_one_error(test::run("run " + tiny() + " -p x --temperature=-1"), 2, {"temperature"});
  expect_one_error(test::run("run " + tiny() + " -p x -n 0"), 2, {"--max-tokens"});
  expect_one_error(test::run("run " + tiny()), 2, {"prompt"});
  expect_one_error(test::run("run"), 2, {"model"});
  expect_one_error(test::run("eval " + tiny() + " --tasks perplexty"), 2,
                   {"perplexty", "did you mean 'perplexity'?"});
  expect_one_error(test::run("eval " + tiny() + " --tasks ,"), 2, {"--tasks"});
  expect_one_error(test::run("eval " + tiny() + " --set perplexity.widnow=3"), 2,
                   {"widnow", "window"});
  expect_one_error(test::run("eval " + tiny() + " --set perplexity.window=wide"), 2, {"window"});
  expect_one_error(test::run("eval " + tiny() + " --set perplexity.window=100000 --quiet"), 2,
                   {"does not fit the context"});
  expect_one_error(test::run("eval " + tiny() + " --limit=-3"), 2, {"--limit"});
  expect_one_error(test::run("inspect /no/such/model"), 2, {"/no/such/model"});
  expect_one_error(test::run("inspect /dev/null"), 2, {"/dev/null", "a model is a directory"});
  expect_one_error(test::run("inspect " + tiny() + "/config.json"), 2, {"not a model"});
  expect_one_error(test::run("profile " + tiny() + " --prompt 0"), 2, {"prompt"});
  expect_one_error(test::run("pull not/a/repo"), 2, {"not/a/repo"});
  expect_one_error(test::run("run-job /no/such/folder"), 2, {"/no/such/folder/job.json"});
}

TEST(BadWords, Compress) {
  test::TemporaryFolder folder;
  const std::string out = " -o " + folder.file("out") + " ", recipe = folder.file("recipe.yaml");
  const auto compress = [&](const std::string& more) {
    return test::run("compress " + tiny() + out + more);
  };
  expect_one_error(compress(""), 2, {"nothing to do", "--format"});
  expect_one_error(compress("--format int5"), 2, {"int5"});
  expect_one_error(compress("--format int4:g7"), 2, {"not 7"});
  expect_one_error(compress("--format int8 --method rtm"), 2, {"rtm", "rtn"});
  expect_one_error(compress("--prune magnitude"), 2, {"METHOD:SPARSITY"});
  expect_one_error(compress("--prune magnitude:lots"), 2, {"lots"});
  expect_one_error(compress("--prune magnitude:1.5"), 2, {"0.95"});
  expect_one_error(compress("--prune magnitud:0.5"), 2, {"did you mean 'magnitude'?"});
  expect_one_error(compress("-r /no/such/recipe.yaml"), 2, {"/no/such/recipe.yaml"});
  const std::vector<std::pair<const char*, std::vector<std::string>>> recipes = {
      {"", {"recipe.yaml"}},
      {"- a\n- b\n", {"recipe.yaml"}},
      {"format: [int8\n", {"recipe.yaml:"}},
      {"format: int8\nformat: int4\n", {"recipe.yaml:2", "twice"}},
      {"fromat: int8\n", {"fromat", "did you mean 'format'?"}},
      {"format: 8\n", {"format"}},
      {"passes: [{magnitude: {sparsty: 0.5}}]\n", {"sparsty", "sparsity"}},
      {"passes: [{rtn: {format: q9_9}}]\n", {"q9_9"}},
      {"format: int8\noverrides: [{match: '*', fromat: f16}]\n", {"overrides[0]", "format"}},
      {"format: int8\noverrides: [{match: nothing.at.all, format: f16}]\n", {"nothing.at.all"}},
  };
  for (const auto& [text, words] : recipes) {
    SCOPED_TRACE(text);
    write_file(recipe, text);
    std::vector<std::string> all = words;
    expect_one_error(compress("-r " + recipe), 2, all);
  }
  write_file(recipe, std::string("\x00\x01\x02", 3));
  expect_one_error(compress("-r " + recipe), 2, {"recipe.yaml", "not text"});
  expect_one_error(test::run("compress " + tiny() + " -o /no/such/folder/out --format int8"), 2,
                   {"/no/such/folder/out"});
  EXPECT_FALSE(fs::exists(folder.file("out")));
}

TEST(BadWords, Experiments) {
  test::TemporaryFolder folder;
  const std::string path = folder.file("x.yaml");
  const auto sweep = [&](const std::string& text) {
    write_file(path, text);
    return test::run("sweep " + path + " -o " + folder.file("runs"));
  };
  const std::string head = "name: x\nmodels: [" + tiny() + "]\n";
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"", {"x.yaml"}},
      {"just words\n", {"x.yaml"}},
      {"name: x\n  models: [a]\n", {"x.yaml:2"}},
      {"models: [a]\nvariants: {a: }\nprobes: [size]\n", {"'name' is missing"}},
      {"name: x\nvariants: {a: }\nprobes: [size]\n", {"'models' is missing"}},
      {head + "probes: [size]\n", {"variants"}},
      {head + "variants: {a: }\n", {"tasks", "probes"}},
      {head + "variants: {a: }\nproves: [size]\n", {"proves", "did you mean 'probes'?"}},
      {head + "variants: {a: }\nprobes: [sizes]\n", {"sizes", "did you mean 'size'?"}},
      {head + "variants: {a: }\ntasks: [squad]\n", {"squad", "squad_v2"}},
      {head + "variants: {a: }\ntasks: [{squad_v2: {limt: 3}}]\n", {"limt", "limit"}},
      {head + "variants: {a: }\ntasks: [{squad_v2: {limit: few}}]\n", {"limit"}},
      {head + "variants: {a: {format: int8}, a: }\nprobes: [size]\n", {"twice"}},
      {head + "variants: {a: {format: int7}}\nprobes: [size]\n", {"variant 'a'", "int7"}},
      {head + "variants: {../a: }\nprobes: [size]\n", {"../a"}},
      {head + "variants: {a: }\nbaseline: b\nprobes: [size]\n", {"baseline 'b'"}},
      {head + "variants: {a: }\nprobes: [size]\nseed: -1\n", {"seed"}},
      {head + "variants: {a: }\nprobes: [size]\ncost: 3\n", {"cost"}},
  };
  for (const auto& [text, words] : cases) {
    SCOPED_TRACE(text);
    expect_one_error(sweep(text), 2, words);
    EXPECT_FALSE(fs::exists(folder.file("runs")));
  }
  expect_one_error(test::run("sweep /no/such/x.yaml"), 2, {"/no/such/x.yaml"});
  write_file(path, head + "variants: {aa: }\nprobes: [size]\n");
  expect_one_error(test::run("sweep --only ab " + path), 2, {"'ab'", "aa"});
}

TEST(BadWords, DataSets) {
  test::TemporaryFolder folder;
  const std::string path = folder.file("data");
  const auto eval = [&](const std::string& task, const std::string& text) {
    write_file(path, text);
    return test::run("eval " + tiny() + " --quiet --tasks " + task + " --samples " +
                     folder.file("samples") + " --set " + task + ".data=" + path);
  };
  for (const char* task : {"squad_v2", "gsm8k", "perplexity"}) {
    SCOPED_TRACE(task);
    expect_one_error(eval(task, ""), 2, {path + ": the file is empty"});
    expect_one_error(eval(task, "one\ntwo \xFF\xFE\n"), 2, {path + ":2: not valid UTF-8"});
  }
  write_file(path, "one \xC3(\n");
  expect_one_error(test::run("eval " + tiny() + " --quiet --against " + tiny() +
                             " --tasks perplexity --set perplexity.data=" + path),
                   2, {path + ":1: not valid UTF-8"});
  for (const char* text : {"{", "[]", "{\"data\": 3}", "{\"data\": []}", "{\"data\": [1]}",
                           R"({"data": [{"paragraphs": [{"context": "c", "qas": [{}]}]}]})",
                           R"({"data": [{"paragraphs": [{"context": "c", "qas": [{"id": "1",
                               "question": "q", "answers": [{"text": 5}]}]}]}]})",
                           R"({"data": [{"paragraphs": [{"context": "c", "qas": [{"id": "1",
                               "question": "q", "is_impossible": "yes", "answers": []}]}]}]})",
                           R"({"data": [{"paragraphs": [{"context": "c", "qas": [
                               {"id": "1", "question": "q", "answers": []},
                               {"id": "1", "question": "r", "answers": []}]}]}]})"}) {
    SCOPED_TRACE(text);
    expect_one_error(eval("squad_v2", text), 2, {path});
  }
  for (const char* text : {"{}\n", "no json\n", "[1]\n", R"({"question": "q"})"}) {
    SCOPED_TRACE(text);
    expect_one_error(eval("gsm8k", text), 2, {path + ":1"});
  }
  expect_one_error(eval("perplexity", "short"), 2, {path});
  fs::remove(path);
  expect_one_error(test::run("eval " + tiny() + " --quiet --tasks gsm8k --set gsm8k.data=" + path),
                   2, {path});
  EXPECT_FALSE(fs::exists(folder.file("samples")));
}

TEST(BadWords, Runs) {
  test::TemporaryFolder folder;
  const std::string page = folder.file("page.html");
  const auto report = [&](const std::string& text) {
    fs::create_directories(folder.file("runs/a"));
    write_file(folder.file("runs/a/run.json"), text);
    return test::run("report " + folder.file("runs") + " -o " + page);
  };
  expect_one_error(test::run("report /no/such/runs"), 2, {"/no/such/runs"});
  expect_one_error(test::run("report " + folder.path()), 2, {"no run.json"});
  for (const char* text :
       {"", "{", "[]", "{}", R"({"id": 3})", R"({"id": "a", "variant": "a", "status": "done"})",
        R"({"id": "a", "variant": "a", "status": "done", "results": [3]})",
        R"({"id": "a", "variant": "a", "status": "done", "results": [{"task": "t"}]})",
        R"({"id": "a", "variant": "a", "status": "done", "results": [],
            "experiment": "demo"})",
        R"({"id": "a", "variant": "a", "status": "done", "results": [],
            "experiment": {"name": 5}})"}) {
    SCOPED_TRACE(text);
    expect_one_error(report(text), 2, {"run.json"});
    EXPECT_FALSE(fs::exists(page));
  }
  // What a failed run leaves is no bad input.
  EXPECT_EQ(report(R"({"id": "a", "variant": "a", "status": "failed", "error": "no room",
                       "model": null, "experiment": null, "results": []})")
                .code,
            0);
}

}  // namespace
}  // namespace lathe
