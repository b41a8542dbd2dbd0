// Hessians in a file, the compressions that run from them, and what a calibration will take.
#include "lathe/compress/hessians.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>

#include "compress/compress_test_util.h"
#include "lathe/compress/calibration.h"
#include "lathe/compress/cost.h"
#include "lathe/compress/plan.h"
#include "lathe/compress/work_block.h"

namespace lathe {
namespace {

using test::family;
using test::recipe_of;
using ::testing::HasSubstr;

class HessianFile : public ::testing::Test {
 protected:
  void SetUp() override {
    source_ = test::open(family("llama"));
    collect();
  }
  void collect() {
    CalibrationData data;
    for (int32_t s = 0; s < 3; ++s) {
      data.samples.emplace_back();
      for (int32_t i = 0; i < 24; ++i) {
        data.samples.back().push_back((7 * s + 5 * i + i * i) %
                                      static_cast<int32_t>(source_->config().vocab));
      }
    }
    data.sha256 = "of these";
    samples_ = data.samples;
    path_ = folder_.file("hessians.safetensors");
    ThreadPool pool(2);
    const Status written = write_hessians(path_, *source_, std::move(data), "made up", pool);
    ASSERT_TRUE(written.ok()) << written.error().message;
  }

  // The file with one thing changed.
  using Change = std::function<void(std::vector<SafetensorsWriter::Declared>&,
                                    std::map<std::string, std::string>&,
                                    std::map<std::string, std::vector<float>>&)>;
  std::string changed(const Change& change) const {
    const SafetensorsFile file = SafetensorsFile::open(path_).value();
    std::vector<SafetensorsWriter::Declared> declared;
    std::map<std::string, std::string> metadata = file.metadata();
    std::map<std::string, std::vector<float>> values;
    for (const auto& [name, tensor] : file.tensors()) {
      declared.push_back({name, tensor.dtype, tensor.shape});
      const float* begin = tensor.bytes.as<float>();
      values[name].assign(begin, begin + tensor.bytes.size() / 4);
    }
    change(declared, metadata, values);
    const std::string path = folder_.file("changed.safetensors");
    SafetensorsWriter writer = SafetensorsWriter::create(path, declared, metadata).value();
    for (const auto& tensor : declared) {
      const std::vector<float>& all = values.at(tensor.name);
      EXPECT_TRUE(
          writer.append({reinterpret_cast<const uint8_t*>(all.data()), all.size() * 4}).ok());
    }
    EXPECT_TRUE(writer.finish().ok());
    return path;
  }
  std::string refusal(const std::string& path) const {
    ThreadPool pool(1);
    auto opened = Hessians::open(path, source_->config(), pool);
    if (!opened.ok()) return opened.error().message + " | " + opened.error().hint;
    for (const MatrixInfo& info : matrices_of(source_->config())) {
      if (info.layer < 0) continue;
      if (!(*opened)->has(info.name)) return "missing " + info.name;
      const auto stats = (*opened)->of(info.name);
      if (!stats.ok()) return stats.error().message + " | " + stats.error().hint;
    }
    ADD_FAILURE() << path << " was taken";
    return "";
  }
  Recipe recipe(const std::string& method, const std::string& format,
                const std::string& path) const {
    return recipe_of(test::with_fitting(
        {{"format", format}, {"method", method}, {"calibration", {{"hessians", path}}}}, *source_,
        format));
  }

  test::TemporaryFolder folder_;
  std::unique_ptr<const Checkpoint> source_;
  Samples samples_;
  std::string path_;
};

TEST_F(HessianFile, HoldsWhatCalibrationCollects) {
  ThreadPool pool(3);
  const auto hessians = Hessians::open(path_, source_->config(), pool).value();
  const auto stream = CalibrationStream::create(*source_, samples_, pool).value();
  for (int64_t layer = 0; layer < source_->config().layers; ++layer) {
    for (const MatrixInfo& info : matrices_of(source_->config())) {
      if (info.layer != layer) continue;
      std::vector<std::string> sharing;
      const auto expected = stream->collect(*source_, layer, info.name, sharing).value();
      auto stored_sharing = hessians->sharing(info.name);
      std::sort(sharing.begin(), sharing.end());
      std::sort(stored_sharing.begin(), stored_sharing.end());
      EXPECT_EQ(stored_sharing, sharing) << info.name;
      const LinearStats stats = hessians->of(info.name).value();
      ASSERT_EQ(stats.size, info.cols);
      EXPECT_EQ(stats.tokens, 72);
      EXPECT_EQ(stats.largest, expected->largest);
      for (size_t i = 0; i < stats.gram.size(); ++i) {
        ASSERT_EQ(stats.gram[i], static_cast<double>(static_cast<float>(expected->gram[i])))
            << info.name << " " << i;
      }
      for (size_t k = 0; k < stats.absolute.size(); ++k) {
        ASSERT_EQ(stats.absolute[k],
                  static_cast<double>(static_cast<float>(expected->absolute[k])));
      }
    }
    ASSERT_TRUE(stream->advance(*source_, layer).ok());
  }
  std::ifstream file(path_, std::ios::binary | std::ios::ate);
  EXPECT_LT(hessians_bytes(source_->config()), file.tellg());
  EXPECT_GT(hessians_bytes(source_->config()) + 20000, file.tellg());
}

// The middle of a block is where the whole block passes through.
TEST_F(HessianFile, AttentionFirstIsTheSamePass) {
  ThreadPool pool(2);
  const auto whole = CalibrationStream::create(*source_, samples_, pool).value();
  const auto halves = CalibrationStream::create(*source_, samples_, pool).value();
  for (int64_t layer = 0; layer < 2; ++layer) {
    std::vector<std::string> sharing;
    const std::string down = fmt::format("model.layers.{}.mlp.down_proj", layer);
    const auto expected = whole->collect(*source_, layer, down, sharing).value();
    ASSERT_TRUE(halves->advance_attention(*source_, layer).ok());
    ASSERT_TRUE(halves->advance_attention(*source_, layer).ok());  // does nothing
    EXPECT_EQ(halves->collect(*source_, layer, down, sharing).value()->gram, expected->gram);
    ASSERT_TRUE(whole->advance(*source_, layer).ok());
    ASSERT_TRUE(halves->advance(*source_, layer).ok());
    for (size_t s = 0; s < samples_.size(); ++s) {
      const Tensor &a = whole->states()[s], &b = halves->states()[s];
      ASSERT_EQ(std::memcmp(a.data(), b.data(), static_cast<size_t>(a.size()) * 4), 0);
    }
  }
}

TEST_F(HessianFile, TheSameBytesOnAnyNumberOfThreads) {
  const std::string again = folder_.file("again.safetensors");
  ThreadPool one(1);
  ASSERT_TRUE(write_hessians(again, *source_, {samples_, "of these"}, "made up", one).ok());
  EXPECT_EQ(read_text(again).value(), read_text(path_).value());
  for (const std::string method : {"gptq", "awq+clip", "smoothquant+gptq"}) {
    std::map<std::string, std::string> first;
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      const std::string out = folder_.file(method + std::to_string(threads));
      const auto report = compress(*source_, recipe(method, "int4:g32", path_), out, pool);
      ASSERT_TRUE(report.ok()) << method << ": " << report.error().message;
      if (threads == 1) first = test::contents(out);
      EXPECT_EQ(test::contents(out), first) << method;
      EXPECT_EQ(nlohmann::json::parse(first["lathe.json"])["calibration"]["hessians_sha256"]
                    .get<std::string>()
                    .size(),
                64u);
    }
  }
}

// Products in f32 while it lives: BF16 would round what has been moved in other places.
struct ExactMath {
  ExactMath() {
    if (const char* value = std::getenv("LATHE_MATH")) before = value;
    ::setenv("LATHE_MATH", "exact", 1);
  }
  ~ExactMath() { before ? ::setenv("LATHE_MATH", before->c_str(), 1) : ::unsetenv("LATHE_MATH"); }
  std::optional<std::string> before;
};

// Nothing before the first matrices has been compressed, so that their statistics are those of a
// text, up to the f32 of the file; what AWQ moves is taken into account.
TEST_F(HessianFile, TheFirstMatricesComeOutAsFromSamples) {
  const ExactMath exact;
  collect();
  ThreadPool pool(2);
  const auto stream = CalibrationStream::create(*source_, samples_, pool).value();
  const std::string q = "model.layers.0.self_attn.q_proj";
  CurrentModel current(*source_);
  const std::vector<ScaleFold> folds = scale_folds(source_->config(), 0);
  WorkBlock block(current, 0, nullptr, nullptr);
  std::vector<float> factors;
  for (int64_t k = 0; k < folds[0].channels; ++k) factors.push_back(0.5f + 0.125f * float(k % 9));
  ASSERT_TRUE(block.apply(folds[0], factors, pool).ok());
  ASSERT_TRUE(block.apply(folds[0], factors, pool).ok());  // twice: factors multiply
  std::vector<std::string> sharing;
  const auto expected = stream->collect(current, 0, q, sharing).value();
  LinearStats stats = Hessians::open(path_, source_->config(), pool).value()->of(q).value();
  stats.divide(current.column_factors.at(q));
  for (int64_t i = 0; i < stats.size; ++i) {
    for (int64_t j = 0; j < stats.size; ++j) {
      const double scale = std::sqrt(expected->gram[size_t(i * stats.size + i)] *
                                     expected->gram[size_t(j * stats.size + j)]);
      ASSERT_NEAR(stats.gram[size_t(i * stats.size + j)],
                  expected->gram[size_t(i * stats.size + j)], 1e-5 * scale);
    }
    ASSERT_NEAR(stats.absolute[size_t(i)], expected->absolute[size_t(i)],
                1e-5 * expected->absolute[size_t(i)]);
    ASSERT_NEAR(stats.largest[size_t(i)], expected->largest[size_t(i)],
                1e-5f * expected->largest[size_t(i)]);
  }
}

TEST_F(HessianFile, EveryCalibratedMethodRunsFromIt) {
  ThreadPool pool(2);
  const std::pair<const char*, const char*> methods[] = {{"gptq", "int4:g32"},
                                                         {"clip", "int4:g32"},
                                                         {"awq+gptq", "int3:g32"},
                                                         {"imatrix", "q4_0"},
                                                         {"llm_int8", "int8:row,outliers"}};
  for (const auto& [method, format] : methods) {
    const auto report =
        compress(*source_, recipe(method, format, path_), folder_.file(method), pool);
    EXPECT_TRUE(report.ok()) << method << ": " << report.error().message;
  }
  for (const char* method : {"wanda", "sparsegpt"}) {
    const auto report = compress(*source_,
                                 recipe_of({{"prune", {{"method", method}, {"sparsity", 0.5}}},
                                            {"calibration", {{"hessians", path_}}}}),
                                 folder_.file(method), pool);
    EXPECT_TRUE(report.ok()) << method << ": " << report.error().message;
  }
}

TEST_F(HessianFile, PassesThatChangeTheModelAreRefused) {
  ThreadPool pool(1);
  for (const char* method : {"rotate+gptq"}) {
    const auto report =
        compress(*source_, recipe(method, "int4:g32", path_), folder_.file("out"), pool);
    ASSERT_FALSE(report.ok());
    EXPECT_THAT(report.error().message, HasSubstr("changes the model that the stored statistics"));
  }
  const auto report = compress(*source_,
                               recipe_of({{"prune", {{"method", "layers"}, {"sparsity", 0.5}}},
                                          {"calibration", {{"hessians", path_}}}}),
                               folder_.file("out"), pool);
  ASSERT_FALSE(report.ok());
  EXPECT_THAT(report.error().message, HasSubstr("changes the model that the stored statistics"));
}

TEST_F(HessianFile, BadFilesAreRefused) {
  const std::string q = "model.layers.1.self_attn.q_proj";
  const auto value = [&](const std::string& tensor, size_t at, float x) {
    return refusal(changed([&](auto&, auto&, auto& values) { values.at(tensor).at(at) = x; }));
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinite = std::numeric_limits<float>::infinity();
  const std::string sums = "holds what no sums of inputs are";
  EXPECT_THAT(value(q + ".gram", 1, nan), HasSubstr("column 0 of '" + q + "' " + sums));
  EXPECT_THAT(value(q + ".gram", 5, infinite), HasSubstr(sums));
  EXPECT_THAT(value(q + ".gram", 0, -1), HasSubstr(sums));
  EXPECT_THAT(value(q + ".absolute", 3, -1), HasSubstr("column 3 of '" + q + "' " + sums));
  EXPECT_THAT(value(q + ".largest", 2, nan), HasSubstr("column 2 of '" + q + "' " + sums));
  EXPECT_THAT(refusal(changed([&](auto&, auto&, auto& values) {
                auto& gram = values.at(q + ".gram");
                std::fill(gram.begin(), gram.end(), 0.0f);
              })),
              HasSubstr("'" + q + "' is all zero"));
  const auto without = [&](const std::string& name) {
    return refusal(changed([&](auto& declared, auto&, auto&) {
      std::erase_if(declared, [&](const auto& tensor) { return tensor.name.starts_with(name); });
    }));
  };
  EXPECT_THAT(without(q + ".absolute"), HasSubstr("'" + q + "' is not whole"));
  EXPECT_EQ(without(q), "missing " + q);
  EXPECT_THAT(refusal(changed([&](auto& declared, auto&, auto& values) {
                declared.push_back({"model.layers.99.self_attn.q_proj.gram", DType::kF32, {1}});
                values["model.layers.99.self_attn.q_proj.gram"] = {1};
              })),
              HasSubstr("tensors are none of this model"));
  EXPECT_THAT(refusal(changed([&](auto& declared, auto&, auto& values) {
                for (auto& tensor : declared) {
                  if (tensor.name != q + ".gram") continue;
                  --tensor.shape[0];
                  values.at(tensor.name).pop_back();
                }
              })),
              HasSubstr("is not F32 of"));
  const auto metadata = [&](const std::string& key, const std::string& text) {
    return refusal(changed([&](auto&, auto& all, auto&) { all[key] = text; }));
  };
  EXPECT_THAT(metadata("format", "lathe"), HasSubstr("holds no Hessians"));
  for (const char* tokens : {"", "0", "-3", "many", "99999999999999999999"}) {
    EXPECT_THAT(metadata("tokens", tokens), HasSubstr("a number of tokens of"));
  }
  // Cut, and of other kinds.
  const std::string whole = read_text(path_).value();
  for (const size_t length : {size_t{0}, size_t{7}, size_t{100}, whole.size() - 1}) {
    std::ofstream(folder_.file("cut"), std::ios::binary | std::ios::trunc)
        << whole.substr(0, length);
    EXPECT_NE(refusal(folder_.file("cut")), "") << length;
  }
  EXPECT_THAT(refusal(family("llama") + "/model.safetensors"), HasSubstr("holds no Hessians"));
  EXPECT_NE(refusal(test::source_file("tests/golden/compress/imatrix.gguf")), "");
  EXPECT_NE(refusal(folder_.file("not there")), "");
  // Of another model.
  ThreadPool pool(1);
  const auto other = test::open(test::source_file("models/tiny"));
  const auto opened = Hessians::open(path_, other->config(), pool);
  ASSERT_FALSE(opened.ok());
  EXPECT_THAT(opened.error().hint, HasSubstr("belongs to another model"));
}

TEST_F(HessianFile, ACompressionSaysWhatIsMissing) {
  const std::string path = changed([](auto& declared, auto&, auto&) {
    std::erase_if(declared, [](const auto& tensor) {
      return tensor.name.starts_with("model.layers.1.mlp.down_proj");
    });
  });
  ThreadPool pool(1);
  const auto report =
      compress(*source_, recipe("gptq", "int4:g32", path), folder_.file("out"), pool);
  ASSERT_FALSE(report.ok());
  EXPECT_THAT(report.error().message,
              HasSubstr("nothing of the input of 'model.layers.1.mlp.down_proj'"));
  EXPECT_FALSE(std::filesystem::exists(folder_.file("out")));
}

TEST_F(HessianFile, ASampleThatIsNotFiniteIsNotStored) {
  test::Replaced broken(*source_);
  const MatrixInfo info = matrices_of(source_->config())[1];
  std::vector<float> weights(static_cast<size_t>(info.rows * info.cols), 3e38f);
  broken.matrices[info.name] = WeightMatrix::of_floats(weights.data(), info.rows, info.cols);
  ThreadPool pool(1);
  const Status written =
      write_hessians(folder_.file("bad"), broken, {samples_, ""}, "made up", pool);
  ASSERT_FALSE(written.ok());
  EXPECT_THAT(written.error().message, HasSubstr("the inputs are not finite"));
  EXPECT_FALSE(std::filesystem::exists(folder_.file("bad")));
}

// --- what it will take ---

Cost cost(const Checkpoint& source, const nlohmann::json& calibration,
          const char* method = "gptq") {
  const Recipe recipe =
      recipe_of({{"format", "int4:g32"}, {"method", method}, {"calibration", calibration}});
  const std::vector<MatrixPlan> plans = make_plan(source, recipe).value();
  return cost_of(source.config(), plans, recipe, {1e9, 1e9, 1e9});
}

TEST(Cost, GrowsWithWhatIsAskedFor) {
  const auto tiny = test::open(test::source_file("models/tiny"));
  const Cost once = cost(*tiny, {{"data", "x"}, {"samples", 32}, {"length", 128}});
  const Cost twice = cost(*tiny, {{"data", "x"}, {"samples", 64}, {"length", 128}});
  EXPECT_GT(once.seconds, 0);
  EXPECT_GT(twice.seconds, 1.2 * once.seconds);
  EXPECT_LT(twice.seconds, 2.0 * once.seconds);  // factors stay the same
  const int64_t states = 32 * 128 * tiny->config().hidden * 4;
  EXPECT_GE(twice.memory_bytes, once.memory_bytes + states);
  const Cost stored = cost(*tiny, {{"hessians", "x"}});
  EXPECT_GT(stored.seconds, 0);
  EXPECT_LT(stored.seconds, once.seconds);
  const Cost transformed =
      cost(*tiny, {{"data", "x"}, {"samples", 32}, {"length", 128}}, "awq+gptq");
  EXPECT_GT(transformed.seconds, once.seconds);
}

TEST(Cost, SpeedsAreMeasured) {
  ThreadPool pool(2);
  const auto speeds = measure_products(pool);
  ASSERT_TRUE(speeds.ok());
  for (const double speed : {speeds->forward, speeds->gram, speeds->factor}) {
    EXPECT_GT(speed, 1e7);
    EXPECT_LT(speed, 1e14);
  }
}

TEST(Cost, DurationsInWords) {
  EXPECT_EQ(duration_text(0.1), "1 s");
  EXPECT_EQ(duration_text(42.4), "42 s");
  EXPECT_EQ(duration_text(700), "12 min");
  EXPECT_EQ(duration_text(2.5 * 3600), "2.5 h");
}

}  // namespace
}  // namespace lathe
