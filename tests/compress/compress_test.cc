// Whole models: what is written reads back as what was meant.
#include "compress/compress_test_util.h"
#include "lathe/compress/predict.h"

namespace lathe {
namespace {

using test::contents;
using test::family;
using test::logits_of;
using test::matrix_of;
using test::open;
using test::recipe_of;

class Compress : public ::testing::Test {
 protected:
  // Compresses into out/ and opens that.
  std::unique_ptr<const Checkpoint> run(const Checkpoint& source, const nlohmann::json& recipe,
                                        const std::string& out = "out") {
    const auto report = compress(source, recipe_of(recipe), folder_.file(out), pool_);
    EXPECT_TRUE(report.ok()) << recipe << ": " << report.error().message;
    if (!report.ok()) return nullptr;
    report_ = *report;
    return open(folder_.file(out));
  }

  // Equal to the source with its matrices encoded in memory, bit by bit, and so are the logits.
  void expect_rounded(const std::string& model, const std::string& format) {
    SCOPED_TRACE(model + " " + format);
    const auto source = open(family(model));
    const nlohmann::json recipe = {{"format", format}, {"embeddings", "keep"}};
    const auto stored = run(*source, test::with_fitting(recipe, *source, format), model + format);
    ASSERT_TRUE(stored);
    test::Replaced expected(*source);
    for (const MatrixInfo& info : matrices_of(source->config())) {
      if (info.layer < 0) continue;
      const auto weights = matrix_of(*source, info).decode();
      FormatPtr target = parse_format(format).value();
      if (!target->supports(info.rows, info.cols).ok()) target = parse_format("f16").value();
      const auto encoded =
          WeightMatrix::encode(target, weights.data(), info.rows, info.cols, info.name);
      ASSERT_TRUE(encoded.ok()) << encoded.error().message;
      expected.matrices[info.name] = *encoded;
      const WeightMatrix found = matrix_of(*stored, info);
      ASSERT_EQ(found.format().spec(), target->spec());
      ASSERT_EQ(found.decode(), expected.matrices[info.name].decode()) << info.name;
    }
    const MatrixInfo head{"lm_head", source->config().vocab, source->config().hidden, -1, true};
    if (!source->config().tied) expected.matrices["lm_head"] = matrix_of(*stored, head);
    EXPECT_EQ(logits_of(*stored), logits_of(expected));
  }

  ThreadPool pool_{2};
  test::TemporaryFolder folder_;
  CompressionReport report_;
};

TEST_F(Compress, EveryFormatReadsBackAsEncoded) {
  int count = 0;
  for (const std::string& spec : example_formats()) {
    const FormatPtr format = parse_format(spec).value();
    if (!format->can_encode() || !format->supports(64, 64).ok()) continue;
    expect_rounded("llama", spec);
    ++count;
  }
  EXPECT_GE(count, 15);
}

TEST_F(Compress, EveryFamilyReadsBackAsEncoded) {
  for (const char* model :
       {"gpt2", "opt", "phi2", "phi3", "gemma2", "gemma3", "qwen2-tied", "qwen3", "llama-bf16",
        "llama-sharded", "llama-gguf", "phi3-gguf", "gemma3-gguf"}) {
    expect_rounded(model, "int8:row");
    expect_rounded(model, "int4:g32");
  }
}

TEST_F(Compress, WithoutPassesTheModelStaysAsItIs) {
  for (const char* model : {"llama", "gpt2", "llama-f16", "llama-gguf", "phi3-longrope"}) {
    const auto source = open(family(model));
    const auto stored = run(*source, nlohmann::json::object(), model);
    ASSERT_TRUE(stored);
    for (const MatrixInfo& info : matrices_of(source->config())) {
      EXPECT_EQ(matrix_of(*stored, info).format().spec(), matrix_of(*source, info).format().spec());
    }
    EXPECT_EQ(logits_of(*stored), logits_of(*source)) << model;
    for (const MatrixReport& report : report_.matrices) EXPECT_EQ(report.mse, 0) << report.name;
  }
}

// A compressed model is a source like any other.
TEST_F(Compress, TwiceIsTheSameAsKeeping) {
  const auto source = open(family("llama"));
  const auto once = run(*source, {{"format", "nf4:b64,dq"}}, "once");
  const auto twice = run(*once, {{"format", "nf4:b64,dq"}}, "twice");
  ASSERT_TRUE(twice);
  EXPECT_EQ(contents(folder_.file("once"))["model.safetensors"],
            contents(folder_.file("twice"))["model.safetensors"]);
}

TEST_F(Compress, SameBytesWhateverTheThreads) {
  const auto source = open(family("llama-bf16"));
  const nlohmann::json json = {
      {"format", "int4:g32"},
      {"prune", {{"method", "magnitude"}, {"sparsity", 0.4}, {"scope", "global"}}}};
  ThreadPool one(1), three(3);
  ASSERT_TRUE(compress(*source, recipe_of(json), folder_.file("a"), one).ok());
  ASSERT_TRUE(compress(*source, recipe_of(json), folder_.file("b"), three).ok());
  EXPECT_EQ(contents(folder_.file("a")), contents(folder_.file("b")));
}

TEST_F(Compress, TablesAndHeadAreStoredAsAsked) {
  struct Case {
    const char* model;
    nlohmann::json recipe;
    const char* embeddings;
    const char* head;
  };
  const std::vector<Case> cases = {
      {"llama", {{"format", "int4:g32"}}, "f16", "f16"},
      {"llama-bf16", {{"format", "int4:g32"}}, "bf16", "bf16"},
      {"llama", {{"format", "f32"}}, "f32", "f32"},
      {"llama", {{"format", "bf16"}}, "bf16", "bf16"},
      {"llama", {{"format", "int8"}, {"embeddings", "int8"}, {"head", "keep"}}, "int8:row", "f32"},
      {"llama",
       {{"format", "int8"}, {"overrides", {{{"match", "lm_*"}, {"format", "nf4"}}}}},
       "f16",
       "nf4:b64"},
  };
  int number = 0;
  for (const Case& c : cases) {
    const auto source = open(family(c.model));
    ASSERT_FALSE(source->config().tied);
    const auto stored = run(*source, c.recipe, std::to_string(number++));
    ASSERT_TRUE(stored);
    for (const MatrixInfo& info : matrices_of(source->config())) {
      if (info.layer >= 0) continue;
      EXPECT_EQ(matrix_of(*stored, info).format().spec(),
                info.name == "lm_head" ? c.head : c.embeddings)
          << c.recipe;
    }
  }
}

TEST_F(Compress, OverridesWinInOrder) {
  const auto source = open(family("llama"));
  const auto stored = run(*source, {{"format", "int4:g32"},
                                    {"overrides",
                                     {{{"match", "*.down_proj"}, {"format", "int8:row"}},
                                      {{"match", "model.layers.0.*"}, {"format", "keep"}}}}});
  ASSERT_TRUE(stored);
  for (const MatrixInfo& info : matrices_of(source->config())) {
    if (info.layer < 0) continue;
    const char* expected = info.layer == 0                    ? "f32"
                           : info.name.ends_with("down_proj") ? "int8:row"
                                                              : "int4:g32";
    EXPECT_EQ(matrix_of(*stored, info).format().spec(), expected) << info.name;
  }
}

// A format of its own for every matrix, tables included: what is read back gives the logits of the
// matrices rounded one by one, bit for bit.
TEST_F(Compress, MixedFormatsReadBackAsTheyWere) {
  const std::vector<std::string> specs = {"int8:row", "nf4:b64", "bf16",       "int4:g32",
                                          "q8_0",     "f16",     "nf4:b64,dq", "int4:g32,asym"};
  for (const char* name : {"llama", "gpt2", "gemma2"}) {
    const auto source = open(family(name));
    nlohmann::json recipe = {{"passes", {{{"rtn", {{"format", "keep"}}}}}}};
    test::Replaced expected(*source);
    size_t next = 0;
    for (const MatrixInfo& info : matrices_of(source->config())) {
      FormatPtr format = parse_format(specs[next++ % specs.size()]).value();
      if (!format->supports(info.rows, info.cols).ok()) format = parse_format("int8:row").value();
      recipe["overrides"].push_back({{"match", info.name}, {"format", format->spec()}});
      const std::vector<float> weights = matrix_of(*source, info).decode();
      expected.matrices[info.name] =
          WeightMatrix::encode(format, weights.data(), info.rows, info.cols, info.name).value();
    }
    const auto stored = run(*source, recipe, name);
    ASSERT_TRUE(stored);
    for (const MatrixInfo& info : matrices_of(source->config())) {
      EXPECT_EQ(matrix_of(*stored, info).format().spec(),
                expected.matrices[info.name].format().spec());
    }
    EXPECT_EQ(test::logits_of(*stored), test::logits_of(expected)) << name;
  }
}

TEST_F(Compress, ReportSaysWhatWasStoredAndLost) {
  const auto source = open(family("llama"));
  const auto stored = run(*source, {{"format", "int4:g32"}});
  ASSERT_TRUE(stored);
  int64_t bytes = 0;
  for (const MatrixReport& report : report_.matrices) {
    const MatrixInfo info{report.name, report.rows, report.cols, -1, true};
    const auto before = matrix_of(*source, info).decode(),
               after = matrix_of(*stored, info).decode();
    double error = 0, power = 0;
    for (size_t i = 0; i < before.size(); ++i) {
      error += std::pow(static_cast<double>(after[i]) - before[i], 2);
      power += std::pow(static_cast<double>(before[i]), 2);
    }
    EXPECT_NEAR(report.mse, error / static_cast<double>(before.size()), 1e-9 * report.mse);
    EXPECT_NEAR(report.relative_error, std::sqrt(error / power), 1e-9);
    EXPECT_EQ(report.bytes, matrix_of(*stored, info).bytes());
    EXPECT_DOUBLE_EQ(report.sparsity, static_cast<double>(test::zeros_in(after)) /
                                          static_cast<double>(after.size()));
    bytes += report.bytes;
  }
  int64_t vectors = 0;
  for (const VectorInfo& info : vectors_of(source->config())) vectors += 4 * info.size;
  EXPECT_EQ(report_.stored_bytes, bytes + vectors);
  EXPECT_NEAR(report_.block_bits_per_weight, 4.5, 0.1);
  EXPECT_GT(report_.peak_rss_bytes, 1 << 20);
  const auto json = nlohmann::json::parse(contents(folder_.file("out"))["lathe.json"]);
  EXPECT_EQ(json["layers"].size(), report_.matrices.size());
  EXPECT_EQ(json["recipe_hash"], recipe_of({{"format", "int4:g32"}}).hash());
  EXPECT_EQ(json["source"]["name"], "llama");
}

TEST_F(Compress, SizeIsKnownBefore) {
  int number = 0;
  for (const nlohmann::json& json : std::vector<nlohmann::json>{
           nlohmann::json::object(),
           {{"format", "nf4:b64,dq"}},
           {{"format", "int4:g32"}, {"embeddings", "int8"}, {"prune", "magnitude:0.3"}}}) {
    for (const char* model : {"llama-bf16", "gpt2", "qwen2-tied"}) {
      const auto source = open(family(model));
      ASSERT_TRUE(run(*source, json, std::to_string(number++)));
      const auto predicted = predicted_bytes(*source, recipe_of(json));
      ASSERT_TRUE(predicted.ok()) << predicted.error().message;
      EXPECT_EQ(*predicted, report_.stored_bytes) << model << " " << json;
    }
  }
}

// One scale per row is what makes naive 4 bits collapse where rows have outliers.
TEST_F(Compress, NaiveFourBitsAreFarWorseThanGroups) {
  const auto source = open(test::source_file("models/tiny"));
  ASSERT_TRUE(run(*source, {{"format", "int4:row"}}, "row"));
  const CompressionReport naive = report_;
  ASSERT_TRUE(run(*source, {{"format", "int4:g32"}}, "g32"));
  double row = 0, grouped = 0;
  for (size_t i = 0; i < naive.matrices.size(); ++i) {
    if (naive.matrices[i].format != "int4:row") continue;
    row += naive.matrices[i].mse;
    grouped += report_.matrices[i].mse;
  }
  EXPECT_GT(row, 2 * grouped);
}

TEST_F(Compress, TokenizerComesAlong) {
  const auto source = open(test::source_file("models/tiny"));
  ASSERT_TRUE(run(*source, {{"format", "int8"}}));
  const auto before = contents(test::source_file("models/tiny")),
             after = contents(folder_.file("out"));
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                           "config.json", "generation_config.json"}) {
    EXPECT_EQ(after.at(name), before.at(name)) << name;
  }
  EXPECT_EQ(after.size(), 7u);  // with lathe.json and model.safetensors
}

TEST_F(Compress, TokenizerOfGgufComesAlong) {
  LATHE_NEEDS_SHARED(shared);
  const auto source = open(shared + "/data/models/stories260K/stories260K.gguf");
  const auto stored = run(*source, {{"format", "int4:g32"}});
  ASSERT_TRUE(stored);
  const auto before = tokenizer_of(*source), after = tokenizer_of(*stored);
  ASSERT_TRUE(before.ok() && after.ok());
  const std::string text = "Once upon a time, there was a little girl named Lily.";
  EXPECT_EQ((*after)->encode(text), (*before)->encode(text));
}

}  // namespace
}  // namespace lathe
