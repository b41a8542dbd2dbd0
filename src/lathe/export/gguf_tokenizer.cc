#include "lathe/export/gguf_tokenizer.h"

#include <filesystem>
#include <set>

#include "lathe/base/mapped_file.h"
#include "lathe/export/token_table.h"
#include "lathe/generate/engine.h"
#include "lathe/io/gguf.h"
#include "lathe/text/bpe_schemes.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

// Texts that tell the known schemes apart: contractions in both cases, runs of digits, words that
// change case, spaces, line ends, punctuation, scripts, composed and decomposed accents, emoji.
constexpr const char* kProbes[] = {
    "Hello world! It's the cats' 2nd day; they'll say WE'LL, I'VE, don't, DON'T and he'd've.",
    "1 12 123 1234 12345 1234567890 3.14159 -42 1,000,000 0x1F 2024-05-06T07:08:09Z v1.2.3",
    "  two  spaces   three\tand\ttabs\n\nblank line\r\nwindows\n \n   indented\n\t\tdeep   ",
    "camelCase PascalCase snake_case SCREAMING_CASE iPhone McDonald XMLHttpRequest a1b2c3",
    "def f(x):\n    return {'a': [1, 2], \"b\": x**2 != 3}  # note\n#include <a.h>\n\n\n",
    "«Zażółć gęślą jaźń» naïve café cafe\xcc\x81 Ångström Größe ŒUVRE İstanbul",
    "Съешь же ещё этих мягких французских булок. Ελληνικά: ταχεία αλώπηξ. 123абв456",
    "敏捷的棕色狐狸跳过懒狗。日本語のテキスト、カタカナ。한국어 문장입니다 中文123英文abc",
    "مرحبا بالعالم ١٢٣٤ שלום עולם नमस्ते दुनिया १२३ สวัสดีชาวโลก",
    "🙂🙃 👩‍👩‍👧‍👦 🇩🇪 ",
    "½ ¼ ² ³ ™ © € £ ¥ … – — ‘single’ “double” ((nested)) [x] ",
    "{y} <z> a/b\\c @me #tag",
    "Mr. O'Neil said: \"...what?!\" --- and left/right//path $5.00 100% a+b=c ~ ^ | `code`",
    " leading",
    "trailing ",
    "\n",
    " ",
    "a",
    "",
};

class Candidate {
 public:
  explicit Candidate(const Tokenizer& source) : source_(source) {}

  // Whether the tokenizer that these keys describe gives the ids of the source.
  bool matches(const GgufMetadata& tokenizer_keys) const {
    const std::string bytes = file_with(tokenizer_keys);
    const Bytes copy =
        Bytes::copy_of({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
    const auto file = GgufFile::parse(copy, "exported tokenizer");
    if (!file.ok()) return false;
    const auto found = load_tokenizer(*file);
    if (!found.ok()) return false;
    for (const char* text : kProbes) {
      if ((*found)->encode(text) != source_.encode(text)) return false;
    }
    return true;
  }

 private:
  // A GGUF file with these keys and no tensors (layout: ggml's docs/gguf.md).
  static std::string file_with(const GgufMetadata& metadata) {
    std::string out = "GGUF";
    const auto put = [&](const auto value) {
      out.append(reinterpret_cast<const char*>(&value), sizeof(value));
    };
    put(uint32_t{3});
    put(uint64_t{0});
    put(uint64_t{metadata.entries().size()});
    for (const GgufMetadata::Entry& entry : metadata.entries()) {
      put(uint64_t{entry.key.size()});
      out += entry.key;
      out += entry.value;
    }
    out.resize((out.size() + 31) / 32 * 32);
    return out;
  }

  const Tokenizer& source_;
};

void set_table(const TokenTable& table, GgufMetadata& out) {
  out.set("tokenizer.ggml.model", std::string_view(table.model));
  out.set_array("tokenizer.ggml.tokens", std::span<const std::string>(table.tokens));
  if (!table.scores.empty()) {
    out.set_array("tokenizer.ggml.scores", std::span<const float>(table.scores));
  }
  out.set_array("tokenizer.ggml.token_type", std::span<const int32_t>(table.types));
  if (table.model == "gpt2") {
    out.set_array("tokenizer.ggml.merges", std::span<const std::string>(table.merges));
  }
  if (!table.charsmap.empty()) {
    out.set_array(
        "tokenizer.ggml.precompiled_charsmap",
        std::span(reinterpret_cast<const uint8_t*>(table.charsmap.data()), table.charsmap.size()));
  }
  if (table.unknown >= 0) {
    out.set("tokenizer.ggml.unknown_token_id", static_cast<uint32_t>(table.unknown));
  }
}

// Ids, what encode() adds, and the chat template.
void set_special(const Tokenizer& tokenizer, const ModelConfig& config, GgufMetadata& out) {
  if (const auto bos = tokenizer.bos()) {
    out.set("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(*bos));
  }
  if (const auto eos = tokenizer.eos()) {
    out.set("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(*eos));
    // A second id that ends generation: the end of a turn.
    for (const int64_t id : config.eos) {
      if (id != *eos && id >= 0 && id < config.vocab) {
        out.set("tokenizer.ggml.eot_token_id", static_cast<uint32_t>(id));
        break;
      }
    }
  }
  const std::vector<TokenId> ids = tokenizer.encode("a");
  out.set("tokenizer.ggml.add_bos_token", tokenizer.adds_bos());
  out.set("tokenizer.ggml.add_eos_token",
          tokenizer.eos() && ids.size() > 1 && ids.back() == *tokenizer.eos());
  if (!tokenizer.chat_template().empty()) {
    out.set("tokenizer.chat_template", std::string_view(tokenizer.chat_template()));
  }
}

Result<GgufMetadata> find_rules(const TokenTable& table, const Tokenizer& tokenizer,
                                const ModelConfig& config) {
  GgufMetadata base;
  base.set("general.architecture", "llama");
  set_table(table, base);
  set_special(tokenizer, config, base);
  const Candidate candidate(tokenizer);
  if (table.model == "gpt2") {
    std::set<const text::BpeScheme*> tried;
    for (const std::string& name : text::bpe_scheme_names()) {
      if (!tried.insert(text::find_bpe_scheme(name)).second) continue;
      GgufMetadata keys = base;
      keys.set("tokenizer.ggml.pre", std::string_view(name));
      if (candidate.matches(keys)) return keys;
    }
    return unsupported(
               "the tokenizer cuts text into words in a way that no 'tokenizer.ggml.pre' known to "
               "Lathe does")
        .with_hint("export with another tokenizer, or as a Hugging Face directory");
  }
  base.set("tokenizer.ggml.pre", "default");
  for (const bool prefix : {true, false}) {
    for (const bool strip : {false, true}) {
      GgufMetadata keys = base;
      keys.set("tokenizer.ggml.add_space_prefix", prefix);
      keys.set("tokenizer.ggml.remove_extra_whitespaces", strip);
      if (candidate.matches(keys)) return keys;
    }
  }
  return unsupported("the tokenizer's rules cannot be said in GGUF ('{}' vocabulary)", table.model)
      .with_hint("export it as a Hugging Face directory");
}

Status copy_keys(const std::string& path, GgufMetadata& metadata, bool* found) {
  LATHE_TRY(const GgufFile file, GgufFile::open(path));
  for (const auto& [key, value] : file.metadata()) {
    if (!key.starts_with("tokenizer.")) continue;
    metadata.set_raw(key, file.raw(key).span());
    *found = true;
  }
  return {};
}

}  // namespace

Result<bool> set_gguf_tokenizer(const Checkpoint& source, GgufMetadata& metadata) {
  std::string path = source.tokenizer_path();
  std::error_code error;
  bool found = false;
  const fs::path directory(path);
  bool has_files = false;
  for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json"}) {
    has_files = has_files || fs::exists(directory / name, error);
  }
  if (!has_files && fs::exists(directory / "tokenizer.gguf", error)) path += "/tokenizer.gguf";
  if (path.ends_with(".gguf")) {
    LATHE_OK(copy_keys(path, metadata, &found));
    return found;
  }
  if (!has_files) return false;
  LATHE_TRY(const auto tokenizer, load_tokenizer(path));
  LATHE_TRY_IN(const TokenTable table, read_token_table(path, *tokenizer, source.config().vocab),
               path);
  LATHE_TRY_IN(const GgufMetadata keys, find_rules(table, *tokenizer, source.config()), path);
  for (const GgufMetadata::Entry& entry : keys.entries()) {
    if (!entry.key.starts_with("tokenizer.")) continue;
    metadata.set_raw(entry.key,
                     {reinterpret_cast<const uint8_t*>(entry.value.data()), entry.value.size()});
  }
  return true;
}

}  // namespace lathe
