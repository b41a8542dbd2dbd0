#include "lathe/io/gguf.h"

#include "io_support.h"
#include "lathe/io/ggml_block_sizes.h"
#include "lathe/io/gguf_writer.h"

namespace lathe {
namespace {

using nlohmann::json;

// Builds GGUF bytes by hand, so that every field can lie.
struct Draft {
  uint32_t version = 3;
  uint64_t tensor_count = 0, key_count = 0;
  std::string body;  // keys, then tensors
  std::string data;

  Draft& text(std::string_view t) {
    put(body, static_cast<uint64_t>(t.size()));
    body += t;
    return *this;
  }
  template <typename T>
  Draft& num(T value) {
    put(body, value);
    return *this;
  }
  Draft& key(std::string_view name, uint32_t type) {
    ++key_count;
    text(name);
    return num(type);
  }
  Draft& tensor(std::string_view name, std::vector<uint64_t> dims, uint32_t type, uint64_t offset) {
    ++tensor_count;
    text(name);
    num(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) num(dim);
    num(type);
    return num(offset);
  }
  std::string bytes() const {
    std::string out = "GGUF";
    put(out, version);
    put(out, tensor_count);
    put(out, key_count);
    out += body;
    out.resize((out.size() + 31) / 32 * 32, '\0');
    return out + data;
  }
  Result<GgufFile> parse() const { return GgufFile::parse(bytes_of(bytes()), "x.gguf"); }
};

TEST(Gguf, ReadsWhatTheReferenceWrote) {
  auto file = GgufFile::open(golden("all.gguf"));
  ASSERT_OK(file);
  EXPECT_EQ(file->string("general.architecture"), "llama");
  EXPECT_EQ(file->integer("t.u8"), 200);
  EXPECT_EQ(file->integer("t.i8"), -100);
  EXPECT_EQ(file->integer("t.u16"), 60000);
  EXPECT_EQ(file->integer("t.i16"), -30000);
  EXPECT_EQ(file->integer("t.u32"), 4'000'000'000);
  EXPECT_EQ(file->integer("t.i32"), -2'000'000'000);
  EXPECT_EQ(file->integer("t.u64"), std::nullopt);  // above 2^63
  EXPECT_EQ(std::get<uint64_t>(file->metadata().at("t.u64")), UINT64_MAX);
  EXPECT_EQ(file->integer("t.i64"), -(int64_t{1} << 62));
  EXPECT_EQ(file->number("t.f32"), double{0.1f});
  EXPECT_EQ(file->number("t.f64"), 0.1);
  EXPECT_EQ(file->number("t.u8"), 200.0);
  EXPECT_EQ(file->boolean("t.bool"), true);
  EXPECT_EQ(file->string("t.string"), "naïve 名\n");
  EXPECT_EQ(file->array("t.ints")->integers, (std::vector<int64_t>{-3, 0, 7}));
  EXPECT_EQ(file->array("t.floats")->numbers, (std::vector<double>{0.5, -1.25}));
  EXPECT_EQ(file->array("t.strings")->strings, (std::vector<std::string>{"a", "", "é"}));
  EXPECT_EQ(file->array("t.bools")->integers, (std::vector<int64_t>{1, 0}));
  EXPECT_FALSE(file->has("t.none"));
  EXPECT_EQ(file->integer("t.string"), std::nullopt);
  EXPECT_EQ(file->array("t.string"), nullptr);

  const json facts = golden_json("all.gguf.json");
  EXPECT_EQ(file->tensors().size(), facts.size());
  for (const auto& [name, fact] : facts.items()) {
    const GgufTensor* tensor = file->find(name);
    ASSERT_TRUE(tensor) << name;
    EXPECT_EQ(tensor->type, fact["type"].get<uint32_t>()) << name;
    EXPECT_EQ(json(tensor->shape), fact["shape"]) << name;
    EXPECT_EQ(hex_of(tensor->bytes.span()), fact["hex"]) << name;
  }
  EXPECT_EQ(file->find("nothing"), nullptr);
}

TEST(Gguf, BlockSizesAreTheReferences) {
  const json sizes = golden_json("ggml_sizes.json");
  std::map<uint32_t, std::string> expected;
  for (const auto& [key, fact] : sizes.items()) {
    std::string name = key;
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    expected[fact[0].get<uint32_t>()] =
        fmt::format("{} {} {}", name, fact[1].get<int64_t>(), fact[2].get<int64_t>());
  }
  for (uint32_t type = 0; type < 1000; ++type) {
    const auto block = ggml_block(type);
    const std::string actual =
        block ? fmt::format("{} {} {}", block->name, block->elements, block->bytes) : "";
    EXPECT_EQ(actual, expected[type]) << type;
  }
}

TEST(Gguf, WritesTheReferencesFileByteForByte) {
  auto file = GgufFile::open(golden("all.gguf"));
  ASSERT_OK(file);
  GgufMetadata metadata;
  metadata.set("general.architecture", "llama");
  metadata.set("t.u8", uint8_t{200});
  metadata.set("t.i8", int8_t{-100});
  metadata.set("t.u16", uint16_t{60000});
  metadata.set("t.i16", int16_t{-30000});
  metadata.set("t.u32", uint32_t{4'000'000'000});
  metadata.set("t.i32", int32_t{-2'000'000'000});
  metadata.set("t.u64", UINT64_MAX);
  metadata.set("t.i64", -(int64_t{1} << 62));
  metadata.set("t.f32", 0.1f);
  metadata.set("t.f64", 0.1);
  metadata.set("t.bool", true);
  metadata.set("t.string", "naïve 名\n");
  metadata.set_array<int32_t>("t.ints", std::vector<int32_t>{-3, 0, 7});
  metadata.set_array<float>("t.floats", std::vector<float>{0.5f, -1.25f});
  metadata.set_array("t.strings", std::vector<std::string>{"a", "", "é"});
  const bool bools[] = {true, false};
  metadata.set_array<bool>("t.bools", bools);
  for (const char* key :
       {"tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.scores"}) {
    metadata.set_raw(key, file->raw(key).span());
  }
  std::vector<GgufWriter::Declared> declared;
  for (const GgufTensor& t : file->tensors()) declared.push_back({t.name, t.type, t.shape});
  TempFolder folder;
  auto writer = GgufWriter::create(folder / "a.gguf", metadata, declared);
  ASSERT_OK(writer);
  for (const GgufTensor& t : file->tensors()) ASSERT_OK(writer->append(t.bytes.span()));
  ASSERT_OK(writer->finish());
  EXPECT_EQ(hex_of(bytes_of(slurp(folder / "a.gguf")).span()),
            hex_of(bytes_of(slurp(golden("all.gguf"))).span()));
  EXPECT_EQ(folder.files(), 1u);
}

TEST(Gguf, CarriesTheTokenizerAlone) {
  TempFolder folder;
  auto source = GgufFile::open(golden("all.gguf"));
  ASSERT_OK(source);
  ASSERT_OK(write_tokenizer_gguf(*source, folder / "tokenizer.gguf"));
  auto copy = GgufFile::open(folder / "tokenizer.gguf");
  ASSERT_OK(copy);
  EXPECT_TRUE(copy->tensors().empty());
  EXPECT_EQ(copy->metadata().size(), 4u);
  EXPECT_EQ(copy->string("general.architecture"), "llama");
  EXPECT_EQ(copy->array("tokenizer.ggml.tokens")->strings,
            source->array("tokenizer.ggml.tokens")->strings);
  EXPECT_EQ(copy->array("tokenizer.ggml.scores")->numbers,
            source->array("tokenizer.ggml.scores")->numbers);
  EXPECT_ERROR(write_tokenizer_gguf(*Draft().parse(), folder / "none"), ErrorCode::kNotFound,
               "no tokenizer");
}

TEST(Gguf, WriterRefuses) {
  TempFolder folder;
  const auto with = [&](std::vector<GgufWriter::Declared> tensors) {
    return GgufWriter::create(folder / "a", GgufMetadata(), tensors);
  };
  EXPECT_ERROR(with({{"w", 4, {32}}}), ErrorCode::kUnsupported, "type 4");
  EXPECT_ERROR(with({{"w", 2, {2, 33}}}), ErrorCode::kUnsupported, "blocks of 32");
  EXPECT_ERROR(with({{"w", 0, {}}}), ErrorCode::kUnsupported, "0 dimensions");
  EXPECT_ERROR(with({{"w", 0, {1}}, {"w", 0, {1}}}), ErrorCode::kBadInput, "two tensors");
  EXPECT_ERROR(with({{"w", 0, {int64_t{1} << 40, int64_t{1} << 40}}}), ErrorCode::kBadInput,
               "overflow");
  EXPECT_ERROR(with({{"w", 0, {int64_t{1} << 50}}}), ErrorCode::kFailed, "free");
  EXPECT_EQ(folder.files(), 0u);
}

TEST(Gguf, HonoursAlignment) {
  TempFolder folder;
  GgufMetadata metadata;
  metadata.set("general.alignment", uint32_t{64});
  auto writer = GgufWriter::create(folder / "a", metadata, {{"a", 24, {1}}, {"b", 24, {1}}});
  ASSERT_OK(writer);
  const uint8_t one = 1, two = 2;
  ASSERT_OK(writer->append({&one, 1}));
  ASSERT_OK(writer->append({&two, 1}));
  ASSERT_OK(writer->finish());
  auto file = GgufFile::open(folder / "a");
  ASSERT_OK(file);
  EXPECT_EQ(file->find("b")->bytes.data() - file->find("a")->bytes.data(), 64);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(file->find("a")->bytes.data()) % 64, 0u);
  EXPECT_EQ(*file->find("b")->bytes.data(), 2);
}

TEST(Gguf, AcceptsTheSmallest) {
  auto none = Draft().parse();
  ASSERT_OK(none);
  EXPECT_TRUE(none->tensors().empty());
  Draft v2;
  v2.version = 2;
  ASSERT_OK(v2.parse());
  Draft one;
  one.tensor("w", {4}, 0, 0).data = std::string(16, 'x');
  auto file = one.parse();
  ASSERT_OK(file);
  EXPECT_EQ(file->find("w")->bytes.size(), 16u);
}

TEST(Gguf, RefusesOtherVersions) {
  EXPECT_ERROR(GgufFile::parse(bytes_of("GGML"), "x"), ErrorCode::kBadInput, "not a GGUF file");
  EXPECT_ERROR(GgufFile::parse(Bytes(), "x"), ErrorCode::kBadInput, "not a GGUF file");
  Draft draft;
  draft.version = 1;
  EXPECT_ERROR(draft.parse(), ErrorCode::kUnsupported, "version 1");
  draft.version = 0x03000000;
  EXPECT_ERROR(draft.parse(), ErrorCode::kUnsupported, "big-endian");
}

TEST(Gguf, RefusesLyingCounts) {
  Draft draft;
  draft.tensor_count = uint64_t{1} << 60;
  EXPECT_ERROR(draft.parse(), ErrorCode::kBadInput, "too many");
  draft = {};
  draft.key_count = UINT64_MAX;
  EXPECT_ERROR(draft.parse(), ErrorCode::kBadInput, "too many");
  draft = {};
  draft.key("a", 9).num(uint32_t{0}).num(UINT64_MAX);
  EXPECT_ERROR(draft.parse(), ErrorCode::kBadInput, "the file ends in 'a'");
  draft = {};
  draft.key("a", 8).num(UINT64_MAX);
  EXPECT_ERROR(draft.parse(), ErrorCode::kBadInput, "the file ends in 'a'");
  draft = {};
  draft.key_count = 1;
  draft.num(uint64_t{1} << 40).num(uint64_t{0});
  EXPECT_ERROR(draft.parse(), ErrorCode::kBadInput, "the file ends in a key");
  draft = {};
  draft.key(std::string(70000, 'k'), 0).num(uint64_t{0});
  EXPECT_ERROR(draft.parse(), ErrorCode::kBadInput, "65535");
}

TEST(Gguf, RefusesBadValues) {
  EXPECT_ERROR(Draft().key("a", 13).num(uint64_t{0}).parse(), ErrorCode::kBadInput,
               "unknown type 13");
  EXPECT_ERROR(Draft().key("a", 9).num(uint32_t{9}).num(uint64_t{1}).parse(),
               ErrorCode::kUnsupported, "array of arrays");
  EXPECT_ERROR(Draft().key("a", 9).num(uint32_t{77}).num(uint64_t{1}).parse(), ErrorCode::kBadInput,
               "unknown type 77");
  EXPECT_ERROR(Draft().key("a", 7).num(uint8_t{2}).parse(), ErrorCode::kBadInput, "boolean");
  EXPECT_ERROR(Draft().key("a", 9).num(uint32_t{10}).num(uint64_t{1}).num(UINT64_MAX).parse(),
               ErrorCode::kBadInput, "2^63");
  EXPECT_ERROR(Draft().key("a", 0).num(uint8_t{2}).key("a", 0).num(uint8_t{2}).parse(),
               ErrorCode::kBadInput, "twice");
  for (const uint32_t alignment : {0u, 4u, 24u, 1u << 21}) {
    EXPECT_ERROR(Draft().key("general.alignment", 4).num(alignment).parse(), ErrorCode::kBadInput,
                 "power of two");
  }
  EXPECT_ERROR(Draft().key("general.alignment", 8).text("32").parse(), ErrorCode::kBadInput,
               "power of two");
}

TEST(Gguf, RefusesBadTensors) {
  const auto with = [](std::vector<uint64_t> dims, uint32_t type, uint64_t offset, size_t data) {
    Draft draft;
    draft.tensor("w", std::move(dims), type, offset).data = std::string(data, 'x');
    return draft.parse();
  };
  EXPECT_ERROR(with({}, 0, 0, 64), ErrorCode::kBadInput, "0 dimensions");
  EXPECT_ERROR(with({1, 1, 1, 1, 1}, 0, 0, 64), ErrorCode::kBadInput, "5 dimensions");
  EXPECT_ERROR(with({0}, 0, 0, 64), ErrorCode::kBadInput, "dimension of 0");
  EXPECT_ERROR(with({UINT64_MAX}, 0, 0, 64), ErrorCode::kBadInput, "dimension of");
  EXPECT_ERROR(with({uint64_t{1} << 62, 4}, 24, 0, 64), ErrorCode::kBadInput, "overflow");
  EXPECT_ERROR(with({uint64_t{1} << 62, 2}, 24, 0, 64), ErrorCode::kBadInput, "overflow");
  EXPECT_ERROR(with({uint64_t{1} << 60}, 28, 0, 64), ErrorCode::kBadInput, "needs");
  EXPECT_ERROR(with({33}, 2, 0, 64), ErrorCode::kBadInput, "blocks of 32");
  EXPECT_ERROR(with({32}, 4, 0, 64), ErrorCode::kUnsupported, "ggml type 4");
  EXPECT_ERROR(with({32}, 4000, 0, 64), ErrorCode::kUnsupported, "ggml type 4000");
  EXPECT_ERROR(with({4}, 0, 8, 64), ErrorCode::kBadInput, "multiple of 32");
  EXPECT_ERROR(with({17}, 0, 0, 64), ErrorCode::kBadInput, "truncated");
  EXPECT_ERROR(with({4}, 0, 96, 64), ErrorCode::kBadInput, "truncated");
  EXPECT_ERROR(with({4}, 0, UINT64_MAX - 31, 64), ErrorCode::kBadInput, "truncated");
  EXPECT_ERROR(
      [] {
        Draft draft;
        draft.tensor("v", {16}, 0, 0).tensor("w", {16}, 0, 32).data = std::string(128, 'x');
        return draft.parse();
      }(),
      ErrorCode::kBadInput, "'v' and 'w' overlap");
  EXPECT_ERROR(
      [] {
        Draft draft;
        draft.tensor("w", {4}, 0, 0).tensor("w", {4}, 0, 32).data = std::string(128, 'x');
        return draft.parse();
      }(),
      ErrorCode::kBadInput, "twice");
}

// Every prefix of a real file is refused, up to the padding behind the last tensor.
TEST(Gguf, RefusesEveryTruncation) {
  const std::string whole = slurp(golden("all.gguf"));
  auto file = GgufFile::parse(bytes_of(whole), "x");
  ASSERT_OK(file);
  const GgufTensor& last = file->tensors().back();
  const auto end =
      static_cast<size_t>(last.bytes.data() - file->header_bytes().data()) + last.bytes.size();
  for (size_t size = 0; size < end; ++size) {
    ASSERT_FALSE(GgufFile::parse(bytes_of(whole.substr(0, size)), "x").ok()) << size;
  }
  EXPECT_TRUE(GgufFile::parse(bytes_of(whole.substr(0, end)), "x").ok());
}

TEST(Gguf, ReadsASharedModel) {
  const std::string path = shared_data("models/stories260K/stories260K.gguf");
  if (path.empty()) GTEST_SKIP() << "no shared data here; set LATHE_SHARED";
  auto file = GgufFile::open(path);
  ASSERT_OK(file);
  EXPECT_EQ(file->string("general.architecture"), "llama");
  ASSERT_TRUE(file->find("token_embd.weight"));
  EXPECT_EQ(file->find("token_embd.weight")->shape, (std::vector<int64_t>{512, 64}));
  EXPECT_EQ(file->array("tokenizer.ggml.tokens")->strings.size(), 512u);
}

}  // namespace
}  // namespace lathe
