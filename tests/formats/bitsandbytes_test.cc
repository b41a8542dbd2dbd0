// NF4, FP4, double quantization and int8 against bitsandbytes: bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "golden.h"
#include "lathe/base/hash.h"
#include "lathe/formats/codebook4.h"
#include "lathe/formats/weight_matrix.h"

namespace lathe {
namespace {

using nlohmann::json;

std::string label(const json& test) {
  if (test.contains("input"))
    return test.at("format").get<std::string>() + " of " + std::string(test.at("input"));
  return test.dump().substr(0, 120);
}

// Where two byte runs first differ, or "" if they are equal.
std::string difference(const Bytes& want, const Bytes& got) {
  if (want.size() != got.size()) return fmt::format("sizes {} and {}", want.size(), got.size());
  size_t wrong = 0, first = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    if (want.data()[i] != got.data()[i] && wrong++ == 0) first = i;
  }
  return wrong ? fmt::format("{} of {} bytes, first at {}", wrong, want.size(), first) : "";
}

bool is_state(const std::string& part) { return part.find("quant_state") != std::string::npos; }

TEST(Bitsandbytes, EncodesEveryPartBitForBit) {
  const auto file = golden::File::load("bitsandbytes");
  int compared = 0;
  for (const json& test : file.cases) {
    if (!test.contains("input")) continue;
    SCOPED_TRACE(label(test));
    const auto shape = file.shape(test, "input");
    const FormatPtr format = parse_format(std::string(test.at("format"))).value();
    const auto weights = file.floats(test, "input");
    const auto matrix = WeightMatrix::encode(format, weights.data(), shape[0], shape[1], "w");
    ASSERT_TRUE(matrix.ok()) << matrix.error().message;
    const auto specs = format->parts(shape[0], shape[1]);
    for (size_t p = 0; p < specs.size(); ++p) {
      const Bytes want = file.bytes(test, specs[p].name);
      ASSERT_FALSE(want.empty()) << "the reference has no part " << specs[p].name;
      if (is_state(specs[p].name)) {
        const Bytes& got = matrix->parts()[p];
        EXPECT_EQ(json::parse(want.span()), json::parse(got.span()));
        continue;
      }
      EXPECT_EQ(file.shape(test, specs[p].name), specs[p].shape) << specs[p].name;
      EXPECT_EQ(difference(want, matrix->parts()[p]), "") << specs[p].name;
      ++compared;
    }
  }
  EXPECT_GT(compared, 200);
}

TEST(Bitsandbytes, EncodesLargeMatricesBitForBit) {
  const auto file = golden::File::load("bitsandbytes");
  int compared = 0;
  for (const json& test : file.cases) {
    if (!test.contains("recipe")) continue;
    SCOPED_TRACE(label(test));
    const int64_t rows = test.at("rows"), cols = test.at("cols");
    const FormatPtr format = parse_format(std::string(test.at("format"))).value();
    const auto weights = golden::recipe(test);
    const auto matrix = WeightMatrix::encode(format, weights.data(), rows, cols, "w");
    ASSERT_TRUE(matrix.ok()) << matrix.error().message;
    const auto specs = format->parts(rows, cols);
    for (size_t p = 0; p < specs.size(); ++p) {
      const Bytes& got = matrix->parts()[p];
      if (is_state(specs[p].name)) {
        EXPECT_EQ(json::parse(got.span()).at("nested_offset"), test.at("nested_offset"));
        continue;
      }
      Sha256 hash;
      hash.update(got.span());
      EXPECT_EQ(hash.hex(), test.at("sha256").at(specs[p].name)) << specs[p].name;
      ++compared;
    }
  }
  EXPECT_GT(compared, 80);
}

TEST(Bitsandbytes, DecodesItsCheckpoints) {
  const auto file = golden::File::load("bitsandbytes");
  int decoded = 0;
  for (const json& test : file.cases) {
    if (!test.contains("input") || test.at("format") == "int8:row") continue;
    SCOPED_TRACE(label(test));
    const auto shape = file.shape(test, "input");
    const FormatPtr format = parse_format(std::string(test.at("format"))).value();
    std::vector<Bytes> parts;
    for (const PartSpec& part : format->parts(shape[0], shape[1])) {
      parts.push_back(file.bytes(test, part.name));
    }
    const auto matrix = WeightMatrix::create(format, shape[0], shape[1], parts, "w");
    ASSERT_TRUE(matrix.ok()) << matrix.error().message;
    const auto want = file.floats(test, "decoded");
    const auto got = matrix->decode();
    EXPECT_EQ(want, got);
    ++decoded;
  }
  EXPECT_GT(decoded, 40);
}

// One stored matrix and its JSON part, to be replaced.
struct Stored {
  FormatPtr format;
  std::vector<Bytes> parts;

  explicit Stored(std::string_view spec) : format(parse_format(spec).value()) {
    const auto w = golden::bells(1, 4 * 128);
    const auto m = WeightMatrix::encode(format, w.data(), 4, 128, "w").value();
    parts.assign(m.parts().begin(), m.parts().end());
  }
  json state() const { return json::parse(parts.back().span()); }
  Status with_state(const std::string& text) {
    parts.back() = Bytes::copy_of({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
    return format->validate(parts, 4, 128);
  }
};

TEST(Bitsandbytes, TakesTheStateInAnyLength) {
  Stored stored("nf4:b64,dq");
  const auto before = WeightMatrix::create(stored.format, 4, 128, stored.parts, "w")->decode();
  ASSERT_TRUE(stored.with_state(stored.state().dump()).ok());
  EXPECT_EQ(WeightMatrix::create(stored.format, 4, 128, stored.parts, "w")->decode(), before);
  ASSERT_TRUE(stored.with_state(stored.state().dump(4)).ok());
  EXPECT_FALSE(stored.with_state(stored.state().dump() + std::string(5000, ' ')).ok());
}

TEST(Bitsandbytes, RefusesAStateThatDoesNotFitNamingTheField) {
  const json good = Stored("nf4:b64,dq").state();
  const auto refused = [&](const char* key, const json& value) {
    json state = good;
    if (value.is_null()) {
      state.erase(key);
    } else {
      state[key] = value;
    }
    const Status status = Stored("nf4:b64,dq").with_state(state.dump());
    ASSERT_FALSE(status.ok()) << state;
    EXPECT_THAT(status.error().message, testing::HasSubstr(key));
  };
  refused("quant_type", "fp4");
  refused("quant_type", 4);
  refused("quant_type", nullptr);
  refused("blocksize", 128);
  refused("blocksize", "64");
  refused("blocksize", 64.5);
  refused("shape", {4, 64});
  refused("shape", {128, 4});
  refused("shape", nullptr);
  refused("nested_blocksize", 128);
  refused("nested_offset", nullptr);
  refused("nested_offset", "0.5");
  refused("nested_offset", 1e300);
  for (const char* text : {"", "[]", "null", "{", "{\"quant_type\": \"nf4\"", "\xff\xfe", "[[[[[[",
                           "{\"nested_offset\": NaN}"}) {
    EXPECT_FALSE(Stored("nf4:b64,dq").with_state(text).ok()) << text;
  }
  EXPECT_FALSE(Stored("nf4:b64,dq").with_state(std::string(4000, '[')).ok());
  // The state of a nested matrix under the format without dq would give wrong weights.
  EXPECT_FALSE(Stored("nf4:b64").with_state(good.dump()).ok());
}

TEST(Bitsandbytes, RefusesAForeignTable) {
  Stored stored("nf4:b64");
  std::vector<float> table(stored.parts[2].as<float>(), stored.parts[2].as<float>() + 16);
  const auto with_table = [&] {
    stored.parts[2] =
        Bytes::copy_of({reinterpret_cast<const uint8_t*>(table.data()), 16 * sizeof(float)});
    return stored.format->validate(stored.parts, 4, 128);
  };
  ASSERT_TRUE(with_table().ok());
  table[3] += 1e-6f;  // another rounding of the same table
  EXPECT_TRUE(with_table().ok());
  table[3] += 0.1f;
  EXPECT_FALSE(with_table().ok());
  table[3] -= 0.1f;
  table[7] = 1e-6f;  // zero must stay zero
  EXPECT_FALSE(with_table().ok());
}

TEST(Bitsandbytes, MeanRoundsAsTorchDoes) {
  const auto file = golden::File::load("bitsandbytes");
  int compared = 0;
  for (const json& test : file.cases) {
    if (!test.contains("mean_of")) continue;
    auto x = golden::bells(test.at("seed"), test.at("mean_of"));
    for (float& v : x) v = std::fabs(v);
    EXPECT_EQ(double{formats::mean_like_torch(x.data(), test.at("mean_of"))},
              test.at("mean").get<double>())
        << test.at("mean_of");
    ++compared;
  }
  EXPECT_GT(compared, 70);
}

}  // namespace
}  // namespace lathe
