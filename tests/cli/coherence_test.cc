// Coherence through the program: the option, the experiment's key, the files of a run.
#include <filesystem>

#include "cli_support.h"

namespace lathe {
namespace {

using test::run;

std::string tiny_bert() { return test::source_file("tests/golden/encoders/tiny-bert"); }

const nlohmann::json* row_of(const nlohmann::json& document, const std::string& metric) {
  for (const auto& row : document["results"]) {
    if (row["metric"] == metric) return &row;
  }
  return nullptr;
}

TEST(CliCoherence, EvalScoresItWithAnEncoder) {
  test::TemporaryFolder folder;
  const std::string samples = folder.file("samples.jsonl");
  const auto outcome =
      run("eval " + test::tiny() + " --tasks squad_v2,perplexity --limit 3 --json " + "--encoder " +
          tiny_bert() + " --samples " + samples);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out);
  const auto* row = row_of(json, "coherence");
  ASSERT_TRUE(row);
  EXPECT_EQ((*row)["n"], 3);
  EXPECT_EQ(json["preflight"]["squad_v2"]["coherence"]["encoder"], tiny_bert());
  const std::string text = read_text(samples).value();
  EXPECT_NE(text.substr(0, text.find('\n')).find("\"coherence\":"), std::string::npos);
}

TEST(CliCoherence, TheTableSaysThatItIsLeftOut) {
  test::TemporaryFolder empty;
  const auto outcome = run("eval " + test::tiny() + " --tasks squad_v2 --limit 1 --encoder auto",
                           "HF_HUB_CACHE=" + empty.path() + " ");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("squad_v2 coherence is left out: no encoder is given"),
            std::string::npos)
      << outcome.out;
}

TEST(CliCoherence, RefusesWhatCannotBe) {
  const std::string eval = "eval " + test::tiny() + " --quiet --limit 1 ";
  test::expect_one_error(run(eval + "--tasks perplexity --encoder " + tiny_bert()), 2,
                         {"none of the tasks generates text"});
  test::expect_one_error(run(eval + "--tasks gsm8k --encoder " + test::tiny()), 2,
                         {"not an encoder"});
  test::expect_one_error(run("run " + tiny_bert() + " -p x --quiet"), 2, {"an encoder (bert)"});
  test::expect_one_error(run("compress " + tiny_bert() + " -o x --format int8:row --quiet"), 2,
                         {"an encoder (bert)"});
  EXPECT_NE(run("inspect " + tiny_bert()).out.find("bert, an encoder of texts"), std::string::npos);
}

TEST(CliCoherence, SweepKeepsItPerSampleAndKnowsTheEncoderByContent) {
  test::TemporaryFolder folder;
  const std::string encoder = folder.file("encoder"), runs = folder.file("runs");
  std::filesystem::copy(tiny_bert(), encoder, std::filesystem::copy_options::recursive);
  test::write_file(folder.file("e.yaml"),
                   "name: e\nmodels: [" + test::tiny() +
                       "]\nvariants: {a: {format: f16}}\nencoder: " + encoder +
                       "\ntasks: [{squad_v2: {limit: 2}}, {perplexity: "
                       "{limit: 1}}]\n");
  const auto sweep = [&] { return run("sweep " + folder.file("e.yaml") + " --runs " + runs); };
  const auto outcome = sweep();
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("coherence"), std::string::npos) << outcome.out;
  const auto json = [&] {
    return nlohmann::json::parse(read_text(runs + "/e/a/run.json").value());
  };
  const auto before = json();
  ASSERT_TRUE(row_of(before, "coherence"));
  EXPECT_EQ(before["tasks"][0]["preflight"]["coherence"]["encoder"], encoder);
  double sum = 0;
  std::istringstream lines(read_text(runs + "/e/a/samples.jsonl").value());
  for (std::string line; std::getline(lines, line);) {
    const auto sample = nlohmann::json::parse(line);
    if (sample["task"] == "squad_v2") sum += sample["scores"]["coherence"].get<double>();
  }
  EXPECT_NEAR((*row_of(before, "coherence"))["value"].get<double>(), sum / 2, 1e-12);

  // Another encoder at the same place: the run is made again.
  auto config = nlohmann::json::parse(read_text(encoder + "/sentence_bert_config.json").value());
  config["max_seq_length"] = 6;
  test::write_file(encoder + "/sentence_bert_config.json", config.dump());
  ASSERT_EQ(sweep().code, 0);
  EXPECT_NE((*row_of(json(), "coherence"))["value"], (*row_of(before, "coherence"))["value"]);
  EXPECT_EQ(json()["tasks"][0]["preflight"]["coherence"]["encoder_tokens"], 6);
}

}  // namespace
}  // namespace lathe
