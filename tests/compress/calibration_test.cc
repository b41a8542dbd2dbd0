// Calibration data: conversations go through the chat template; or the model writes it itself.
#include "lathe/compress/calibration_data.h"

#include <fstream>
#include <set>

#include "compress/compress_test_util.h"
#include "lathe/text/tokenizer.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;

class ChatCalibration : public ::testing::Test {
 protected:
  void write(const char* name, const std::string& text) const {
    std::ofstream(folder_.file(name)) << text;
  }
  // The bundled tokenizer, with a chat template if one is given.
  void make_tokenizer(const std::string& chat_template) const {
    const std::string tiny = test::source_file("models/tiny/");
    std::filesystem::copy_file(tiny + "tokenizer.json", folder_.file("tokenizer.json"));
    auto config = nlohmann::json::parse(read_text(tiny + "tokenizer_config.json").value());
    config.erase("chat_template");
    if (!chat_template.empty()) config["chat_template"] = chat_template;
    write("tokenizer_config.json", config.dump());
  }
  Result<std::vector<std::vector<int32_t>>> samples(int64_t length) const {
    return calibration_samples({folder_.file("chat.jsonl"), 1, length, 0}, folder_.path());
  }
  test::TemporaryFolder folder_;
};

TEST_F(ChatCalibration, GoesThroughTheTemplate) {
  make_tokenizer("{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}");
  write(
      "chat.jsonl",
      "{\"messages\": [{\"role\": \"user\", \"content\": \"Where is the old man?\"}, "
      "{\"role\": \"assistant\", \"content\": \"In the garden.\"}]}\n\n{\"text\": \"He sat.\"}\n");
  const auto tokenizer = load_tokenizer(folder_.path()).value();
  const std::string eos = tokenizer->token_of(*tokenizer->eos());
  auto expected =
      tokenizer->encode("user: Where is the old man?" + eos + "assistant: In the garden." + eos,
                        {.add_special = false, .parse_special = true});
  ASSERT_EQ(std::count(expected.begin(), expected.end(), *tokenizer->eos()), 2);
  for (const TokenId id :
       tokenizer->encode("He sat.", {.add_special = false, .parse_special = false})) {
    expected.push_back(id);
  }
  const bool bos = tokenizer->adds_bos();
  if (bos) expected.insert(expected.begin(), *tokenizer->bos());
  const auto found = samples(static_cast<int64_t>(expected.size()));
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ((*found)[0], std::vector<int32_t>(expected.begin(), expected.end()));
}

TEST_F(ChatCalibration, Refusals) {
  make_tokenizer("");
  write("chat.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}\n");
  EXPECT_THAT(samples(8).error().message, HasSubstr("chat.jsonl:1: a conversation, but the model"));
  write("chat.jsonl", "{\"text\": \"x\"}\n{\"message\": []}\n");
  EXPECT_THAT(samples(8).error().message, HasSubstr("chat.jsonl:2: expected an object with"));
}

TEST_F(ChatCalibration, ATemplateMayRefuse) {
  make_tokenizer("{{ raise_exception('no such role') }}");
  write("chat.jsonl", "{\"messages\": []}\n");
  EXPECT_THAT(samples(8).error().message, HasSubstr("no such role"));
}

class SelfCalibration : public ::testing::Test {
 protected:
  static CalibrationSpec spec(const nlohmann::json& generate) {
    const auto spec = calibration_from_json({{"generate", generate}});
    EXPECT_TRUE(spec.ok()) << spec.error().message;
    return *spec;
  }
  Samples samples(const nlohmann::json& generate, int threads) const {
    ThreadPool pool(threads);
    auto made = generated_samples(spec(generate), *source_, pool);
    EXPECT_TRUE(made.ok()) << made.error().message;
    return made.ok() ? *made : Samples();
  }
  std::unique_ptr<const Checkpoint> source_ = test::open(test::source_file("models/tiny"));
  test::TemporaryFolder folder_;
};

TEST_F(SelfCalibration, TheSeedAloneDecides) {
  // More sequences than are generated at once.
  const nlohmann::json asked = {{"sequences", 20}, {"tokens", 12}, {"seed", 3}};
  const Samples one = samples(asked, 1);
  EXPECT_EQ(samples(asked, 3), one);
  ASSERT_EQ(one.size(), 20u);
  const auto tokenizer = tokenizer_of(*source_).value();
  std::set<std::vector<int32_t>> different;
  for (const auto& sample : one) {
    ASSERT_EQ(sample.size(), 12u);
    if (tokenizer->adds_bos()) {
      EXPECT_EQ(sample[0], *tokenizer->bos());
    }
    different.insert(sample);
  }
  EXPECT_EQ(different.size(), 20u);
  nlohmann::json other = asked;
  other["seed"] = 4;
  EXPECT_NE(samples(other, 1), one);
}

// Nearly at temperature 0 each token is the likeliest one after those before it.
TEST_F(SelfCalibration, TokensAreTheModelsOwn) {
  const Samples made = samples({{"sequences", 2}, {"tokens", 10}, {"temperature", 1e-6}}, 2);
  const auto ops = make_cpu_ops(chosen_isa().value(), std::make_shared<ThreadPool>(1));
  const auto model = load_model(*source_, *ops, {16}).value();
  for (const auto& sample : made) {
    KvCache cache = KvCache::create(model->config.kv_shape(), 16).value();
    Batch batch;
    batch.add(cache, sample, true);
    const Tensor logits = forward(*model, *ops, batch);
    for (int64_t t = 0; t + 1 < logits.rows(); ++t) {
      const float* row = logits.row(t);
      EXPECT_EQ(std::max_element(row, row + logits.cols()) - row, sample[size_t(t + 1)]) << t;
    }
  }
}

TEST_F(SelfCalibration, ACompressionIsTheSameOnAnyNumberOfThreads) {
  const Recipe recipe = test::recipe_of(
      {{"format", "int4:g64"},
       {"method", "gptq"},
       {"calibration", {{"generate", {{"sequences", 3}, {"tokens", 32}, {"seed", 7}}}}}});
  EXPECT_EQ(recipe_from_json(to_json(recipe))->hash(), recipe.hash());
  std::map<std::string, std::string> first;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    const std::string out = folder_.file(std::to_string(threads));
    const auto report = compress(*source_, recipe, out, pool);
    ASSERT_TRUE(report.ok()) << report.error().message;
    if (threads == 1) first = test::contents(out);
    EXPECT_EQ(test::contents(out), first);
  }
  const auto lathe = nlohmann::json::parse(first["lathe.json"]);
  EXPECT_EQ(lathe["calibration"]["tokens"], 96);
  EXPECT_EQ(lathe["calibration"]["generated_sha256"].get<std::string>().size(), 64u);
}

TEST_F(SelfCalibration, Refusals) {
  const auto message = [](const nlohmann::json& json) {
    const auto spec = calibration_from_json(json);
    EXPECT_FALSE(spec.ok()) << json;
    return spec.ok() ? "" : spec.error().message;
  };
  EXPECT_THAT(message({{"generate", {{"temperature", 0}}}}), HasSubstr("must be a number above 0"));
  EXPECT_THAT(message({{"generate", {{"tokens", 2}}}}),
              HasSubstr("tokens: must be a whole number"));
  EXPECT_THAT(message({{"generate", {{"samples", 2}}}}), HasSubstr("unknown key 'samples'"));
  EXPECT_THAT(message({{"generate", 5}}), HasSubstr("generate: must be keys with values"));
  EXPECT_THAT(message({{"generate", nlohmann::json::object()}, {"seed", 1}}),
              HasSubstr("'generate' stands for itself"));
  ThreadPool pool(1);
  const auto longer = generated_samples(spec({{"tokens", 1'000'000}}), *source_, pool);
  EXPECT_THAT(longer.error().message, HasSubstr("samples of 1000000 tokens, but this model takes"));
}

}  // namespace
}  // namespace lathe
