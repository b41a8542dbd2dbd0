// Importances: llama.cpp's files read and written, and what compressions make of them.
#include "lathe/compress/importances.h"

#include <cmath>
#include <cstring>
#include <fstream>

#include "compress/compress_test_util.h"
#include "lathe/formats/gguf_types.h"
#include "lathe/io/gguf_writer.h"

namespace lathe {
namespace {

using test::family;
using test::recipe_of;
using ::testing::HasSubstr;

std::string golden(const std::string& name) {
  return test::source_file("tests/golden/compress/" + name);
}

class ImportanceFile : public ::testing::Test {
 protected:
  void SetUp() override {
    source_ = test::open(family("llama"));
    expected_ = nlohmann::json::parse(read_text(golden("imatrix.json")).value());
    const GgufFile file = GgufFile::open(golden("imatrix.gguf")).value();
    for (const GgufTensor& tensor : file.tensors()) {
      std::vector<float> values(tensor.bytes.size() / sizeof(float));
      std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
      tensors_[tensor.name] = values;
    }
  }

  // The golden file's tensors as they are by now.
  std::string write(const char* type = "imatrix") const {
    GgufMetadata metadata;
    metadata.set("general.type", type);
    std::vector<GgufWriter::Declared> declared;
    for (const auto& [name, values] : tensors_) {
      declared.push_back({name, 0, {static_cast<int64_t>(values.size())}});
    }
    const std::string path = folder_.file("changed.gguf");
    GgufWriter writer = GgufWriter::create(path, metadata, declared).value();
    for (const auto& [name, values] : tensors_) {
      EXPECT_TRUE(
          writer.append({reinterpret_cast<const uint8_t*>(values.data()), values.size() * 4}).ok());
    }
    EXPECT_TRUE(writer.finish().ok());
    return path;
  }
  std::string refusal(const std::string& path) const {
    const auto read = read_importances(path, source_->config());
    EXPECT_FALSE(read.ok());
    return read.ok() ? "" : read.error().message + " | " + read.error().hint;
  }
  std::vector<std::vector<int32_t>> samples() const {
    return {expected_["ids"].get<std::vector<int32_t>>()};
  }
  nlohmann::json recipe(const std::string& path) const {
    return test::with_fitting(
        {{"format", "q4_0"}, {"method", "imatrix"}, {"calibration", {{"importances", path}}}},
        *source_, "q4_0");
  }

  test::TemporaryFolder folder_;
  std::unique_ptr<const Checkpoint> source_;
  nlohmann::json expected_;
  std::map<std::string, std::vector<float>> tensors_;
};

TEST_F(ImportanceFile, BothFormatsAreReadAsTheyAre) {
  const auto tokens = static_cast<int64_t>(expected_["ids"].size());
  for (const char* name : {"imatrix.gguf", "imatrix.dat"}) {
    const auto read = read_importances(golden(name), source_->config());
    ASSERT_TRUE(read.ok()) << read.error().message;
    ASSERT_EQ(read->size(), expected_["sums"].size());
    for (const auto& [matrix, stats] : *read) {
      const auto sums = expected_["sums"][matrix].get<std::vector<double>>();
      ASSERT_EQ(stats.size, static_cast<int64_t>(sums.size()));
      EXPECT_EQ(stats.tokens, std::string_view(name).ends_with("gguf") ? tokens : 3);
      const std::vector<float> mean = stats.mean_square();
      for (size_t i = 0; i < sums.size(); ++i) {
        const double exact = sums[i] / static_cast<double>(tokens);
        EXPECT_NEAR(mean[i], exact, 3e-7 * exact) << name << " " << matrix << " " << i;
      }
    }
  }
}

TEST_F(ImportanceFile, CollectedSumsAreTorchs) {
  std::map<std::string, std::vector<double>> first;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    const auto collected = collect_importances(*source_, samples(), pool);
    ASSERT_TRUE(collected.ok()) << collected.error().message;
    ASSERT_EQ(collected->size(), expected_["sums"].size());
    for (const auto& [matrix, stats] : *collected) {
      const auto sums = expected_["sums"][matrix].get<std::vector<double>>();
      const double largest = *std::max_element(sums.begin(), sums.end());
      for (size_t i = 0; i < sums.size(); ++i) {
        EXPECT_NEAR(stats.square[i], sums[i], 1e-5 * largest) << matrix << " " << i;
      }
      if (threads == 1) first[matrix] = stats.square;
      EXPECT_EQ(stats.square, first[matrix]) << matrix;
    }
  }
}

TEST_F(ImportanceFile, AWrittenFileIsReadAgain) {
  ThreadPool pool(2);
  const Importances collected = collect_importances(*source_, samples(), pool).value();
  const std::string path = folder_.file("own.gguf");
  const auto length = static_cast<int64_t>(samples()[0].size());
  ASSERT_TRUE(write_importances(path, collected, "made-up.txt", length).ok());
  const Importances again = read_importances(path, source_->config()).value();
  ASSERT_EQ(again.size(), collected.size());
  for (const auto& [matrix, stats] : collected) {
    EXPECT_EQ(again.at(matrix).tokens, stats.tokens);
    for (size_t i = 0; i < stats.square.size(); ++i) {
      EXPECT_EQ(again.at(matrix).square[i], static_cast<float>(stats.square[i]));
    }
  }
  // Metadata, names and shapes are those of the golden file; q, k and v have a joint entry besides.
  const GgufFile file = GgufFile::open(path).value();
  const GgufFile peer = GgufFile::open(golden("imatrix.gguf")).value();
  for (const auto& [key, value] : peer.metadata()) {
    const Bytes own = file.raw(key), others = peer.raw(key);
    EXPECT_EQ(std::string(own.data(), own.data() + own.size()),
              std::string(others.data(), others.data() + others.size()))
        << key;
  }
  EXPECT_EQ(file.metadata().size(), peer.metadata().size());
  EXPECT_EQ(file.tensors().size(), peer.tensors().size() + 4);
  for (const GgufTensor& tensor : peer.tensors()) {
    ASSERT_TRUE(file.find(tensor.name)) << tensor.name;
    EXPECT_EQ(file.find(tensor.name)->shape, tensor.shape) << tensor.name;
  }
  EXPECT_TRUE(file.find("blk.1.attn_qkv.weight.in_sum2"));
}

TEST_F(ImportanceFile, OneTensorMayHoldThree) {
  for (const char* part : {".in_sum2", ".counts"}) {
    tensors_[std::string("blk.0.attn_qkv.weight") + part] =
        tensors_[std::string("blk.0.attn_q.weight") + part];
    for (const char* own : {"attn_q", "attn_k", "attn_v"}) {
      tensors_.erase(std::string("blk.0.") + own + ".weight" + part);
    }
  }
  const Importances read = read_importances(write(), source_->config()).value();
  const Importances peers = read_importances(golden("imatrix.gguf"), source_->config()).value();
  for (const char* name : {"q_proj", "k_proj", "v_proj"}) {
    const std::string matrix = std::string("model.layers.0.self_attn.") + name;
    EXPECT_EQ(read.at(matrix).square, peers.at(matrix).square) << name;
  }
}

TEST_F(ImportanceFile, DecidesWhatACompressionRounds) {
  const Importances peers = read_importances(golden("imatrix.gguf"), source_->config()).value();
  std::map<std::string, std::string> first;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    const std::string out = folder_.file(fmt::format("q4-{}", threads));
    const auto report = compress(*source_, recipe_of(recipe(golden("imatrix.gguf"))), out, pool);
    ASSERT_TRUE(report.ok()) << report.error().message;
    if (threads == 1) first = test::contents(out);
    EXPECT_EQ(test::contents(out), first);
    const auto lathe = nlohmann::json::parse(first["lathe.json"]);
    EXPECT_EQ(lathe["calibration"].size(), 1u);
    EXPECT_EQ(lathe["calibration"]["importances_sha256"].get<std::string>().size(), 64u);
    const auto compressed = test::open(out);
    int weighted = 0;
    for (const MatrixInfo& info : matrices_of(source_->config())) {
      if (info.layer < 0 || info.cols % 32) continue;
      const WeightMatrix stored = test::matrix_of(*compressed, info);
      const std::vector<float> weights = test::matrix_of(*source_, info).decode();
      const std::vector<float> importance = peers.at(info.name).mean_square();
      const WeightMatrix expected =
          encode_weighted(parse_format("q4_0").value(), weights.data(), info.rows, info.cols,
                          importance.data(), info.name, pool)
              .value();
      EXPECT_EQ(stored.decode(), expected.decode()) << info.name;
      ++weighted;
    }
    EXPECT_EQ(weighted, 12);
  }
  // Wanda needs no more either; the .dat file says the same up to its rounding.
  ThreadPool pool(2);
  for (const char* name : {"imatrix.gguf", "imatrix.dat"}) {
    const auto report = compress(
        *source_,
        recipe_of({{"prune", "wanda:0.5"}, {"calibration", {{"importances", golden(name)}}}}),
        folder_.file(name), pool);
    ASSERT_TRUE(report.ok()) << report.error().message;
  }
  for (const MatrixInfo& info : matrices_of(source_->config())) {
    EXPECT_EQ(test::matrix_of(*test::open(folder_.file("imatrix.gguf")), info).decode(),
              test::matrix_of(*test::open(folder_.file("imatrix.dat")), info).decode())
        << info.name;
  }
}

TEST_F(ImportanceFile, BadValuesAreRefused) {
  const std::string sums = "blk.1.ffn_down.weight.in_sum2", counts = "blk.1.ffn_down.weight.counts";
  const auto whole = tensors_;
  const auto with = [&](const std::string& name, const std::vector<float>& values) {
    tensors_ = whole;
    tensors_[name] = values;
    return refusal(write());
  };
  std::vector<float> bad = whole.at(sums);
  bad[7] = std::nanf("");
  EXPECT_THAT(with(sums, bad), HasSubstr("'blk.1.ffn_down.weight' holds nan"));
  bad[7] = -1;
  EXPECT_THAT(with(sums, bad), HasSubstr("holds -1, which is no sum of squares"));
  bad[7] = INFINITY;
  EXPECT_THAT(with(sums, bad), HasSubstr("holds inf"));
  bad = whole.at(sums);
  bad.push_back(1);
  EXPECT_THAT(with(sums, bad), HasSubstr("has 25 values, but the model's matrix has 24 columns"));
  EXPECT_THAT(with(sums, std::vector<float>(24)), HasSubstr("is all zero"));
  EXPECT_THAT(with(counts, {0}), HasSubstr("has a count of 0"));
  EXPECT_THAT(with(counts, {std::nanf("")}), HasSubstr("has a count of nan"));
  EXPECT_THAT(with(counts, {8, 8}), HasSubstr("counts of 2 experts"));
  EXPECT_THAT(with("token_embd.weight", {1}), HasSubstr("'token_embd.weight' is neither"));
  tensors_ = whole;
  tensors_.erase(counts);
  EXPECT_THAT(refusal(write()), HasSubstr("'blk.1.ffn_down.weight' has sums and no counts"));
  tensors_ = whole;
  EXPECT_THAT(refusal(write("adapter")), HasSubstr("of type 'adapter'"));
  tensors_ = {{"output.weight.in_sum2", {1}}, {"output.weight.counts", {1}}};
  EXPECT_THAT(refusal(write()), HasSubstr("none of its 1 entries is a matrix of this model"));
  EXPECT_THAT(refusal(folder_.file("none.gguf")), HasSubstr("none.gguf"));
  EXPECT_THAT(refusal(family("llama-gguf")), HasSubstr("is a GGUF file of type 'model'"));
}

TEST_F(ImportanceFile, CutFilesAreRefused) {
  for (const char* name : {"imatrix.gguf", "imatrix.dat"}) {
    const std::string whole = read_text(golden(name)).value();
    const std::string path = folder_.file(name);
    // Behind the entries of a .dat file stand eight bytes and the name of the data.
    const size_t needed = std::string_view(name).ends_with("dat")
                              ? whole.size() - 8 - std::strlen("made-up.txt")
                              : whole.size();
    for (size_t size = 0; size < needed; size += size < 64 ? 1 : 61) {
      std::ofstream(path, std::ios::binary) << whole.substr(0, size);
      EXPECT_THAT(refusal(path), HasSubstr(path)) << size;
    }
  }
}

TEST_F(ImportanceFile, CompressionsSayWhatIsMissing) {
  ThreadPool pool(1);
  const auto message = [&](const nlohmann::json& json) {
    const std::string out = folder_.file("out");
    const auto report = compress(*source_, recipe_of(json), out, pool);
    EXPECT_FALSE(report.ok()) << json;
    EXPECT_FALSE(std::filesystem::exists(out));
    return report.ok() ? "" : report.error().message;
  };
  tensors_.erase("blk.1.attn_v.weight.in_sum2");
  tensors_.erase("blk.1.attn_v.weight.counts");
  EXPECT_THAT(message(recipe(write())),
              HasSubstr("changed.gguf: no importances of 'model.layers.1.self_attn.v_proj'"));
  nlohmann::json needs_more = recipe(golden("imatrix.gguf"));
  needs_more["method"] = "gptq";
  needs_more["format"] = "int4:g32";
  needs_more["overrides"] = {{{"match", "*.down_proj"}, {"format", "f16"}}};
  EXPECT_THAT(message(needs_more),
              HasSubstr("pass 'gptq' needs more of the inputs than importances"));
  const auto both = calibration_from_json({{"importances", "a"}, {"seed", 1}});
  EXPECT_THAT(both.error().message, HasSubstr("'importances' stands for itself"));
}

}  // namespace
}  // namespace lathe
