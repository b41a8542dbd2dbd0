// Reads tests/golden/formats/NAME.{json,bin} and repeats the inputs of tools/oracles/formats.py.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lathe/base/bytes.h"

namespace lathe::golden {

struct File {
  nlohmann::json cases;
  std::vector<uint8_t> blob;

  static File load(const std::string& name) {
    const std::string base = std::string(LATHE_SOURCE_DIR) + "/tests/golden/formats/" + name;
    std::ifstream json(base + ".json"), bin(base + ".bin", std::ios::binary);
    EXPECT_TRUE(json && bin) << base;
    File file;
    file.cases = nlohmann::json::parse(json).at("cases");
    file.blob.assign(std::istreambuf_iterator<char>(bin), {});
    return file;
  }

  // A named array of a case; empty if the case has none of that name.
  Bytes bytes(const nlohmann::json& test, const std::string& name) const {
    const auto& arrays = test.at("arrays");
    if (!arrays.contains(name)) return {};
    const auto& array = arrays.at(name);
    const std::string type = array.at("dtype");
    size_t size = type == "float32" ? 4 : 1;
    for (const size_t extent : array.at("shape")) size *= extent;
    const size_t offset = array.at("offset");
    EXPECT_LE(offset + size, blob.size());
    return Bytes::copy_of({blob.data() + offset, size});
  }
  std::vector<float> floats(const nlohmann::json& test, const std::string& name) const {
    const Bytes raw = bytes(test, name);
    return {raw.as<float>(), raw.as<float>() + raw.size() / 4};
  }
  std::vector<int64_t> shape(const nlohmann::json& test, const std::string& name) const {
    return test.at("arrays").at(name).at("shape");
  }
};

inline std::vector<uint64_t> splitmix(uint64_t seed, int64_t count) {
  std::vector<uint64_t> words(static_cast<size_t>(count));
  for (uint64_t& word : words) {
    seed += 0x9e3779b97f4a7c15u;
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    word = z ^ (z >> 31);
  }
  return words;
}

inline std::vector<float> bells(uint64_t seed, int64_t count) {
  std::vector<float> out;
  for (const uint64_t z : splitmix(seed, count)) {
    int64_t total = -2 * 65535;
    for (const int s : {0, 16, 32, 48}) total += static_cast<int64_t>((z >> s) & 0xffff);
    out.push_back(static_cast<float>(total) * 0x1.0p-18f);
  }
  return out;
}

inline std::vector<float> heavy(uint64_t seed, int64_t count) {
  std::vector<float> out = bells(seed, count);
  const std::vector<uint64_t> draws = splitmix(seed + 1, count);
  for (size_t i = 0; i < out.size(); ++i) {
    if (static_cast<float>(draws[i] >> 40) * 0x1.0p-24f < 0.02f) out[i] *= 20.0f;
  }
  return out;
}

inline std::vector<float> recipe(const nlohmann::json& test) {
  const int64_t count = test.at("rows").get<int64_t>() * test.at("cols").get<int64_t>();
  return test.at("recipe") == "heavy" ? heavy(test.at("seed"), count)
                                      : bells(test.at("seed"), count);
}

}  // namespace lathe::golden
