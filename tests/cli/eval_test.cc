// `lathe eval`: comparisons with a baseline, published perplexities, chat templates.
#include <cmath>
#include <map>
#include <sstream>

#include "cli_support.h"

namespace lathe {
namespace {

using test::Outcome;
using test::run;

const std::string kFew = " --limit 3 --threads 2";

nlohmann::json json_of(const Outcome& outcome) {
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return nlohmann::json::parse(outcome.out, nullptr, false);
}

TEST(CliEval, AgainstComparesSampleBySampleAndTokenByToken) {
  test::TemporaryFolder folder;
  const std::string out = folder.file("int4");
  ASSERT_EQ(run("compress " + test::tiny() + " -o " + out + " --format int4:row").code, 0);
  const auto json = json_of(
      run("eval " + out + " --against " + test::tiny() + " --tasks perplexity --json" + kFew));
  EXPECT_EQ(json["baseline"]["path"], test::tiny());
  std::map<std::string, nlohmann::json> rows;
  for (const auto& row : json["results"]) {
    rows[row["task"].get<std::string>() + "/" + row["metric"].get<std::string>()] = row;
  }
  const auto& ppl = rows["perplexity/ppl"];
  EXPECT_GT(ppl["baseline_delta"].get<double>(), 0);
  EXPECT_EQ(ppl["test"], "paired-bootstrap");
  EXPECT_GE(ppl["p_holm"].get<double>(), ppl["p_value"].get<double>());
  EXPECT_GT(rows["divergence/kl_mean"]["value"].get<double>(), 0);
  EXPECT_GE(rows["divergence/kl_max"]["value"].get<double>(),
            rows["divergence/kl_p99"]["value"].get<double>());
  const auto& p99 = rows["divergence/kl_p99"];
  EXPECT_LE(p99["low"].get<double>(), p99["value"].get<double>());
  EXPECT_GE(p99["high"].get<double>(), p99["value"].get<double>());
  EXPECT_FALSE(rows["divergence/kl_max"].contains("low"));
  EXPECT_NE(rows["divergence/kl_max"]["interval"].dump().find("none"), std::string::npos);
  EXPECT_LT(rows["divergence/top1_agreement"]["value"].get<double>(), 100);
  const auto value = [&](const char* row) { return rows[row]["value"].get<double>(); };
  EXPECT_NEAR(value("divergence/ppl_ratio"), value("divergence/ppl") / value("divergence/base_ppl"),
              1e-9);
  EXPECT_GT(value("divergence/ppl_ratio"), 1);
  EXPECT_GT(value("divergence/p_shift_rms"), std::abs(value("divergence/p_shift")));
  EXPECT_LE(std::abs(value("divergence/p_shift")), 100);
}

// Right or wrong, answer by answer: what was gained and lost, and whether that decides anything.
TEST(CliEval, AgainstCountsAnswerFlips) {
  test::TemporaryFolder folder;
  const std::string out = folder.file("pruned"), samples = folder.file("samples.jsonl");
  ASSERT_EQ(
      run("compress " + test::tiny() + " -o " + out + " --format f16 --prune magnitude:0.6").code,
      0);
  const std::string tasks = " --tasks gsm8k --limit 12 --threads 2 --quiet --samples " + samples;
  const auto right = [&] {
    std::map<std::string, bool> of;
    std::istringstream lines(read_text(samples).value());
    for (std::string line; std::getline(lines, line);) {
      const auto sample = nlohmann::json::parse(line);
      if (sample["task"] == "gsm8k") of[sample["id"]] = sample["scores"]["strict_match"] == 1;
    }
    return of;
  };
  ASSERT_EQ(run("eval " + test::tiny() + tasks).code, 0);
  const auto before = right();
  const auto json = json_of(run("eval " + out + " --against " + test::tiny() + tasks + " --json"));
  const auto after = right();
  ASSERT_EQ(before.size(), 12u);
  int64_t gained = 0, lost = 0;
  for (const auto& [id, was] : before) {
    gained += !was && after.at(id) ? 1 : 0;
    lost += was && !after.at(id) ? 1 : 0;
  }
  EXPECT_GT(lost, 0);
  for (const auto& row : json["results"]) {
    if (row["metric"] != "strict_match") continue;
    EXPECT_EQ(row["gained"], gained);
    EXPECT_EQ(row["lost"], lost);
    EXPECT_EQ(row["test"], "mcnemar");
    EXPECT_DOUBLE_EQ(row["baseline_delta"], 100.0 * static_cast<double>(gained - lost) / 12);
  }
}

TEST(CliEval, AgainstItselfNothingDiffers) {
  const auto json = json_of(run("eval " + test::tiny() + " --against " + test::tiny() +
                                " --tasks perplexity --json" + kFew));
  int compared = 0;
  for (const auto& row : json["results"]) {
    if (row["task"] == "perplexity") {
      EXPECT_EQ(row["verdict"], "=");
      ++compared;
    }
    if (row["metric"] == "kl_mean") {
      EXPECT_EQ(row["value"], 0);
    }
    if (row["metric"] == "top1_agreement") {
      EXPECT_EQ(row["value"], 100);
    }
  }
  EXPECT_GE(compared, 1);
}

TEST(CliEval, BadBaselinesAreOneError) {
  test::expect_one_error(run("eval " + test::tiny() + " --against /no/such/model --quiet" + kFew),
                         2, {"/no/such/model"});
}

TEST(CliEval, MatchNamesTheNearestConvention) {
  test::TemporaryFolder folder;
  const std::string text = folder.file("text.txt");
  test::write_file(text, read_text(test::tiny() + "/data/text.txt").value().substr(0, 9000));
  const std::string data = " --set rosetta.data=" + text + kFew;
  const auto all = json_of(run("eval " + test::tiny() + " --tasks rosetta --json" + data));
  std::map<std::string, double> ppl;
  for (const auto& row : all["results"]) {
    if (row["metric"] == "ppl") ppl[row["convention"]] = row["value"].get<double>();
  }
  ASSERT_TRUE(ppl.contains("llama.cpp"));
  const auto json = json_of(run("eval " + test::tiny() + " --json" + data +
                                fmt::format(" --match {}", ppl["llama.cpp"])));
  EXPECT_EQ(json["match"]["row"]["convention"], "llama.cpp");
  EXPECT_LT(json["match"]["distance"].get<double>(), 1e-9);
  const Outcome words = run("eval " + test::tiny() + data + " --match 5.47");
  EXPECT_EQ(words.code, 0) << words.err;
  EXPECT_NE(words.out.find("nearest to 5.47 is"), std::string::npos) << words.out;
}

TEST(CliEval, MatchNeedsAFigureAndAPerplexity) {
  for (const char* figure : {"0", "-3", "five"}) {
    EXPECT_EQ(run("eval " + test::tiny() + " --match " + figure).code, 2) << figure;
  }
  test::expect_one_error(run("eval " + test::tiny() + " --tasks gsm8k --match 5 --quiet" + kFew), 2,
                         {"--match", "perplexity"});
}

TEST(CliEval, ChatIsRefusedWhereItCannotBe) {
  // The bundled model has no chat template; perplexity asks nothing.
  const Outcome none = run("eval " + test::tiny() + " --tasks gsm8k --chat --quiet" + kFew);
  EXPECT_EQ(none.code, 2) << none.err;
  EXPECT_NE(none.err.find("chat template"), std::string::npos) << none.err;
  test::expect_one_error(run("eval " + test::tiny() + " --tasks perplexity --chat --quiet" + kFew),
                         2, {"chat"});
}

// The same model with a template in its tokenizer_config.json.
TEST(CliEval, ChatPutsPromptsIntoTheTemplateAndSaysSo) {
  namespace fs = std::filesystem;
  test::TemporaryFolder folder;
  const std::string copy = folder.file("chat");
  fs::create_directories(copy);
  for (const auto& entry : fs::directory_iterator(test::tiny())) {
    if (entry.is_regular_file())
      fs::copy(entry.path(), copy + "/" + entry.path().filename().string());
  }
  const std::string config = copy + "/tokenizer_config.json";
  auto tokenizer = nlohmann::json::parse(read_text(config).value());
  tokenizer["chat_template"] =
      "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}\n{% endfor %}";
  test::write_file(config, tokenizer.dump());
  const auto asked = [&](const std::string& more) {
    return json_of(run("eval " + copy + " --tasks gsm8k --set gsm8k.max_tokens=8 --json --quiet" +
                       kFew + more))["preflight"]["gsm8k"];
  };
  const auto plain = asked(""), chat = asked(" --chat");
  EXPECT_EQ(plain["chat"], false);
  EXPECT_NE(plain["warnings"].dump().find("chat template that is not used"), std::string::npos);
  EXPECT_EQ(chat["chat"], true);
  EXPECT_EQ(chat["warnings"].dump().find("not used"), std::string::npos);
  EXPECT_NE(plain["prompt_hash"], chat["prompt_hash"]);
}

}  // namespace
}  // namespace lathe
