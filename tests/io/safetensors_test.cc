#include "lathe/io/safetensors.h"

#include <numeric>

#include "io_support.h"

namespace lathe {
namespace {

using nlohmann::json;

std::string file_text(std::string header, std::string_view data) {
  std::string text;
  put(text, static_cast<uint64_t>(header.size()));
  return text + header + std::string(data);
}

Result<SafetensorsFile> parse(const std::string& header, std::string_view data) {
  return SafetensorsFile::parse(bytes_of(file_text(header, data)), "x.safetensors");
}

TEST(Safetensors, ReadsWhatTheReferenceWrote) {
  auto file = SafetensorsFile::open(golden("all.safetensors"));
  ASSERT_OK(file);
  const json facts = golden_json("all.safetensors.json");
  EXPECT_EQ(file->tensors().size(), facts.size());
  for (const auto& [name, fact] : facts.items()) {
    const StoredTensor* tensor = file->find(name);
    ASSERT_TRUE(tensor) << name;
    EXPECT_EQ(json(tensor->shape), fact["shape"]) << name;
    EXPECT_EQ(hex_of(tensor->bytes.span()), fact["hex"]) << name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor->bytes.data()) % size_of(tensor->dtype), 0u);
  }
  EXPECT_EQ(file->find("bf16")->dtype, DType::kBF16);
  EXPECT_EQ(file->find("bool")->dtype, DType::kBool);
  EXPECT_EQ(file->metadata().at("note"), "a\nb");
  EXPECT_EQ(file->find("nothing"), nullptr);
}

TEST(Safetensors, RoundTripsTheReferencesFile) {
  auto file = SafetensorsFile::open(golden("all.safetensors"));
  ASSERT_OK(file);
  TempFolder folder;
  std::vector<SafetensorsWriter::Declared> declared;
  for (const auto& [name, t] : file->tensors()) declared.push_back({name, t.dtype, t.shape});
  auto writer = SafetensorsWriter::create(folder / "a.safetensors", declared, file->metadata());
  ASSERT_OK(writer);
  for (const auto& [name, t] : file->tensors()) ASSERT_OK(writer->append(t.bytes.span()));
  ASSERT_OK(writer->finish());
  auto again = SafetensorsFile::open(folder / "a.safetensors");
  ASSERT_OK(again);
  EXPECT_EQ(again->metadata(), file->metadata());
  ASSERT_EQ(again->tensors().size(), file->tensors().size());
  for (const auto& [name, t] : file->tensors()) {
    const StoredTensor* copy = again->find(name);
    ASSERT_TRUE(copy);
    EXPECT_EQ(copy->dtype, t.dtype);
    EXPECT_EQ(copy->shape, t.shape);
    EXPECT_EQ(hex_of(copy->bytes.span()), hex_of(t.bytes.span()));
  }
  EXPECT_EQ(folder.files(), 1u);
}

TEST(Safetensors, WriterAlignsWhateverTheOrder) {
  TempFolder folder;
  auto writer = SafetensorsWriter::create(
      folder / "a",
      {{"codes", DType::kU8, {3}}, {"scales", DType::kF32, {1}}, {"z", DType::kI64, {1}}}, {});
  ASSERT_OK(writer);
  const std::vector<uint8_t> codes = {1, 2, 3}, scales = {4, 5, 6, 7},
                             z = {8, 9, 10, 11, 12, 13, 14, 15};
  ASSERT_OK(writer->append(codes));
  ASSERT_OK(writer->append(scales));
  ASSERT_OK(writer->append(z));
  ASSERT_OK(writer->finish());
  const std::string text = slurp(folder / "a");
  uint64_t length = 0;
  std::memcpy(&length, text.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  EXPECT_EQ(hex_of(bytes_of(text.substr(8 + length)).span()), "08090a0b0c0d0e0f04050607010203");
  auto file = SafetensorsFile::open(folder / "a");
  ASSERT_OK(file);
  EXPECT_EQ(hex_of(file->find("codes")->bytes.span()), "010203");
  EXPECT_EQ(hex_of(file->find("scales")->bytes.span()), "04050607");
}

TEST(Safetensors, WriterTakesWhatTurnsOutSmaller) {
  TempFolder folder;
  auto writer = SafetensorsWriter::create(folder / "a",
                                          {{"values", DType::kU8, {1000}, true},
                                           {"scale", DType::kF32, {1}},
                                           {"more", DType::kU8, {100}, true},
                                           {"mask", DType::kU8, {2}}},
                                          {{"note", "x"}});
  ASSERT_OK(writer);
  const std::vector<uint8_t> values = {1, 2, 3}, scale = {4, 5, 6, 7}, more = {8}, mask = {9, 10};
  ASSERT_OK(writer->append(values));
  ASSERT_OK(writer->append(scale));
  ASSERT_OK(writer->append(more));
  ASSERT_OK(writer->append(mask));
  ASSERT_OK(writer->finish());
  auto file = SafetensorsFile::open(folder / "a");
  ASSERT_OK(file);
  EXPECT_EQ(file->find("values")->shape, std::vector<int64_t>{3});
  EXPECT_EQ(hex_of(file->find("values")->bytes.span()), "010203");
  EXPECT_EQ(hex_of(file->find("scale")->bytes.span()), "04050607");
  EXPECT_EQ(hex_of(file->find("more")->bytes.span()), "08");
  EXPECT_EQ(hex_of(file->find("mask")->bytes.span()), "090a");
  EXPECT_EQ(file->metadata().at("note"), "x");
  EXPECT_LT(file->file_bytes(), 500);
}

TEST(Safetensors, WriterRefuses) {
  TempFolder folder;
  EXPECT_ERROR(
      SafetensorsWriter::create(folder / "a", {{"w", DType::kF32, {int64_t{1} << 50}}}, {}),
      ErrorCode::kFailed, "free");
  EXPECT_ERROR(SafetensorsWriter::create(folder / "a",
                                         {{"w", DType::kF32, {1}}, {"w", DType::kF32, {1}}}, {}),
               ErrorCode::kBadInput, "two tensors");
  EXPECT_ERROR(SafetensorsWriter::create(
                   folder / "a", {{"w", DType::kF32, {int64_t{1} << 40, int64_t{1} << 40}}}, {}),
               ErrorCode::kBadInput, "too large");
  EXPECT_ERROR(SafetensorsWriter::create(folder / "a", {{"\xff", DType::kF32, {1}}}, {}),
               ErrorCode::kBadInput, "UTF-8");
  {
    auto dropped = SafetensorsWriter::create(folder / "a", {{"w", DType::kF32, {1}}}, {});
    ASSERT_OK(dropped);
  }
  EXPECT_EQ(folder.files(), 0u);
}

TEST(Safetensors, UnalignedFilesAreReadAligned) {
  auto file = parse(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                    R"("b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
                    "\x07\x01\x02\x03\x04");
  ASSERT_OK(file);
  const StoredTensor* b = file->find("b");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b->bytes.data()) % 4, 0u);
  EXPECT_EQ(hex_of(b->bytes.span()), "01020304");
}

struct Bad {
  const char *what, *header;
  size_t data_bytes;
  const char* message;
  ErrorCode code = ErrorCode::kBadInput;
};

class SafetensorsRefuses : public testing::TestWithParam<Bad> {};

TEST_P(SafetensorsRefuses, WithAClearMessage) {
  const Bad& bad = GetParam();
  EXPECT_ERROR(parse(bad.header, std::string(bad.data_bytes, 'x')), bad.code, bad.message);
}

#define T4 R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"
INSTANTIATE_TEST_SUITE_P(
    Each, SafetensorsRefuses,
    testing::Values(
        Bad{"NoBrace", " {}", 0, "does not begin"}, Bad{"Empty", "", 0, "does not begin"},
        Bad{"CutJson", R"({"a":{"dtype":)", 0, "not valid JSON"},
        Bad{"TwoValues", "{}{}", 0, "not valid JSON"},
        Bad{"Control", "{\"a\x01\":1}", 0, "not valid JSON"},
        Bad{"BadUtf8", "{\"a\xff\":1}", 0, "not valid JSON"},
        Bad{"NumberForTensor", R"({"a":1})", 0, "where none belongs"},
        Bad{"NullForTensor", R"({"a":null})", 0, "null where none belongs"},
        Bad{"ArrayForTensor", R"({"a":[]})", 0, "an array where none belongs"},
        Bad{"NumberInMetadata", R"({"__metadata__":{"a":1}})", 0, "a number where none belongs"},
        Bad{"MetadataNoObject", R"({"__metadata__":"a"})", 0, "a string where none belongs"},
        Bad{"MetadataTwice", R"({"__metadata__":{"a":"1","a":"2"}})", 0, "twice"},
        Bad{"NameTwice", "{\"a\":{" T4 "},\"a\":{" T4 "}}", 4, "'a' comes twice"},
        Bad{"FieldTwice", "{\"a\":{" T4 ",\"dtype\":\"F32\"}}", 4, "dtype twice"},
        Bad{"FieldUnknown", "{\"a\":{" T4 ",\"stride\":1}}", 4, "unknown key 'stride'"},
        Bad{"NoDtype", R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4, "lacks dtype"},
        Bad{"NoShape", R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "lacks shape"},
        Bad{"NoOffsets", R"({"a":{"dtype":"F32","shape":[1]}})", 4, "lacks data_offsets"},
        Bad{"OneOffset", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4,
            "two numbers"},
        Bad{"ThreeOffsets", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", 4,
            "where none belongs"},
        Bad{"Negative", R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4,
            "a negative number"},
        Bad{"Fraction", R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4,
            "not whole"},
        Bad{"Above63Bits",
            R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4,
            "2^63"},
        Bad{"Above64Bits",
            R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}})", 4,
            "not whole"},
        Bad{"Overflow",
            R"({"a":{"dtype":"F32","shape":[4294967296,4294967297],"data_offsets":[0,4]}})", 4,
            "does not fit"},
        Bad{"OverflowToZero",
            R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
            "does not fit"},
        Bad{"Dtype", R"({"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}})", 4, "F8_E4M3",
            ErrorCode::kUnsupported},
        Bad{"ShapeLies", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
            "does not fit"},
        Bad{"PastTheEnd", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4,
            "truncated"},
        Bad{"Backwards", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4,
            "before it begins"},
        Bad{"Overlap",
            R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
            6, "overlapping"},
        Bad{"Gap",
            R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})",
            6, "gap"},
        Bad{"GapAtStart", R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", 3, "gap"},
        Bad{"Trailing", R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 3,
            "1 bytes of data follow"},
        Bad{"TrailingNoTensors", "{}", 3, "3 bytes of data follow"}),
    [](const auto& info) { return info.param.what; });

TEST(Safetensors, RefusesLyingLengths) {
  const auto with_length = [](uint64_t length, size_t rest) {
    std::string text;
    put(text, length);
    return SafetensorsFile::parse(bytes_of(text + std::string(rest, ' ')), "x");
  };
  EXPECT_ERROR(SafetensorsFile::parse(bytes_of("1234567"), "x"), ErrorCode::kBadInput, "too few");
  EXPECT_ERROR(with_length(100, 10), ErrorCode::kBadInput, "truncated");
  EXPECT_ERROR(with_length(UINT64_MAX, 10), ErrorCode::kBadInput, "not a safetensors file");
  EXPECT_ERROR(with_length(100'000'001, 100'000'001), ErrorCode::kBadInput, "limit");
  EXPECT_ERROR(SafetensorsFile::open("/nowhere/x"), ErrorCode::kNotFound, "no such file");
}

TEST(Safetensors, DeepNestingCostsNothing) {
  std::string header = "{\"a\":";
  header.append(1'000'000, '[');
  EXPECT_ERROR(parse(header, ""), ErrorCode::kBadInput, "where none belongs");
}

// Every prefix of a real file is refused.
TEST(Safetensors, RefusesEveryTruncation) {
  const std::string whole = slurp(golden("all.safetensors"));
  for (size_t size = 0; size < whole.size(); ++size) {
    ASSERT_FALSE(SafetensorsFile::parse(bytes_of(whole.substr(0, size)), "x").ok()) << size;
  }
  EXPECT_TRUE(SafetensorsFile::parse(bytes_of(whole), "x").ok());
}

double sum_of(const StoredTensor& t) {
  std::vector<float> values(t.bytes.size() / static_cast<size_t>(size_of(t.dtype)));
  widen(t.dtype, t.bytes.data(), static_cast<int64_t>(values.size()), values.data());
  return std::accumulate(values.begin(), values.end(), 0.0);
}

TEST(Checkpoint, ReadsShardsOfTransformers) {
  auto model = SafetensorsFile::open_model(golden("sharded"));
  ASSERT_OK(model);
  const json sums = golden_json("sharded/sums.json");
  EXPECT_EQ(model->tensors().size(), sums.size());
  for (const auto& [name, sum] : sums.items()) {
    ASSERT_TRUE(model->find(name)) << name;
    EXPECT_NEAR(sum_of(*model->find(name)), sum.get<double>(), 1e-9) << name;
  }
  int64_t total = 0;
  for (const auto& entry : std::filesystem::directory_iterator(golden("sharded"))) {
    if (entry.path().extension() == ".safetensors")
      total += static_cast<int64_t>(entry.file_size());
  }
  EXPECT_EQ(model->file_bytes(), total);
}

void write_file(const std::string& path, const std::string& tensor) {
  spill(path,
        file_text("{\"" + tensor + "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
                  "x"));
}

TEST(Checkpoint, IndexAndShardsMustAgree) {
  TempFolder folder;
  const std::string index = folder / "model.safetensors.index.json";
  const auto with_map = [&](const json& map) {
    spill(index, json{{"weight_map", map}}.dump());
    return SafetensorsFile::open_model(folder.path());
  };
  write_file(folder / "one.safetensors", "a");
  write_file(folder / "two.safetensors", "b");
  ASSERT_OK(with_map({{"a", "one.safetensors"}, {"b", "two.safetensors"}}));
  EXPECT_ERROR(with_map({{"a", "two.safetensors"}, {"b", "two.safetensors"}}), ErrorCode::kBadInput,
               "'a' is not in it");
  EXPECT_ERROR(with_map({{"a", "one.safetensors"}, {"b", "one.safetensors"}}), ErrorCode::kBadInput,
               "'b' is not in it");
  EXPECT_ERROR(with_map({{"a", "one.safetensors"}, {"b", "three.safetensors"}}),
               ErrorCode::kNotFound, "incomplete download");
  for (const char* name : {"../one.safetensors", "/etc/passwd", "a/b", "..", "", "a\\b"}) {
    EXPECT_ERROR(with_map({{"a", name}}), ErrorCode::kBadInput, "no file of this directory");
  }
  EXPECT_ERROR(with_map({{"a", 1}}), ErrorCode::kBadInput, "names no file");
  EXPECT_ERROR(with_map(json::object()), ErrorCode::kBadInput, "empty");
  write_file(folder / "two.safetensors", "a");
  EXPECT_ERROR(with_map({{"a", "one.safetensors"}, {"b", "two.safetensors"}}), ErrorCode::kBadInput,
               "places in one.safetensors");
  spill(index, "{");
  EXPECT_ERROR(SafetensorsFile::open_model(folder.path()), ErrorCode::kBadInput, "not valid JSON");
  spill(index, "[]");
  EXPECT_ERROR(SafetensorsFile::open_model(folder.path()), ErrorCode::kBadInput, "weight_map");
}

TEST(Checkpoint, SaysWhatIsThereInstead) {
  TempFolder folder;
  EXPECT_ERROR(SafetensorsFile::open_model(folder / "no"), ErrorCode::kNotFound,
               "no such directory");
  EXPECT_ERROR(SafetensorsFile::open_model(folder.path()), ErrorCode::kNotFound, "complete?");
  spill(folder / "pytorch_model.bin", "x");
  EXPECT_ERROR(SafetensorsFile::open_model(folder.path()), ErrorCode::kUnsupported,
               "pickle files are never loaded");
  EXPECT_ERROR(SafetensorsFile::open_model(folder.path()), ErrorCode::kUnsupported,
               "safe_serialization=True");
  spill(folder / "m.gguf", "x");
  EXPECT_ERROR(SafetensorsFile::open_model(folder.path()), ErrorCode::kNotFound, "m.gguf");
}

TEST(Checkpoint, ReadsASharedModel) {
  const std::string path = shared_data("models/stories260K-hf");
  if (path.empty()) GTEST_SKIP() << "no shared data here; set LATHE_SHARED";
  auto model = SafetensorsFile::open_model(path);
  ASSERT_OK(model);
  ASSERT_TRUE(model->find("model.embed_tokens.weight"));
  EXPECT_EQ(model->find("model.embed_tokens.weight")->shape, (std::vector<int64_t>{512, 64}));
  EXPECT_EQ(model->file_bytes(), 1044992);
}

}  // namespace
}  // namespace lathe
