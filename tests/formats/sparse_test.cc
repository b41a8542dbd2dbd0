// Sparse layouts against the dense formats whose codes they hold.
#include "lathe/formats/sparse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lathe/base/rng.h"
#include "lathe/base/threads.h"
#include "lathe/formats/group_grid.h"

namespace lathe {
namespace {

using testing::HasSubstr;

std::vector<float> weights_with_zeros(int64_t count, double zeros, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> w(static_cast<size_t>(count));
  for (float& x : w) x = rng.uniform() < zeros ? 0.0f : static_cast<float>(0.02 * rng.normal());
  return w;
}

// Two of each four and four of each eight are zero.
std::vector<float> weights_of_pattern(int64_t rows, int64_t cols, int64_t of, uint64_t seed) {
  std::vector<float> w = weights_with_zeros(rows * cols, 0, seed);
  Rng rng(seed + 1);
  for (int64_t i = 0; i < rows * cols; ++i) {
    const int64_t k = i % cols, first = i - k % of;
    const auto zeros = std::count(w.begin() + first, w.begin() + i, 0.0f);
    const int64_t left = of - k % of;
    if (zeros < of / 2 && (left <= of / 2 - zeros || rng.uniform() < 0.5)) w[size_t(i)] = 0;
  }
  return w;
}

WeightMatrix encoded(const std::string& spec, const std::vector<float>& w, int64_t rows,
                     int64_t cols) {
  return WeightMatrix::encode(parse_format(spec).value(), w.data(), rows, cols, "w").value();
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), 4 * a.size()) == 0;
}

constexpr const char* kDense[] = {"f16",      "bf16",          "int8:row", "int8:g32",   "int4:row",
                                  "int4:g32", "int4:g64,asym", "nf4:b64",  "nf4:b32,dq", "fp4:b64"};

TEST(Sparse, DecodesToTheBitsOfTheDenseFormat) {
  for (const char* dense : kDense) {
    for (const auto& [rows, cols] : {std::pair{37, 96}, {16, 512}, {5, 33}, {1, 1}, {33, 7}}) {
      const auto w = weights_with_zeros(rows * cols, 0.5, 3);
      const WeightMatrix expected = encoded(dense, w, rows, cols);
      const WeightMatrix sparse = encoded(std::string("sparse:") + dense, w, rows, cols);
      EXPECT_TRUE(same_bits(sparse.decode(), expected.decode())) << dense << " " << cols;
      // And back, to the same parts.
      const WeightMatrix back = to_dense(sparse);
      EXPECT_EQ(back.format().spec(), expected.format().spec());
      for (size_t p = 0; p < expected.parts().size(); ++p) {
        EXPECT_TRUE(std::ranges::equal(back.parts()[p].span(), expected.parts()[p].span()))
            << dense << " " << cols << " part " << p;
      }
      const auto again = to_sparse(sparse.format_ptr(), back, "w");
      ASSERT_TRUE(again.ok());
      for (size_t p = 0; p < sparse.parts().size(); ++p) {
        EXPECT_TRUE(std::ranges::equal(again->parts()[p].span(), sparse.parts()[p].span()));
      }
    }
  }
}

TEST(Sparse, PatternsDecodeToTheBitsOfTheDenseFormatWhereTheyFit) {
  for (const int64_t of : {4, 8}) {
    for (const char* dense : kDense) {
      const auto w = weights_of_pattern(19, 128, of, 5);
      const std::string spec = fmt::format("sparse{}{}:{}", of / 2, of, dense);
      EXPECT_TRUE(
          same_bits(encoded(spec, w, 19, 128).decode(), encoded(dense, w, 19, 128).decode()))
          << spec;
    }
  }
}

TEST(Sparse, PatternsKeepTheLargest) {
  const std::vector<float> w = {1, -4, 3, 2, 0, 0, 0, 5, 1, 1, 1, 1, -2, -1, 0, 0.5f, 7, 8, 9};
  EXPECT_EQ(encoded("sparse24:bf16", w, 1, 19).decode(),
            (std::vector<float>{0, -4, 3, 0, 0, 0, 0, 5, 1, 1, 0, 0, -2, -1, 0, 0, 0, 8, 9}));
  EXPECT_EQ(encoded("sparse48:bf16", w, 1, 19).decode(),
            (std::vector<float>{0, -4, 3, 2, 0, 0, 0, 5, 1, 1, 1, 0, -2, 0, 0, 0, 7, 8, 9}));
}

// From these shares of zeros on a sparse layout is smaller than the dense format.
TEST(Sparse, IsSmallerFromTheDocumentedShareOn) {
  const int64_t rows = 64, cols = 2048;
  for (const auto& [dense, share] :
       {std::pair{"bf16", 1.0 / 16}, {"int8:row", 1.0 / 8}, {"int4:g128", 1.0 / 4}}) {
    const std::string spec = std::string("sparse:") + dense;
    const auto bytes = [&](double zeros) {
      return encoded(spec, weights_with_zeros(rows * cols, zeros, 9), rows, cols).bytes();
    };
    const int64_t of_dense = parse_format(dense).value()->bytes(rows, cols);
    EXPECT_LT(bytes(share + 0.02), of_dense) << spec;
    EXPECT_LT(bytes(0.9), of_dense * 2 / 5) << spec;
    // What a plan predicts; codes that are rounded to 0 are left out besides.
    const auto predicted = static_cast<double>(parse_format(spec).value()->bytes(rows, cols, 0.5));
    EXPECT_LE(static_cast<double>(bytes(0.5)), predicted * 1.001) << spec;
    EXPECT_GE(static_cast<double>(bytes(0.5)), predicted * 0.9) << spec;
  }
}

class Hostile {
 public:
  explicit Hostile(const std::string& spec)
      : matrix_(encoded(spec, weights_of_pattern(20, 64, 4, 2), 20, 64)),
        parts_(matrix_.parts().begin(), matrix_.parts().end()) {}

  // The error after byte `at` of a part has become `value`.
  std::string changed(size_t part, size_t at, int value) const {
    std::vector<uint8_t> bytes(parts_[part].span().begin(), parts_[part].span().end());
    bytes[at] = static_cast<uint8_t>(value);
    std::vector<Bytes> parts = parts_;
    parts[part] = Bytes::copy_of(bytes);
    return error(parts);
  }
  std::string cut(size_t part, size_t size) const {
    std::vector<Bytes> parts = parts_;
    parts[part] = parts[part].slice(0, size);
    return error(parts);
  }
  uint8_t at(size_t part, size_t index) const { return parts_[part].data()[index]; }
  size_t size(size_t part) const { return parts_[part].size(); }

 private:
  std::string error(const std::vector<Bytes>& parts) const {
    const auto made = WeightMatrix::create(matrix_.format_ptr(), 20, 64, parts, "w");
    return made.ok() ? "" : made.error().message;
  }
  WeightMatrix matrix_;
  std::vector<Bytes> parts_;
};

TEST(Sparse, RefusesMasksThatDoNotFitTheValues) {
  const Hostile file("sparse:int8:row");
  EXPECT_THAT(file.changed(0, 3, file.at(0, 3) ^ 1), HasSubstr("'weight.offsets'"));
  EXPECT_THAT(file.cut(1, file.size(1) - 1), HasSubstr("'weight.values'"));
  EXPECT_THAT(file.changed(2, 0, 1), HasSubstr("element 0 of part 'weight.offsets' is 1"));
  EXPECT_THAT(file.changed(2, 15, 0x80), HasSubstr("'weight.offsets'"));
  // Of 33 columns a mask has five bytes, of which seven bits belong to none.
  const WeightMatrix odd = encoded("sparse:int8:row", weights_with_zeros(2 * 33, 0.5, 1), 2, 33);
  std::vector<uint8_t> mask(odd.parts()[0].span().begin(), odd.parts()[0].span().end());
  mask[9] |= 2;
  std::vector<Bytes> parts(odd.parts().begin(), odd.parts().end());
  parts[0] = Bytes::copy_of(mask);
  EXPECT_THAT(WeightMatrix::create(odd.format_ptr(), 2, 33, parts, "w").error().message,
              HasSubstr("behind the last one"));
}

TEST(Sparse, RefusesIndicesAndMasksThatAreNoPattern) {
  const Hostile two("sparse24:int8:row");
  EXPECT_THAT(two.changed(0, 7, 0x44 | 0x01), HasSubstr("'weight.indices'"));  // 1, 1
  EXPECT_THAT(two.changed(0, 7, 0x41), HasSubstr("do not rise"));              // 1, 0
  EXPECT_EQ(two.changed(0, 7, 0xee), "");                                      // 2, 3 twice
  const Hostile four("sparse48:int8:row");
  EXPECT_THAT(four.changed(0, 7, 0x1f), HasSubstr("marks 5 of the eight columns 56 of row 0"));
  EXPECT_THAT(four.changed(0, 7, 0x07), HasSubstr("not 4"));
}

TEST(Sparse, RefusesFormatsWithoutALayout) {
  const auto message = [](const char* spec) { return parse_format(spec).error().message; };
  EXPECT_THAT(message("sparse:q4_k"), HasSubstr("q4_k has no sparse layout"));
  EXPECT_THAT(message("sparse:f32"), HasSubstr("no sparse layout"));
  EXPECT_THAT(message("sparse:int4:g64,offset"), HasSubstr("no sparse layout"));
  EXPECT_THAT(message("sparse:sparse:int8"), HasSubstr("sparse already"));
  EXPECT_THAT(message("sparse24:int9"), HasSubstr("unknown format"));
  EXPECT_FALSE(parse_format("sparse").ok());
}

// Methods that choose the codes themselves store them in sparse layouts as well.
TEST(Sparse, GroupGridsStoreSparse) {
  ThreadPool pool(2);
  const auto values_of = [](const GroupGrid& grid, std::vector<float> w,
                            std::vector<GridGroup>& groups) {
    for (size_t r = 0; r < 4; ++r) {
      for (size_t g = 0; g < 2; ++g) {
        float* x = w.data() + r * 128 + g * 64;
        groups.push_back(grid.fit(x, {}, 64));
        for (int i = 0; i < 64; ++i) x[i] = grid.round(x[i], groups.back());
      }
    }
    return w;
  };
  for (const char* spec : {"sparse:int4:g64", "sparse24:int4:g64", "sparse:nf4:b64"}) {
    const auto grid = GroupGrid::create(parse_format(spec).value(), 4, 128).value();
    std::vector<GridGroup> groups;
    const auto values = values_of(grid, weights_of_pattern(4, 128, 4, 7), groups);
    const auto stored = grid.encode(values.data(), groups, "w", pool);
    ASSERT_TRUE(stored.ok()) << stored.error().message;
    EXPECT_EQ(stored->format().spec(), spec);
    EXPECT_EQ(stored->decode(), values) << spec;
  }
  // What an N:M layout has no room for is not dropped.
  const auto grid = GroupGrid::create(parse_format("sparse24:int4:g64").value(), 4, 128).value();
  std::vector<GridGroup> groups;
  const auto values = values_of(grid, weights_with_zeros(4 * 128, 0, 7), groups);
  const auto stored = grid.encode(values.data(), groups, "layer.0", pool);
  ASSERT_FALSE(stored.ok());
  EXPECT_THAT(stored.error().message, HasSubstr("layer.0: has more weights"));
}

}  // namespace
}  // namespace lathe
