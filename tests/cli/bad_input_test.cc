// Model files that lie, through the program. One error that says what, where and, if it helps, what
// to do; exit code 2; nothing half-written.
#include <functional>

#include "cli_support.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::expect_one_error;
using test::tiny;
using test::write_file;

std::string bytes_of(const std::string& path) { return read_text(path).value(); }

template <typename T>
std::string raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

// A copy of the bundled model, to be damaged.
class BadModel : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(model_);
    for (const auto& entry : fs::directory_iterator(tiny())) {
      if (entry.is_regular_file()) fs::copy_file(entry.path(), model_ / entry.path().filename());
    }
  }
  std::string file(const std::string& name) const { return (model_ / name).string(); }
  test::Outcome inspect() const { return test::run("inspect " + model_.string()); }
  test::Outcome load() const { return test::run("run -p x -n 1 " + model_.string()); }

  test::TemporaryFolder folder_;
  const fs::path model_ = folder_.file("model");
};

class BadSafetensors : public BadModel {
 protected:
  void SetUp() override {
    BadModel::SetUp();
    const std::string all = bytes_of(file("model.safetensors"));
    uint64_t length = 0;
    memcpy(&length, all.data(), 8);
    header_ = json::parse(all.substr(8, length));
    data_ = all.substr(8 + length);
  }
  // The file with another header.
  test::Outcome with_header(const std::string& text) const {
    write_file(file("model.safetensors"), raw<uint64_t>(text.size()) + text + data_);
    return inspect();
  }
  test::Outcome with(const std::function<void(json&)>& change) const {
    json header = header_;
    change(header);
    return with_header(header.dump());
  }
  const std::string name_ = "model.layers.0.self_attn.q_proj.weight";
  json header_;
  std::string data_;
};

TEST_F(BadSafetensors, TruncatedAnywhere) {
  const std::string all = bytes_of(file("model.safetensors"));
  for (const size_t size :
       {size_t{0}, size_t{7}, size_t{8}, size_t{100}, all.size() / 2, all.size() - 1}) {
    SCOPED_TRACE(size);
    write_file(file("model.safetensors"), all.substr(0, size));
    expect_one_error(inspect(), 2, {"model.safetensors"});
  }
}

TEST_F(BadSafetensors, Oversized) {
  write_file(file("model.safetensors"), bytes_of(file("model.safetensors")) + "more");
  expect_one_error(inspect(), 2, {"model.safetensors", "4 bytes of data follow the last tensor"});
}

TEST_F(BadSafetensors, HeaderLengthLies) {
  const std::string rest = bytes_of(file("model.safetensors")).substr(8);
  for (const uint64_t length : {uint64_t{0}, uint64_t{1} << 63, ~uint64_t{0}, rest.size() + 1}) {
    SCOPED_TRACE(length);
    write_file(file("model.safetensors"), raw(length) + rest);
    expect_one_error(inspect(), 2, {"model.safetensors"});
  }
}

TEST_F(BadSafetensors, HeaderIsNoHeader) {
  for (const char* text : {"", "[]", "{", "{\"a\": 1}", "{\"a\": {}}", "null", "{}x", "\xff\xfe"}) {
    SCOPED_TRACE(text);
    expect_one_error(with_header(text), 2, {"model.safetensors"});
  }
}

TEST_F(BadSafetensors, OffsetsLie) {
  const std::vector<std::pair<const char*, std::function<void(json&)>>> cases = {
      {"ends at byte", [](json& t) { t["data_offsets"][1] = int64_t{1} << 40; }},
      {"",
       [](json& t) {
         t["data_offsets"] = {int64_t{1} << 62, (int64_t{1} << 62) + 4};
       }},
      {"", [](json& t) { t["data_offsets"][0] = t["data_offsets"][0].get<int64_t>() - 2; }},
      {"before it begins", [](json& t) { t["data_offsets"][1] = 0; }},
      {"negative", [](json& t) { t["data_offsets"][0] = -8; }},
      {"two numbers", [](json& t) { t["data_offsets"] = {0}; }},
      {"", [](json& t) { t["data_offsets"] = "all"; }},
      {"not whole", [](json& t) { t["data_offsets"][0] = 0.5; }},
      {"data_offsets", [](json& t) { t.erase("data_offsets"); }},
  };
  for (const auto& [words, change] : cases) {
    const auto outcome = with([&, &change = change](json& h) { change(h[name_]); });
    SCOPED_TRACE(outcome.err);
    expect_one_error(outcome, 2, {"model.safetensors", words});
  }
  // Two tensors in one place.
  const auto overlapping = with([&](json& h) {
    h["model.layers.1.self_attn.q_proj.weight"]["data_offsets"] = h[name_]["data_offsets"];
  });
  expect_one_error(overlapping, 2, {"overlapping tensors"});
}

TEST_F(BadSafetensors, ShapesAndTypesLie) {
  const std::vector<std::pair<const char*, std::function<void(json&)>>> cases = {
      {"does not fit",
       [](json& t) {
         t["shape"] = {int64_t{1} << 40, int64_t{1} << 40};
       }},
      {"does not fit",
       [](json& t) {
         t["shape"] = {int64_t{1} << 62, 8};
       }},
      {"does not fit",
       [](json& t) {
         t["shape"] = {256, 255};
       }},
      {"negative",
       [](json& t) {
         t["shape"] = {-256, -256};
       }},
      {"", [](json& t) { t["shape"] = nullptr; }},
      {"'Q9'", [](json& t) { t["dtype"] = "Q9"; }},
      {"does not fit", [](json& t) { t["dtype"] = "F32"; }},
      {"shape [128, 512]",
       [](json& t) {
         t["shape"] = {128, 512};
       }},
      {"I16", [](json& t) { t["dtype"] = "I16"; }},
  };
  for (const auto& [words, change] : cases) {
    const auto outcome = with([&, &change = change](json& h) { change(h[name_]); });
    SCOPED_TRACE(outcome.err);
    expect_one_error(outcome, 2, {name_, words});
  }
}

TEST_F(BadSafetensors, TensorsAreMissing) {
  const auto outcome = with([&](json& h) {
    h["another"] = h[name_];
    h.erase(name_);
  });
  expect_one_error(outcome, 2, {name_, "missing", "incomplete"});
  fs::remove(file("model.safetensors"));
  expect_one_error(inspect(), 2, {"model.safetensors"});
}

TEST_F(BadSafetensors, NumbersThatAreNone) {
  // The final norm is what `run` reads as floats.
  json header = header_;
  const auto at = header["model.norm.weight"]["data_offsets"][0].get<size_t>();
  std::string data = data_;
  data.replace(at, 2, raw<uint16_t>(0x7FC0));  // a NaN in BF16
  const std::string text = header.dump();
  write_file(file("model.safetensors"), raw<uint64_t>(text.size()) + text + data);
  expect_one_error(load(), 2, {"model.norm.weight", "nan"});
}

TEST_F(BadModel, Index) {
  fs::remove(file("model.safetensors"));
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"{", ""},
      {"[]", ""},
      {"{}", "weight_map"},
      {R"({"weight_map": []})", "weight_map"},
      {R"({"weight_map": {"a": 1}})", ""},
      {R"({"weight_map": {"a": "nowhere.safetensors"}})", "nowhere.safetensors"},
      {R"({"weight_map": {"a": "../../etc/passwd"}})", ""},
      {R"({"weight_map": {"a": "/etc/passwd"}})", ""},
  };
  for (const auto& [text, words] : cases) {
    SCOPED_TRACE(text);
    write_file(file("model.safetensors.index.json"), text);
    expect_one_error(inspect(), 2, {words});
  }
}

TEST_F(BadModel, ConfigJson) {
  const json good = json::parse(bytes_of(file("config.json")));
  const auto with = [&](const char* key, const json& value) {
    json changed = good;
    changed[key] = value;
    write_file(file("config.json"), changed.dump());
    return inspect();
  };
  for (const char* text : {"", "{", "[]", "null", "{}", "\xff"}) {
    SCOPED_TRACE(text);
    write_file(file("config.json"), text);
    expect_one_error(inspect(), 2, {"config.json"});
  }
  expect_one_error(with("model_type", "lama"), 2, {"'lama'", "llama"});
  expect_one_error(with("model_type", 5), 2, {"model_type"});
  expect_one_error(with("hidden_size", -1), 2, {"config.json", "hidden"});
  expect_one_error(with("hidden_size", "big"), 2, {"config.json", "hidden_size"});
  expect_one_error(with("hidden_size", 1e300), 2, {"config.json", "hidden_size"});
  expect_one_error(with("hidden_size", int64_t{1} << 40), 2, {"config.json", "hidden"});
  expect_one_error(with("num_hidden_layers", int64_t{1} << 60), 2, {"config.json", "layers"});
  expect_one_error(with("num_hidden_layers", 0), 2, {"config.json", "layers"});
  expect_one_error(with("num_hidden_layers", 5), 2, {"model.layers.4", "missing"});
  expect_one_error(with("num_attention_heads", 7), 2, {"config.json"});
  expect_one_error(with("num_key_value_heads", 3), 2, {"config.json", "evenly"});
  expect_one_error(with("rms_norm_eps", -1), 2, {"config.json"});
  expect_one_error(with("rope_theta", 0), 2, {"config.json", "theta"});
  expect_one_error(with("rope_scaling", {{"rope_type", "spiral"}, {"factor", 2}}), 2, {"spiral"});
  expect_one_error(with("hidden_act", "swishy"), 2, {"swishy"});
  expect_one_error(with("hidden_size", 512), 2, {"shape"});
  expect_one_error(with("vocab_size", 4096), 2, {"embed_tokens", "4096"});
  expect_one_error(with("quantization_config", {{"bits", 4}}), 2, {"quantization_config"});
  fs::remove(file("config.json"));
  expect_one_error(inspect(), 2, {"no config.json", "a model is a directory"});
}

TEST_F(BadModel, Tokenizer) {
  const std::string good = bytes_of(file("tokenizer.json"));
  for (const std::string& text :
       {std::string(), std::string("{}"), std::string("[1]"), good.substr(0, good.size() / 2)}) {
    SCOPED_TRACE(text.size());
    write_file(file("tokenizer.json"), text);
    expect_one_error(load(), 2, {"tokenizer.json"});
  }
  // One of another model: more tokens than the embedding has rows.
  json other = json::parse(good);
  for (int i = 0; i < 3000; ++i) {
    other["model"]["vocab"]["<another " + std::to_string(i) + ">"] = 2048 + i;
  }
  write_file(file("tokenizer.json"), other.dump());
  expect_one_error(load(), 2, {"tokens", "the model only 2048", "another model"});
  fs::remove(file("tokenizer.json"));
  expect_one_error(load(), 2, {"tokenizer"});
}

TEST_F(BadModel, LatheJson) {
  const std::string out = folder_.file("out");
  ASSERT_EQ(test::run("compress " + tiny() + " -o " + out + " --format int4:g32").code, 0);
  const std::string path = out + "/lathe.json", good = bytes_of(path);
  const auto inspect_with = [&](const std::function<void(json&)>& change) {
    json changed = json::parse(good);
    change(changed);
    write_file(path, changed.dump());
    return test::run("inspect " + out);
  };
  const char* matrix = "model.layers.0.mlp.up_proj";
  write_file(path, good.substr(0, good.size() / 2));
  expect_one_error(test::run("inspect " + out), 2, {"lathe.json"});
  expect_one_error(inspect_with([](json& j) { j["lathe_checkpoint"] = 2; }), 2, {"version 1"});
  expect_one_error(inspect_with([](json& j) { j.erase("matrices"); }), 2, {"matrices"});
  expect_one_error(inspect_with([](json& j) { j["config"]["layers"] = "four"; }), 2, {"layers"});
  expect_one_error(inspect_with([&](json& j) { j["matrices"][matrix]["format"] = "int5"; }), 2,
                   {"int5"});
  expect_one_error(inspect_with([&](json& j) { j["matrices"][matrix]["format"] = "int4:g64"; }), 2,
                   {matrix});
  expect_one_error(inspect_with([&](json& j) { j["matrices"][matrix]["rows"] = -1; }), 2, {matrix});
  expect_one_error(inspect_with([&](json& j) { j["matrices"].erase(matrix); }), 2,
                   {matrix, "missing"});
  write_file(path, good);
  fs::resize_file(out + "/model.safetensors", 5000);
  expect_one_error(test::run("inspect " + out), 2, {"model.safetensors"});
}

std::string gguf_text(const std::string& text) { return raw<uint64_t>(text.size()) + text; }

TEST(BadGguf, LyingFiles) {
  test::TemporaryFolder folder;
  const std::string path = folder.file("x.gguf");
  const auto inspect = [&](const std::string& bytes) {
    write_file(path, bytes);
    return test::run("inspect " + path);
  };
  const auto head = [](uint64_t tensors, uint64_t keys) {
    return "GGUF" + raw<uint32_t>(3) + raw(tensors) + raw(keys);
  };
  const std::string key = gguf_text("general.architecture") + raw<uint32_t>(8) + gguf_text("llama");
  const auto tensor = [](const std::string& name, std::vector<uint64_t> dims, uint32_t type,
                         uint64_t offset) {
    std::string out = gguf_text(name) + raw<uint32_t>(static_cast<uint32_t>(dims.size()));
    for (const uint64_t d : dims) out += raw(d);
    return out + raw(type) + raw(offset);
  };
  const uint64_t absurd = uint64_t{1} << 60;
  const std::vector<std::string> cases = {
      "",
      "GGUF",
      "GGML" + raw<uint32_t>(3),
      "GGUF" + raw<uint32_t>(99) + raw<uint64_t>(0) + raw<uint64_t>(0),
      head(0, 0),
      head(absurd, 0),
      head(0, absurd),
      head(~uint64_t{0}, ~uint64_t{0}),
      head(0, 1) + raw(absurd) + "general",
      head(0, 1) + gguf_text("k") + raw<uint32_t>(77),
      head(0, 1) + gguf_text("k") + raw<uint32_t>(9) + raw<uint32_t>(8) + raw(absurd),
      head(0, 1) + gguf_text("k") + raw<uint32_t>(9) + raw<uint32_t>(9) + raw<uint64_t>(1),
      head(0, 2) + key + key,
      head(1, 1) + key + tensor("t", {absurd, absurd}, 0, 0),
      head(1, 1) + key + tensor("t", {32}, 0, absurd),
      head(1, 1) + key + tensor("t", {32}, 0, 7),
      head(1, 1) + key + tensor("t", {32}, 250, 0),
      head(1, 1) + key + tensor("t", {1, 1, 1, 1, 1, 1}, 0, 0),
      head(1, 1) + key + tensor("t", {1024}, 0, 0) + std::string(64, 'x'),
      head(2, 1) + key + tensor("t", {8}, 0, 0) + tensor("t", {8}, 0, 0) + std::string(128, 0),
      head(0, 1) + key,
      head(0, 1) + gguf_text("general.architecture") + raw<uint32_t>(8) + gguf_text("lamma"),
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(i);
    expect_one_error(inspect(cases[i]), 2, {"x.gguf"});
  }
}

TEST(BadGguf, TruncatedAnywhere) {
  test::TemporaryFolder folder;
  const std::string path = folder.file("x.gguf");
  const std::string golden = test::source_file("tests/golden/families/llama-gguf");
  std::string all;
  for (const auto& entry : fs::directory_iterator(golden)) {
    if (entry.path().extension() == ".gguf") all = bytes_of(entry.path().string());
  }
  ASSERT_FALSE(all.empty());
  for (size_t part = 0; part < 12; ++part) {
    SCOPED_TRACE(part);
    write_file(path, all.substr(0, all.size() * part / 12));
    expect_one_error(test::run("inspect " + path), 2, {"x.gguf"});
  }
}

}  // namespace
}  // namespace lathe
