// Sentence vectors against those of transformers (tools/oracles/encoders.py).
#include "lathe/generate/sentence_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "lathe/base/mapped_file.h"
#include "lathe/generate/engine.h"
#include "support/files.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string tiny() { return test::source_file("tests/golden/encoders/tiny-bert"); }

nlohmann::json golden_of(const std::string& path) {
  return nlohmann::json::parse(read_text(path).value());
}

std::unique_ptr<Ops> exact_ops(const std::string& device = "cpu") {
  return make_ops({.device = device, .threads = 2, .math = Math::kExact}).value();
}

SentenceEncoder load(const std::string& path, Ops& ops) {
  const auto files = open_encoder(path);
  EXPECT_TRUE(files.ok()) << files.error().message;
  auto encoder = SentenceEncoder::load(files.value(), ops);
  EXPECT_TRUE(encoder.ok()) << encoder.error().message;
  return std::move(encoder).value();
}

// The largest difference from the golden vectors.
double worst_difference(const Tensor& rows, const nlohmann::json& golden, size_t first = 0) {
  double worst = 0;
  for (int64_t r = 0; r < rows.rows(); ++r) {
    const auto want = golden["vectors"][first + static_cast<size_t>(r)].get<std::vector<double>>();
    EXPECT_EQ(rows.cols(), std::ssize(want));
    for (size_t c = 0; c < want.size(); ++c) {
      worst = std::max(worst, std::fabs(rows.row(r)[c] - want[c]));
    }
  }
  return worst;
}

TEST(SentenceEncoder, VectorsEqualTransformers) {
  const auto golden = golden_of(tiny() + "/golden.json");
  const auto texts = golden["texts"].get<std::vector<std::string>>();
  for (const char* device : {"cpu", "check"}) {
    const auto ops = exact_ops(device);
    const SentenceEncoder encoder = load(tiny(), *ops);
    // All in one batch, of unequal lengths; the two long ones are cut.
    const auto all = encoder.encode(texts).value();
    EXPECT_EQ(all.truncated, 2);
    EXPECT_LT(worst_difference(all.rows, golden), 1e-5) << device;
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto alone = encoder.encode({&texts[i], 1}).value();
      EXPECT_LT(worst_difference(alone.rows, golden, i), 1e-5) << device << ": " << texts[i];
    }
  }
}

TEST(SentenceEncoder, TokensEqualTransformers) {
  const auto golden = golden_of(tiny() + "/golden.json");
  const auto files = open_encoder(tiny()).value();
  EXPECT_EQ(files.max_tokens, golden["max_tokens"]);
  for (size_t i = 0; i < golden["texts"].size(); ++i) {
    const auto ids = golden["ids"][i].get<std::vector<TokenId>>();
    if (std::ssize(ids) == files.max_tokens) continue;  // cut
    EXPECT_EQ(files.tokenizer->encode(golden["texts"][i].get<std::string>()), ids);
  }
}

// Of a model that is on this machine: LATHE_ENCODER_GOLDEN is what encoders.py wrote, LATHE_ENCODER
// the model's directory.
TEST(SentenceEncoder, ARealModelEqualsTransformers) {
  const char *path = std::getenv("LATHE_ENCODER"), *vectors = std::getenv("LATHE_ENCODER_GOLDEN");
  if (!path || !vectors) GTEST_SKIP() << "LATHE_ENCODER and LATHE_ENCODER_GOLDEN are not set";
  const auto golden = golden_of(vectors);
  const auto texts = golden["texts"].get<std::vector<std::string>>();
  const auto ops = exact_ops();
  const SentenceEncoder encoder = load(path, *ops);
  const auto found = encoder.encode(texts).value();
  const double worst = worst_difference(found.rows, golden);
  const auto start = std::chrono::steady_clock::now();
  (void)encoder.encode(texts).value();
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  std::printf("%zu texts, largest difference %.2g, %.1f texts/s\n", texts.size(), worst,
              static_cast<double>(texts.size()) / time.count());
  EXPECT_LT(worst, 1e-5);
}

// A copy of the tiny model that a test may damage.
class DamagedEncoder : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::copy(tiny(), folder_.path(),
             fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  }

  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_.file(name)) << text;
  }
  void change_config(const std::string& key, const nlohmann::json& value) {
    auto config = golden_of(folder_.file("config.json"));
    config[key] = value;
    write("config.json", config.dump());
  }
  // Of opening, or of loading the weights.
  std::string error() {
    const auto files = open_encoder(folder_.path());
    if (!files.ok()) return files.error().message + " | " + files.error().hint;
    const auto ops = exact_ops();
    const auto encoder = SentenceEncoder::load(*files, *ops);
    if (!encoder.ok()) return encoder.error().message;
    const std::vector<std::string> texts = {"the cat"};
    const auto vectors = encoder->encode(texts);
    return vectors.ok() ? "" : vectors.error().message;
  }

  test::TemporaryFolder folder_;
};

TEST_F(DamagedEncoder, IsReadWhereItIsNotDamaged) { EXPECT_EQ(error(), ""); }

TEST_F(DamagedEncoder, WithoutModulesIsRefused) {
  fs::remove(folder_.file("modules.json"));
  EXPECT_THAT(error(), HasSubstr("no modules.json"));
}

TEST_F(DamagedEncoder, PoolingIsChecked) {
  write("1_Pooling/config.json", R"({"pooling_mode": "mean"})");
  EXPECT_EQ(error(), "");
  write("1_Pooling/config.json", R"({"pooling_mode_cls_token": true})");
  EXPECT_THAT(error(), HasSubstr("pooling by pooling_mode_cls_token"));
  write("1_Pooling/config.json",
        R"({"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true})");
  EXPECT_THAT(error(), HasSubstr("only the mean"));
  write("1_Pooling/config.json", "{}");
  EXPECT_THAT(error(), HasSubstr("names no pooling mode"));
  write("1_Pooling/config.json", "[1");
  EXPECT_THAT(error(), HasSubstr("not valid JSON"));
  fs::remove(folder_.file("1_Pooling/config.json"));
  EXPECT_THAT(error(), HasSubstr("configuration is missing"));
}

TEST_F(DamagedEncoder, OtherChainsOfModulesAreRefused) {
  const std::string transformer = R"({"type": "a.Transformer", "path": ""})";
  const std::string pooling = R"({"type": "a.Pooling", "path": "1_Pooling"})";
  write("modules.json", "[" + transformer + "," + pooling + "]");
  EXPECT_EQ(error(), "");
  write("modules.json", "[" + transformer + "," + pooling + R"(, {"type": "a.Dense"}])");
  EXPECT_THAT(error(), HasSubstr("the module 'Dense'"));
  for (const std::string& chain :
       {std::string("{}"), "[" + transformer + "]", std::string("[1, 2]"),
        "[" + pooling + "," + transformer + "]"}) {
    write("modules.json", chain);
    EXPECT_THAT(error(), HasSubstr("expected the modules")) << chain;
  }
  write("modules.json", "[" + transformer + R"(, {"type": "a.Pooling", "path": "../1_Pooling"}])");
  EXPECT_THAT(error(), HasSubstr("outside of the model"));
  write("modules.json", R"([{"type": "a.Transformer", "path": "0_T"}, )" + pooling + "]");
  EXPECT_THAT(error(), HasSubstr("lies in '0_T'"));
}

TEST_F(DamagedEncoder, LengthsAreChecked) {
  for (const char* length : {"25", "2", "-1", "\"long\"", "1e9"}) {
    write("sentence_bert_config.json", fmt::format(R"({{"max_seq_length": {}}})", length));
    EXPECT_THAT(error(), HasSubstr("expected 3 to 24")) << length;
  }
  write("sentence_bert_config.json", R"({"max_seq_length": null})");
  EXPECT_EQ(open_encoder(folder_.path()).value().max_tokens, 24);
  write("sentence_bert_config.json", R"({"do_lower_case": true})");
  EXPECT_THAT(error(), HasSubstr("'do_lower_case'"));
}

TEST_F(DamagedEncoder, WeightsMustFitTheConfiguration) {
  change_config("intermediate_size", 32);
  EXPECT_THAT(error(), HasSubstr("has shape [24, 16], the configuration needs [32, 16]"));
  change_config("intermediate_size", 24);
  change_config("num_hidden_layers", 3);
  EXPECT_THAT(error(), HasSubstr("'encoder.layer.2.attention.output.LayerNorm.weight'"));
  change_config("num_hidden_layers", 2);
  change_config("type_vocab_size", 1);
  EXPECT_THAT(error(), HasSubstr("has shape [2, 16]"));
  change_config("type_vocab_size", 2);
  change_config("vocab_size", 61);
  EXPECT_THAT(error(), HasSubstr("the tokenizer has 62 tokens, the model only 61"));
}

TEST_F(DamagedEncoder, OtherKindsOfBertAreRefused) {
  change_config("position_embedding_type", "relative_key");
  EXPECT_THAT(error(), HasSubstr("'position_embedding_type'"));
  change_config("position_embedding_type", "absolute");
  change_config("is_decoder", true);
  EXPECT_THAT(error(), HasSubstr("'is_decoder'"));
  change_config("is_decoder", false);
  change_config("num_attention_heads", 3);
  EXPECT_THAT(error(), HasSubstr("3 heads do not divide"));
}

TEST(SentenceEncoder, AModelThatGeneratesIsRefused) {
  const auto files = open_encoder(test::source_file("models/tiny"));
  ASSERT_FALSE(files.ok());
  EXPECT_THAT(files.error().message, HasSubstr("a model that generates (llama), not an encoder"));
  EXPECT_FALSE(open_encoder("no-such-encoder").ok());
}

TEST(SentenceEncoder, GeneratesNothing) {
  const auto engine = open_engine(tiny(), {.device = "cpu", .threads = 1});
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(engine.error().message, HasSubstr("an encoder (bert)"));
  EXPECT_FALSE(open_checkpoint(tiny()).ok());
  EXPECT_TRUE(open_checkpoint(tiny(), ModelKind::kAny).ok());
}

// Configurations written before there were encoders are still read.
TEST(SentenceEncoder, OlderConfigurationsAreDecoders) {
  nlohmann::json j = to_json(open_checkpoint(test::source_file("models/tiny")).value()->config());
  for (const char* key : {"encoder", "post_norm", "embedding_norm", "token_types"}) j.erase(key);
  const auto config = config_from_json(j);
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_FALSE(config->encoder);
}

}  // namespace
}  // namespace lathe
