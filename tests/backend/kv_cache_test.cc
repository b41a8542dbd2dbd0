// The key-value cache: what is written is read, within each type's error; layout, books and names.
#include "lathe/backend/kv_cache.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "lathe/base/rng.h"

namespace lathe {
namespace {

std::vector<float> row_of(Rng& rng, int64_t n) {
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = static_cast<float>(3 * rng.normal());
  return x;
}

TEST(KvCacheTypes, ReadGivesWhatWasWritten) {
  for (const KvType type :
       {KvType::kF32, KvType::kF16, KvType::kBf16, KvType::kInt8, KvType::kInt4}) {
    for (const int64_t size : {1, 3, 16, 20, 64, 80}) {
      const KvShape shape{2, 3, size, type};
      KvCache cache = KvCache::create(shape, 37).value();
      for (const bool check : {false, true}) {
        Rng rng(5);
        for (int64_t layer = 0; layer < 2; ++layer) {
          for (int64_t head = 0; head < 3; ++head) {
            for (int64_t at = 0; at < 37; ++at) {
              const std::vector<float> k = row_of(rng, size), v = row_of(rng, size);
              if (!check) {
                cache.write(layer, head, at, k.data(), v.data());
                continue;
              }
              std::vector<float> key(k.size()), value(v.size());
              cache.read(layer, head, at, key.data(), value.data());
              for (const auto& [got, want] : {std::pair(&key, &k), std::pair(&value, &v)}) {
                float most = 0;
                for (const float x : *want) most = std::max(most, std::abs(x));
                for (size_t i = 0; i < want->size(); ++i) {
                  const float x = (*want)[i];
                  const float bound = type == KvType::kF32    ? 0
                                      : type == KvType::kF16  ? std::abs(x) / 2048 + 6e-8f
                                      : type == KvType::kBf16 ? std::abs(x) / 256
                                      : type == KvType::kInt8 ? most / 127 * 0.501f
                                                              // half a step of the widest group,
                                                              // its offset in f16
                                                              : most / 15 * 1.001f + most / 1024;
                  ASSERT_LE(std::abs((*got)[i] - x), bound)
                      << name_of(type) << " size=" << size << " position=" << at << " i=" << i;
                }
              }
            }
          }
        }
      }
    }
  }
}

// The layout that the kernels read: keys in blocks of 16 positions, values padded with zeros.
TEST(KvCacheTypes, Layout) {
  KvCache cache = KvCache::create({1, 2, 3, KvType::kF32}, 20).value();
  const float key[] = {1, 2, 3}, value[] = {4, 5, 6};
  cache.write(0, 1, 17, key, value);
  const auto* keys = reinterpret_cast<const float*>(cache.part(0, 1, KvCache::kKeys, 0));
  const auto* values = reinterpret_cast<const float*>(cache.part(0, 1, KvCache::kValues, 0));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(keys[16 * 3 + i * 16 + 1], key[i]);
    EXPECT_EQ(values[17 * 16 + i], value[i]);
  }
  for (int i = 3; i < 16; ++i) EXPECT_EQ(values[17 * 16 + i], 0);
}

TEST(KvCacheTypes, ZerosAndWhatIsNotFinite) {
  for (const KvType type : {KvType::kInt8, KvType::kInt4}) {
    KvCache cache = KvCache::create({1, 1, 2, type}, 3).value();
    const float zeros[] = {0, 0}, infinite[] = {1, INFINITY};
    cache.write(0, 0, 0, zeros, infinite);
    float key[2], value[2];
    cache.read(0, 0, 0, key, value);
    EXPECT_EQ(key[0], 0);
    EXPECT_TRUE(std::isnan(value[0]));
  }
}

// Equal components, extremes, and a group that lies far from zero: what the offset is for.
TEST(KvCacheTypes, Int4Groups) {
  KvCache cache = KvCache::create({1, 1, 40, KvType::kInt4}, 17).value();
  std::vector<float> key(40, 2.5f), value(40), read_key(40), read_value(40);
  for (size_t i = 0; i < 40; ++i) value[i] = 1000.0f + static_cast<float>(i % 16);
  value[39] = 1e7f;  // a scale that f16 cannot hold
  cache.write(0, 0, 16, key.data(), value.data());
  cache.read(0, 0, 16, read_key.data(), read_value.data());
  EXPECT_EQ(read_key, key);
  for (size_t i = 0; i < 32; ++i) EXPECT_EQ(read_value[i], value[i]) << i;
  for (size_t i = 32; i < 40; ++i) EXPECT_TRUE(std::isnan(read_value[i])) << i;
  // Written anew, nothing of the old codes stays.
  std::fill(value.begin(), value.end(), -1.0f);
  cache.write(0, 0, 16, key.data(), value.data());
  cache.read(0, 0, 16, read_key.data(), read_value.data());
  EXPECT_EQ(read_value, value);
}

TEST(KvCacheTypes, Bytes) {
  const auto bytes = [](KvType type) { return KvCache::bytes_for({2, 4, 64, type}, 10); };
  EXPECT_EQ(bytes(KvType::kF32), 2 * 4 * 2 * 64 * 10 * 4);
  EXPECT_EQ(bytes(KvType::kF16), bytes(KvType::kF32) / 2);
  EXPECT_EQ(bytes(KvType::kInt8), 2 * 4 * 2 * (64 + 4) * 10);
  EXPECT_EQ(bytes(KvType::kInt4), 2 * 4 * 2 * (64 / 2 + 2 * (2 + 2)) * 10);
}

// 32 MB: its pages are exchanged for huge ones when it is half full.
TEST(KvCacheTypes, WhatIsThereOutlivesAChangeOfPages) {
  const int64_t capacity = 16384, size = 64;
  KvCache cache = KvCache::create({2, 2, size, KvType::kF32}, capacity).value();
  const auto value_at = [](int64_t layer, int64_t position, int64_t i) {
    return static_cast<float>(position * 256 + layer * 64 + i);
  };
  const auto write = [&](int64_t from, int64_t to) {
    std::vector<float> key(size), value(size);
    for (int64_t p = from; p < to; p += 97) {
      for (int64_t layer = 0; layer < 2; ++layer) {
        for (int64_t i = 0; i < size; ++i) {
          key[static_cast<size_t>(i)] = value_at(layer, p, i);
          value[static_cast<size_t>(i)] = -value_at(layer, p, i);
        }
        cache.write(layer, 1, p, key.data(), value.data());
      }
    }
    cache.set_length(to);
  };
  write(0, 97 * 50);
  write(97 * 50, 97 * 100);  // past the half
  KvCache moved = std::move(cache);
  std::vector<float> key(size), value(size);
  for (int64_t p = 0; p < 97 * 100; p += 97) {
    for (int64_t layer = 0; layer < 2; ++layer) {
      moved.read(layer, 1, p, key.data(), value.data());
      for (int64_t i = 0; i < size; ++i) {
        ASSERT_EQ(key[static_cast<size_t>(i)], value_at(layer, p, i));
        ASSERT_EQ(value[static_cast<size_t>(i)], -value_at(layer, p, i));
      }
    }
  }
}

TEST(KvCacheTypes, Names) {
  EXPECT_EQ(kv_type_names(), "f32, f16, bf16, int8, int4");
  for (const KvType type :
       {KvType::kF32, KvType::kF16, KvType::kBf16, KvType::kInt8, KvType::kInt4}) {
    EXPECT_EQ(parse_kv_type(name_of(type)).value(), type);
  }
  const auto unknown = parse_kv_type("fp16");
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.error().code, ErrorCode::kBadInput);
  EXPECT_NE(unknown.error().hint.find("f16"), std::string::npos);
}

}  // namespace
}  // namespace lathe
