// Conformance: what every format in the registry must do.
#include "lathe/formats/format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <set>

#include "lathe/base/rng.h"
#include "lathe/base/threads.h"
#include "lathe/formats/gguf_types.h"
#include "lathe/formats/layouts.h"
#include "lathe/formats/sparse.h"
#include "lathe/formats/weight_matrix.h"

namespace lathe {
namespace {

std::vector<float> normal_weights(int64_t count, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> w(static_cast<size_t>(count));
  for (float& x : w) x = static_cast<float>(0.02 * rng.normal());
  return w;
}

struct Error2 {  // sums of squares
  double signal = 0, noise = 0;
  void add(const std::vector<float>& truth, const std::vector<float>& got) {
    for (size_t i = 0; i < truth.size(); ++i) {
      signal += double{truth[i]} * truth[i];
      noise += (double{truth[i]} - got[i]) * (double{truth[i]} - got[i]);
    }
  }
  double db() const { return 10 * std::log10(signal / noise); }
};

// Columns that share a scale: the period of a format's structure along a row.
int64_t period(const Format& format) {
  switch (format.encoding()) {
    case Encoding::kInt8:
    case Encoding::kInt4:
      return int_layout(format).group ? int_layout(format).group : 16;
    case Encoding::kBits:
      return bits_layout(format).group;
    case Encoding::kMicro:
      return micro_block(format);
    case Encoding::kCodebook4:
      return codebook4_layout(format).block;
    case Encoding::kGguf:
      return ggml_type_info(ggml_type_of(format).value())->block_elems;
    case Encoding::kSparse:
      return period(*dense_format(parse_format(format.spec()).value()));
    case Encoding::kFloat:
    case Encoding::kInt8Outliers:
      return 16;
  }
  return 16;
}

// All lengths up to two periods and one; for long periods those near their ends.
std::vector<int64_t> lengths(int64_t period) {
  std::vector<int64_t> all;
  for (int64_t n = 1; n <= 2 * period + 1; ++n) {
    const int64_t away = std::min({n, std::abs(n - period), std::abs(n - 2 * period)});
    if (period <= 128 || away <= 35) all.push_back(n);
  }
  return all;
}

// Valid contents of the parts of a format that is only read: any bytes whose F16 fields are finite.
std::vector<Bytes> some_parts(const Format& format, int64_t rows, int64_t cols, uint64_t seed) {
  Rng rng(seed);
  std::vector<Bytes> parts;
  for (const PartSpec& spec : format.parts(rows, cols)) {
    uint8_t* data;
    parts.push_back(Bytes::allocate(static_cast<size_t>(spec.bytes()), &data));
    for (int64_t i = 0; i < spec.bytes(); ++i) data[i] = static_cast<uint8_t>(rng.below(0x40));
  }
  return parts;
}

class EveryFormat : public testing::TestWithParam<std::string> {
 protected:
  FormatPtr format_ = parse_format(GetParam()).value();

  // A stored matrix: `w` encoded, or random blocks where the format is only read.
  WeightMatrix stored(const std::vector<float>& w, int64_t rows, int64_t cols) {
    auto matrix =
        format_->can_encode()
            ? WeightMatrix::encode(format_, w.data(), rows, cols, "w")
            : WeightMatrix::create(format_, rows, cols, some_parts(*format_, rows, cols, 7), "w");
    EXPECT_TRUE(matrix.ok()) << matrix.error().message;
    return std::move(matrix).value();
  }
};

TEST_P(EveryFormat, SpecRoundTrips) {
  EXPECT_EQ(format_->spec(), GetParam());
  EXPECT_EQ(parse_format(format_->spec()).value()->id(), format_->id());
}

TEST_P(EveryFormat, ErrorOfNormalWeightsIsWithinItsTwoSidedBounds) {
  if (!format_->can_encode()) GTEST_SKIP() << "only read";
  const std::vector<float> w = normal_weights(64 * 512, 1);
  const std::vector<float> got = stored(w, 64, 512).decode();
  if (format_->lossless()) {
    EXPECT_EQ(got, w);
    return;
  }
  Error2 error;
  error.add(w, got);
  RecordProperty("snr_db", std::to_string(error.db()));
  EXPECT_GE(error.db(), format_->snr().low_db);
  EXPECT_LE(error.db(), format_->snr().high_db);
}

TEST_P(EveryFormat, TakesEveryLengthThatItSupports) {
  constexpr int64_t kRows = 3;
  constexpr uint8_t kGuard = 0xa5;
  Error2 error;
  int taken = 0;
  for (const int64_t cols : lengths(period(*format_))) {
    SCOPED_TRACE(fmt::format("cols {}", cols));
    if (const Status ok = format_->supports(kRows, cols); !ok.ok()) {
      EXPECT_THAT(ok.error().message, testing::HasSubstr(format_->spec()));
      continue;
    }
    ++taken;
    const auto w = normal_weights(kRows * cols, static_cast<uint64_t>(cols));
    if (format_->can_encode()) {
      // Writes every byte of its parts and none beside them.
      std::vector<std::vector<uint8_t>> buffers[2];
      for (int fill = 0; fill < 2; ++fill) {
        std::vector<uint8_t*> out;
        for (const PartSpec& part : format_->parts(kRows, cols)) {
          auto& buffer = buffers[fill].emplace_back(static_cast<size_t>(part.bytes()) + 128,
                                                    fill ? uint8_t{0x00} : uint8_t{0xff});
          std::fill_n(buffer.begin(), 64, kGuard);
          std::fill_n(buffer.end() - 64, 64, kGuard);
        }
        for (auto& buffer : buffers[fill]) out.push_back(buffer.data() + 64);
        format_->encode(w.data(), kRows, cols, out);
        for (const auto& buffer : buffers[fill]) {
          ASSERT_EQ(std::count(buffer.begin(), buffer.begin() + 64, kGuard), 64);
          ASSERT_EQ(std::count(buffer.end() - 64, buffer.end(), kGuard), 64);
        }
      }
      ASSERT_EQ(buffers[0], buffers[1]);
    }
    const WeightMatrix matrix = stored(w, kRows, cols);
    EXPECT_LE(matrix.bytes(), format_->bytes(kRows, cols));
    const auto specs = format_->parts(kRows, cols);
    for (size_t p = 0; p < specs.size(); ++p) {
      if (specs[p].varies) continue;
      EXPECT_EQ(static_cast<int64_t>(matrix.parts()[p].size()), specs[p].bytes());
    }
    const std::vector<float> whole = matrix.decode();
    if (format_->can_encode()) error.add(w, whole);
    // Every range of rows decodes as the whole does, and nothing beside the output is touched.
    for (int64_t begin = 0; begin < kRows; ++begin) {
      for (int64_t end = begin; end <= kRows; ++end) {
        std::vector<float> part(static_cast<size_t>((end - begin) * cols + 2), 12345.0f);
        matrix.decode_rows(begin, end, part.data() + 1);
        ASSERT_TRUE(std::equal(part.begin() + 1, part.end() - 1, whole.begin() + begin * cols));
        ASSERT_EQ(part.front(), 12345.0f);
        ASSERT_EQ(part.back(), 12345.0f);
      }
    }
  }
  EXPECT_GE(taken, 2);
  // Short runs have smaller maxima and so smaller errors.
  if (format_->can_encode() && !format_->lossless()) {
    EXPECT_GE(error.db(), format_->snr().low_db);
  }
}

TEST_P(EveryFormat, KeepsZerosExactlyIfItSaysSo) {
  if (!format_->can_encode()) GTEST_SKIP() << "only read";
  constexpr int64_t kRows = 16, kCols = 512;
  std::vector<float> w = normal_weights(kRows * kCols, 3);
  Rng rng(4);
  for (float& x : w) x = rng.uniform() < 0.5 ? 0.0f : x;
  for (int64_t i = 0; i < kCols; ++i) w[static_cast<size_t>(i)] = 0.0f;  // a row
  for (int64_t i = 600; i < 700; ++i) w[static_cast<size_t>(i)] = 0.0f;  // a block
  for (int64_t i = 1024; i < 1536; ++i)
    w[static_cast<size_t>(i)] = std::fabs(w[static_cast<size_t>(i)]);
  for (int64_t i = 1536; i < 2048; ++i)
    w[static_cast<size_t>(i)] = -std::fabs(w[static_cast<size_t>(i)]);
  w[2100] = 50.0f;  // an outlier
  const std::vector<float> got = stored(w, kRows, kCols).decode();
  int64_t moved = 0;
  for (size_t i = 0; i < w.size(); ++i) moved += w[i] == 0.0f && got[i] != 0.0f;
  if (format_->exact_zero()) {
    EXPECT_EQ(moved, 0);
  } else {
    EXPECT_GT(moved, 0);  // otherwise it should say so
  }
}

TEST_P(EveryFormat, BytesDoNotDependOnThreads) {
  if (!format_->can_encode()) GTEST_SKIP() << "only read";
  const auto w = normal_weights(37 * 256, 5);
  ThreadPool pool(3);
  const auto one = WeightMatrix::encode(format_, w.data(), 37, 256, "w").value();
  const auto three = WeightMatrix::encode(format_, w.data(), 37, 256, "w", &pool).value();
  for (size_t p = 0; p < one.parts().size(); ++p) {
    EXPECT_TRUE(std::ranges::equal(one.parts()[p].span(), three.parts()[p].span()));
  }
  EXPECT_EQ(one.decode(), three.decode(pool));
}

TEST_P(EveryFormat, RefusesPartsOfWrongNumberOrSize) {
  const WeightMatrix matrix = stored(normal_weights(4 * 512, 6), 4, 512);
  const std::vector<Bytes> good(matrix.parts().begin(), matrix.parts().end());
  ASSERT_TRUE(format_->validate(good, 4, 512).ok());
  EXPECT_FALSE(format_->validate({}, 4, 512).ok());
  std::vector<Bytes> more = good;
  more.push_back(good[0]);
  EXPECT_FALSE(format_->validate(more, 4, 512).ok());
  EXPECT_FALSE(format_->validate(good, 4, 1024).ok());
  EXPECT_FALSE(format_->validate(good, 8, 512).ok());
  const auto specs = format_->parts(4, 512);
  for (size_t p = 0; p < good.size(); ++p) {
    std::vector<Bytes> parts = good;
    std::vector<uint8_t> longer(good[p].span().begin(), good[p].span().end());
    longer.push_back('x');
    parts[p] = Bytes::copy_of(longer);
    const Status too_long = format_->validate(parts, 4, 512);
    ASSERT_FALSE(too_long.ok());
    EXPECT_THAT(too_long.error().message, testing::HasSubstr(specs[p].name));
    parts[p] = good[p].slice(0, good[p].size() - 1);
    const Status too_short = format_->validate(parts, 4, 512);
    ASSERT_FALSE(too_short.ok());
    EXPECT_THAT(too_short.error().message, testing::HasSubstr(specs[p].name));
    parts[p] = Bytes();
    EXPECT_FALSE(format_->validate(parts, 4, 512).ok());
  }
}

// Whatever the bytes are: an error, or finite weights. (With the sanitizers: and no stray read.)
TEST_P(EveryFormat, HostileBytesNeverDecodeToNanOrInfinity) {
  const WeightMatrix matrix = stored(normal_weights(4 * 512, 6), 4, 512);
  Rng rng(8);
  int refused = 0;
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<Bytes> parts(matrix.parts().begin(), matrix.parts().end());
    const size_t p = rng.below(parts.size());
    std::vector<uint8_t> bytes(parts[p].span().begin(), parts[p].span().end());
    const uint64_t kind = rng.below(3);
    const uint64_t spots = kind == 2 ? bytes.size() : 1 + rng.below(8);
    for (uint64_t s = 0; s < spots; ++s) {
      const size_t at = kind == 2 ? s : rng.below(bytes.size());
      bytes[at] = kind == 0 ? uint8_t{0xff} : static_cast<uint8_t>(rng.below(256));
    }
    if (trial == 0) std::fill(bytes.begin(), bytes.end(), uint8_t{0xff});
    parts[p] = Bytes::copy_of(bytes);
    const auto hostile = WeightMatrix::create(format_, 4, 512, parts, "layer.0");
    if (!hostile.ok()) {
      ++refused;
      EXPECT_THAT(hostile.error().message, testing::StartsWith("layer.0: "));
      continue;
    }
    for (const float x : hostile->decode()) ASSERT_TRUE(std::isfinite(x)) << "trial " << trial;
  }
  EXPECT_GT(refused, 5);
}

// Parts mapped from a file need not be aligned.
TEST_P(EveryFormat, ReadsPartsAtOddAddresses) {
  const WeightMatrix matrix = stored(normal_weights(4 * 512, 9), 4, 512);
  std::vector<Bytes> shifted;
  for (const Bytes& part : matrix.parts()) {
    std::vector<uint8_t> bytes(1, 0);
    bytes.insert(bytes.end(), part.span().begin(), part.span().end());
    shifted.push_back(Bytes::copy_of(bytes).slice(1, part.size()));
  }
  EXPECT_EQ(WeightMatrix::create(format_, 4, 512, shifted, "w")->decode(), matrix.decode());
}

INSTANTIATE_TEST_SUITE_P(Registry, EveryFormat, testing::ValuesIn(example_formats()),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) c = std::isalnum(c) ? c : '_';
                           return name;
                         });

TEST(Formats, IdsAreUniqueAndPermanent) {
  std::set<uint32_t> ids;
  for (const std::string& spec : example_formats()) {
    EXPECT_TRUE(ids.insert(parse_format(spec).value()->id()).second) << spec;
  }
  // These stand in files: a change here is a mistake.
  EXPECT_EQ(parse_format("f32").value()->id(), 1u);
  EXPECT_EQ(parse_format("int8:row").value()->id(), 4u);
  EXPECT_EQ(parse_format("int4:g128,asym").value()->id(), 5u | (257u << 8));
  EXPECT_EQ(parse_format("nf4:b64,dq").value()->id(), 6u | (129u << 8));
  EXPECT_EQ(parse_format("q4_k").value()->id(), 8u | (12u << 8));
}

TEST(Formats, TheDocumentNamesEveryKind) {
  std::ifstream file(std::string(LATHE_SOURCE_DIR) + "/docs/formats.md");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  for (const FormatKind& kind : format_kinds()) {
    EXPECT_THAT(text, testing::HasSubstr("`" + kind.name)) << kind.syntax;
  }
}

TEST(Formats, LayoutsTellKernelsTheParameters) {
  const auto integer = [](const char* spec) { return int_layout(*parse_format(spec).value()); };
  EXPECT_EQ(integer("int8:row").group, 0);
  EXPECT_EQ(integer("int8:g128").group, 128);
  EXPECT_FALSE(integer("int8:g128").asymmetric);
  EXPECT_EQ(integer("int4:row").group, 0);
  EXPECT_EQ(integer("int4:g64,asym").group, 64);
  EXPECT_TRUE(integer("int4:g64,asym").asymmetric);
  EXPECT_FALSE(integer("int4:g64").asymmetric);
  const FormatPtr nf4 = parse_format("nf4:b32,dq").value();
  EXPECT_EQ(codebook4_layout(*nf4).block, 32);
  EXPECT_TRUE(codebook4_layout(*nf4).nested);
  EXPECT_FALSE(codebook4_layout(*parse_format("fp4").value()).nested);
  // The view gives the weights that decode_rows gives.
  const auto w = normal_weights(6 * 80, 2);
  const auto m = WeightMatrix::encode(nf4, w.data(), 6, 80, "w").value();
  const Codebook4View view = codebook4_view(*nf4, m.parts(), 6, 80);
  std::vector<float> scales(static_cast<size_t>(view.blocks));
  view.absmax(0, view.blocks, scales.data());
  const auto decoded = m.decode();
  for (size_t i = 0; i < w.size(); ++i) {
    const int code = i % 2 ? view.codes[i / 2] & 15 : view.codes[i / 2] >> 4;
    ASSERT_EQ(view.code[static_cast<size_t>(code)] * scales[i / 32], decoded[i]);
  }
}

TEST(Formats, SpecsHaveShortForms) {
  EXPECT_EQ(parse_format("nf4").value()->spec(), "nf4:b64");
  EXPECT_EQ(parse_format("nf4:dq").value()->spec(), "nf4:b64,dq");
  EXPECT_EQ(parse_format("fp4:dq,b128").value()->spec(), "fp4:b128,dq");
  EXPECT_EQ(parse_format("int8").value()->spec(), "int8:row");
  EXPECT_EQ(parse_format("int4:asym,g64").value()->spec(), "int4:g64,asym");
}

TEST(Formats, UnknownSpecsNameTheNearest) {
  const auto hint = [](std::string_view spec) {
    const auto format = parse_format(spec);
    EXPECT_FALSE(format.ok()) << spec;
    return format.ok() ? std::string() : format.error().hint;
  };
  EXPECT_EQ(hint("int5:g128"), "did you mean 'int8'?");
  EXPECT_EQ(hint("nf5"), "did you mean 'nf4'?");
  EXPECT_EQ(hint("Q4_K"), "did you mean 'q4_k'?");
  EXPECT_THAT(hint("completely-different"), testing::HasSubstr("f32"));
  EXPECT_THAT(hint(""), testing::Not(testing::IsEmpty()));
  for (const char* spec :
       {"int4", "int4:", "int4:g12", "int4:g0", "int4:g-16", "int4:g128,", "int4:g128,asym,asym",
        "int4:g128,g64", "int4:row,asym", "int4:g99999999999999999999", "int4:g65552", "int4:asym",
        "int4:g 128", "int4:g0128"}) {
    EXPECT_THAT(hint(spec), testing::HasSubstr("int4:gN[,asym|,offset]")) << spec;
  }
  for (const char* spec : {"nf4:b65", "nf4:b16", "nf4:b8192", "nf4:64", "nf4:dq,dq", "nf4:"}) {
    EXPECT_THAT(hint(spec), testing::HasSubstr("nf4[:bB][,dq]")) << spec;
  }
  EXPECT_THAT(hint("int8:g"), testing::HasSubstr("int8:gN"));
  EXPECT_THAT(hint("f32:row"), testing::HasSubstr("f32"));
  EXPECT_THAT(hint("q8_0:g32"), testing::HasSubstr("q8_0"));
}

TEST(Formats, BitsPerWeightCountWhatIsStored) {
  const auto bits = [](const char* spec) {
    return parse_format(spec).value()->bits_per_weight(4096, 4096);
  };
  EXPECT_EQ(bits("f16"), 16);
  EXPECT_EQ(bits("int4:g128"), 4.125);
  EXPECT_EQ(bits("int4:g128,asym"), 4.1875);
  EXPECT_EQ(bits("q4_k"), 4.5);
  EXPECT_EQ(bits("q6_k"), 6.5625);
  EXPECT_NEAR(bits("nf4"), 4.5, 1e-3);
  EXPECT_NEAR(bits("nf4:b64,dq"), 4.127, 1e-3);
  EXPECT_NEAR(bits("int8:row"), 8 + 32.0 / 4096, 1e-9);
}

TEST(Formats, ShapesThatCannotBeAreRefused) {
  for (const std::string& spec : example_formats()) {
    const FormatPtr format = parse_format(spec).value();
    EXPECT_FALSE(format->supports(0, 256).ok()) << spec;
    EXPECT_FALSE(format->supports(256, 0).ok()) << spec;
    EXPECT_FALSE(format->supports(-1, 256).ok()) << spec;
    EXPECT_FALSE(format->supports(int64_t{1} << 40, int64_t{1} << 40).ok()) << spec;
  }
}

TEST(WeightMatrix, RefusesWeightsThatAreNotFiniteNamingTheElement) {
  std::vector<float> w = normal_weights(10 * 64, 1);
  w[3 * 64 + 5] = NAN;
  const auto f32 = parse_format("f32").value();
  const auto nan = WeightMatrix::encode(f32, w.data(), 10, 64, "model.q_proj");
  ASSERT_FALSE(nan.ok());
  EXPECT_THAT(nan.error().message, testing::HasSubstr("model.q_proj: weight [3, 5] is nan"));
  w[3 * 64 + 5] = -INFINITY;
  EXPECT_FALSE(WeightMatrix::encode(f32, w.data(), 10, 64, "w").ok());
}

TEST(WeightMatrix, RefusesWeightsOutOfTheFormatsRange) {
  for (const auto& [spec, value] :
       std::vector<std::pair<std::string, float>>{{"f16", 70000.0f},
                                                  {"int4:g32", 1e6f},
                                                  {"int4:g32,asym", 2e6f},
                                                  {"q8_0", 1e8f},
                                                  {"q4_1", 2e6f},
                                                  {"nf4", 3e38f},
                                                  {"bf16", 3.4e38f}}) {
    std::vector<float> w = normal_weights(2 * 64, 1);
    w[70] = value;
    const auto matrix = WeightMatrix::encode(parse_format(spec).value(), w.data(), 2, 64, "w");
    ASSERT_FALSE(matrix.ok()) << spec;
    EXPECT_THAT(matrix.error().message, testing::HasSubstr("do not fit format " + spec));
  }
}

// Every format of the registry can be written; one that cannot says so.
class OnlyRead : public Format {
 public:
  std::string spec() const override { return "only_read"; }
  uint32_t id() const override { return 0xff; }
  Encoding encoding() const override { return Encoding::kFloat; }
  bool exact_zero() const override { return true; }
  SnrBounds snr() const override { return {0, 0}; }
  Status supports(int64_t, int64_t) const override { return {}; }
  std::vector<PartSpec> parts(int64_t, int64_t) const override { return {}; }
  bool can_encode() const override { return false; }
  void encode(const float*, int64_t, int64_t, std::span<uint8_t* const>) const override {}
  void decode_rows(std::span<const Bytes>, int64_t, int64_t, int64_t, int64_t,
                   float*) const override {}
  Status validate(std::span<const Bytes>, int64_t, int64_t) const override { return {}; }
};

TEST(WeightMatrix, FormatsThatAreOnlyReadRefuseToWrite) {
  const std::vector<float> w = normal_weights(256, 1);
  const auto matrix = WeightMatrix::encode(std::make_shared<OnlyRead>(), w.data(), 1, 256, "w");
  ASSERT_FALSE(matrix.ok());
  EXPECT_EQ(matrix.error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace lathe
