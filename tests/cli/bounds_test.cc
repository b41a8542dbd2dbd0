// Bounds that the program promises: the memory of a run, and the size of what it writes.
#include "cli_support.h"
#include "lathe/io/gguf_writer.h"
#include "support/llama_directory.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

constexpr double kAllowance = 150e6;  // over stored weights and cache

// The value of a row of `lathe … --json`.
double value_of(const nlohmann::json& result, const std::string& metric) {
  for (const auto& row : result["results"]) {
    if (row["metric"] == metric) return row["value"].get<double>();
  }
  ADD_FAILURE() << "no " << metric;
  return 0;
}

uint64_t weight_bytes(const std::string& model) {
  if (!fs::is_directory(model)) return fs::file_size(model);
  return fs::file_size(model + "/model.safetensors");
}

void expect_bounded(const std::string& model) {
  const auto outcome = test::run("profile " + model + " --json --threads 2 --prompt 64 " +
                                 "--generate 16 --repetitions 1");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto result = nlohmann::json::parse(outcome.out);
  const double peak = value_of(result, "peak_rss_bytes"), cache = value_of(result, "kv_bytes");
  const auto stored = static_cast<double>(weight_bytes(model));
  testing::Test::RecordProperty("peak_rss_bytes", std::to_string(peak));
  EXPECT_LE(peak, stored + cache + kAllowance)
      << model << ": " << peak / 1e6 << " MB at peak, " << stored / 1e6 << " MB stored, "
      << cache / 1e6 << " MB cache";
  fmt::print("{}: peak {:.1f} MB = stored {:.1f} + cache {:.1f} + {:.1f}\n",
             fs::path(model).filename().string(), peak / 1e6, stored / 1e6, cache / 1e6,
             (peak - stored - cache) / 1e6);
}

// The llama directory as a GGUF file: the same tensors under GGUF's names, as F16 or Q8_0, and the
// tokenizer of the bundled model.
void write_gguf(const std::string& directory, const test::LlamaShape& shape, uint32_t type,
                const std::string& path) {
  const auto tokenizer = nlohmann::json::parse(read_text(directory + "/tokenizer.json").value());
  std::vector<std::string> tokens(static_cast<size_t>(shape.vocab)), merges;
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = "<unused " + std::to_string(i) + ">";
  for (const auto& [token, id] : tokenizer["model"]["vocab"].items()) {
    tokens[id.get<size_t>()] = token;
  }
  for (const auto& merge : tokenizer["model"]["merges"]) {
    merges.push_back(merge.is_string()
                         ? merge.get<std::string>()
                         : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  GgufMetadata metadata;
  const auto number = [&](const char* key, int64_t value) {
    metadata.set(key, static_cast<uint32_t>(value));
  };
  metadata.set("general.architecture", std::string_view("llama"));
  number("llama.block_count", shape.layers);
  number("llama.context_length", 1024);
  number("llama.embedding_length", shape.hidden);
  number("llama.feed_forward_length", shape.ffn);
  number("llama.attention.head_count", shape.heads);
  number("llama.attention.head_count_kv", shape.heads);
  metadata.set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  metadata.set("tokenizer.ggml.model", std::string_view("gpt2"));
  metadata.set("tokenizer.ggml.pre", std::string_view("gpt-2"));
  metadata.set_array("tokenizer.ggml.tokens", tokens);
  metadata.set_array("tokenizer.ggml.merges", merges);
  number("tokenizer.ggml.bos_token_id", 0);
  number("tokenizer.ggml.eos_token_id", 1);

  std::vector<GgufWriter::Declared> declared;
  for (const test::NamedTensor& tensor : test::llama_tensors(shape)) {
    std::string name = tensor.name;
    const auto replace = [&](const char* from, const char* to) {
      if (const size_t at = name.find(from); at != std::string::npos) {
        name.replace(at, strlen(from), to);
      }
    };
    replace("model.embed_tokens", "token_embd");
    replace("model.layers.", "blk.");
    replace("model.norm", "output_norm");
    replace("input_layernorm", "attn_norm");
    replace("post_attention_layernorm", "ffn_norm");
    replace("self_attn.q_proj", "attn_q");
    replace("self_attn.k_proj", "attn_k");
    replace("self_attn.v_proj", "attn_v");
    replace("self_attn.o_proj", "attn_output");
    replace("mlp.gate_proj", "ffn_gate");
    replace("mlp.up_proj", "ffn_up");
    replace("mlp.down_proj", "ffn_down");
    declared.push_back({name, tensor.shape.size() == 1 ? 0u : type, tensor.shape});
  }
  auto writer = GgufWriter::create(path, metadata, declared);
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  Rng rng(7);
  for (const GgufWriter::Declared& tensor : declared) {
    int64_t count = 1;
    for (const int64_t dim : tensor.shape) count *= dim;
    std::vector<uint8_t> bytes;
    const auto put = [&](const auto& value) {
      const auto* raw = reinterpret_cast<const uint8_t*>(&value);
      bytes.insert(bytes.end(), raw, raw + sizeof(value));
    };
    if (tensor.type == 0) {
      for (int64_t i = 0; i < count; ++i) put(1.0f);
    } else if (tensor.type == 8) {  // blocks of an f16 scale (0x1400 is 2⁻¹⁰) and 32 codes
      for (int64_t block = 0; block < count / 32; ++block) {
        put(uint16_t{0x1400});
        for (int i = 0; i < 32; ++i) {
          put(static_cast<int8_t>(static_cast<int64_t>(rng.below(41)) - 20));
        }
      }
    } else {  // F16: signs and mantissas at random, exponents for about 0.01
      for (int64_t i = 0; i < count; ++i) {
        put(static_cast<uint16_t>((rng.next() & 0x83FF) | 0x2000));
      }
    }
    ASSERT_TRUE(writer->append(bytes).ok());
  }
  ASSERT_TRUE(writer->finish().ok());
}

TEST(Bounds, MemoryOfTheBundledModel) { expect_bounded(test::tiny()); }

TEST(Bounds, SlowMemoryOfALargerModel) {
  test::TemporaryFolder folder;
  test::LlamaShape shape;
  shape.hidden = 1024;
  shape.ffn = 2816;
  shape.layers = 6;
  shape.heads = 16;
  const std::string directory = folder.file("random");
  test::write_llama_directory(directory, shape, true);
  ASSERT_GT(weight_bytes(directory), 140u << 20);
  expect_bounded(directory);
  for (const uint32_t type : {1u, 8u}) {
    const std::string gguf = folder.file(type == 1 ? "random-f16.gguf" : "random-q8_0.gguf");
    write_gguf(directory, shape, type, gguf);
    expect_bounded(gguf);
  }
  for (const char* format : {"int8:row", "nf4:b64,dq", "int4:g128"}) {
    const std::string out = folder.file(format);
    ASSERT_EQ(test::run("compress " + directory + " -o " + out + " --format " + format).code, 0);
    expect_bounded(out);
  }
}

TEST(Bounds, Nf4IsBelowThirtyPercentOfF16) {
  test::TemporaryFolder folder;
  const auto linear_bytes = [&](const std::string& format) {
    const std::string out = folder.file(format);
    const auto outcome =
        test::run("compress " + test::tiny() + " -o " + out + " --json --format " + format);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    int64_t bytes = 0;
    const auto report = nlohmann::json::parse(outcome.out);
    for (const auto& layer : report["layers"]) {
      if (layer["name"].get<std::string>().find(".layers.") == std::string::npos) continue;
      EXPECT_EQ(layer["format"], format);
      bytes += layer["bytes"].get<int64_t>();
    }
    return static_cast<double>(bytes);
  };
  const double f16 = linear_bytes("f16");
  EXPECT_GT(f16, 1e6);
  EXPECT_LE(linear_bytes("nf4:b64") / f16, 0.30);
  EXPECT_LE(linear_bytes("nf4:b64,dq") / f16, 0.27);
}

}  // namespace
}  // namespace lathe
