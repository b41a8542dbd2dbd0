// Loading a tokenizer from a model directory.
#include <algorithm>
#include <filesystem>
#include <map>

#include "lathe/base/mapped_file.h"
#include "lathe/base/parse_json.h"
#include "lathe/base/parse_number.h"
#include "lathe/io/gguf.h"
#include "lathe/text/json_fields.h"
#include "lathe/text/pipeline.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
using text::Json;
using text::Parts;

// An absent file is an empty object.
Result<Json> read_json(const fs::path& path) {
  if (!fs::exists(path)) return Json::object();
  LATHE_TRY(const std::string source, read_text(path.string()));
  LATHE_TRY_IN(Json json, parse_json<Json>(source), path.string());
  if (!json.is_object()) return bad_input("{}: not a JSON object", path.string());
  return json;
}

// A token is written as its content, or as an object that has it.
std::string content_of(const Json& token) {
  if (token.is_string()) return token.get<std::string>();
  if (token.is_object() && token.contains("content") && token["content"].is_string())
    return token["content"].get<std::string>();
  return {};
}
std::string token_content(const Json& config, const char* key) {
  const auto it = config.find(key);
  return it == config.end() ? std::string() : content_of(*it);
}
// The string at `key`, or an empty one.
std::string string_at(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

// A string, or a list of {name, template} of which "default" is taken.
std::string template_of(const Json& config) {
  const auto it = config.find("chat_template");
  if (it == config.end()) return {};
  if (it->is_string()) return it->get<std::string>();
  if (it->is_array()) {
    for (const Json& entry : *it)
      if (entry.is_object() && string_at(entry, "name") == "default")
        return string_at(entry, "template");
  }
  return {};
}

Status apply_config(const fs::path& directory, const Json& config, const Json& specials,
                    Parts& parts) {
  const auto id = [&](const char* key) -> std::optional<TokenId> {
    for (const Json* source : {&config, &specials})
      if (const std::string content = token_content(*source, key); !content.empty())
        return text::find_token(parts, content);
    return std::nullopt;
  };
  parts.bos = id("bos_token");
  parts.eos = id("eos_token");
  // Without tokenizer_config.json the model's own ids are the next best source.
  if (config.empty() && specials.empty()) {
    LATHE_TRY(const Json generation, read_json(directory / "generation_config.json"));
    LATHE_TRY(const Json model, read_json(directory / "config.json"));
    const auto number = [&](const char* key) -> std::optional<TokenId> {
      for (const Json* source : {&generation, &model}) {
        const auto it = source->find(key);
        if (it == source->end()) continue;
        const Json& value = it->is_array() && !it->empty() ? (*it)[0] : *it;
        if (value.is_number_integer() && value.get<int64_t>() >= 0 &&
            value.get<int64_t>() < parts.vocabulary->end() + 100000)
          return static_cast<TokenId>(value.get<int64_t>());
      }
      return std::nullopt;
    };
    parts.bos = number("bos_token_id");
    parts.eos = number("eos_token_id");
    // GPT-2's files have neither; its one special token is both.
    if (!parts.bos && !parts.eos) parts.bos = parts.eos = text::find_token(parts, "<|endoftext|>");
  }
  const fs::path jinja = directory / "chat_template.jinja";
  if (fs::exists(jinja)) {
    LATHE_TRY(parts.chat_template, read_text(jinja.string()));
  } else {
    parts.chat_template = template_of(config);
  }
  return {};
}

bool flag(const Json& config, const char* key, bool fallback) {
  const auto it = config.find(key);
  return it != config.end() && it->is_boolean() ? it->get<bool>() : fallback;
}

// The tokenizer's class without "Fast"; from the model's type when the configuration names none.
std::string class_of(const Json& config, const Json& model) {
  std::string name = string_at(config, "tokenizer_class");
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  if (!name.empty()) return name;
  const std::string type = string_at(model, "model_type");
  static const std::map<std::string, std::string> kClasses = {
      {"gpt2", "GPT2Tokenizer"},         {"opt", "GPT2Tokenizer"},    {"qwen2", "Qwen2Tokenizer"},
      {"qwen3", "Qwen2Tokenizer"},       {"phi", "CodeGenTokenizer"}, {"llama", "LlamaTokenizer"},
      {"mistral", "LlamaTokenizer"},     {"phi3", "LlamaTokenizer"},  {"gemma2", "GemmaTokenizer"},
      {"gemma3_text", "GemmaTokenizer"}, {"gemma3", "GemmaTokenizer"}};
  const auto it = kClasses.find(type);
  return it == kClasses.end() ? std::string() : it->second;
}

// Tokens that stand beside the vocabulary file: added_tokens.json, added_tokens_decoder, and the
// named special tokens.
Status add_tokens(const fs::path& directory, const Json& config, const Json& specials,
                  Parts& parts) {
  const auto add = [&](text::AddedToken token) {
    for (text::AddedToken& known : parts.added)
      if (known.content == token.content) {
        known = token;
        return;
      }
    parts.added.push_back(std::move(token));
  };
  LATHE_TRY(const Json added, read_json(directory / "added_tokens.json"));
  for (const auto& [content, id] : added.items()) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > (1 << 23))
      return bad_input("added_tokens.json: '{}' has the id {}", content, text::shown(id));
    text::AddedToken token;
    token.id = static_cast<TokenId>(id.get<int64_t>());
    token.content = content;
    add(std::move(token));
  }
  if (const auto decoder = config.find("added_tokens_decoder");
      decoder != config.end() && decoder->is_object()) {
    for (const auto& [key, entry] : decoder->items()) {
      text::AddedToken token;
      token.content = token_content(*decoder, key.c_str());
      const auto id = parse_number<TokenId>(key);
      if (!id || *id < 0 || *id > (1 << 23) || token.content.empty())
        return bad_input("tokenizer_config.json: added_tokens_decoder: bad entry '{}'", key);
      token.id = *id;
      token.special = flag(entry, "special", false);
      token.single_word = flag(entry, "single_word", false);
      token.lstrip = flag(entry, "lstrip", false);
      token.rstrip = flag(entry, "rstrip", false);
      add(std::move(token));
    }
  }
  const auto make_special = [&](const std::string& content) {
    if (content.empty()) return;
    for (text::AddedToken& known : parts.added)
      if (known.content == content) {
        known.special = true;
        return;
      }
    if (const auto id = parts.vocabulary->find(content)) {
      text::AddedToken token;
      token.id = *id;
      token.content = content;
      token.special = true;
      add(std::move(token));
    }
  };
  for (const Json* source : {&config, &specials}) {
    for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token",
                            "cls_token", "mask_token"})
      make_special(token_content(*source, key));
    const auto more = source->find("additional_special_tokens");
    if (more == source->end() || !more->is_array()) continue;
    for (const Json& entry : *more) make_special(content_of(entry));
  }
  return {};
}

// tokenizer_config.json overrides the post-processor of tokenizer.json where it says expressly
// whether BOS or EOS is added, as in transformers.
void override_template(const Json& config, Parts& parts) {
  const auto said = [&](const char* key) {
    const auto it = config.find(key);
    return it != config.end() && it->is_boolean();
  };
  if (said("add_bos_token") && parts.bos) {
    std::erase(parts.prefix, *parts.bos);
    if (config["add_bos_token"].get<bool>()) parts.prefix.insert(parts.prefix.begin(), *parts.bos);
  }
  if (said("add_eos_token") && parts.eos) {
    std::erase(parts.suffix, *parts.eos);
    if (config["add_eos_token"].get<bool>()) parts.suffix.push_back(*parts.eos);
  }
}

// BOS and EOS around the text, for files that have no post-processor.
void add_template(const Json& config, bool bos, bool eos, Parts& parts) {
  if (flag(config, "add_bos_token", bos) && parts.bos) parts.prefix.push_back(*parts.bos);
  if (flag(config, "add_eos_token", eos) && parts.eos) parts.suffix.push_back(*parts.eos);
}

Result<Parts> load_sentencepiece(const fs::path& dir, const Json& config, const Json& specials) {
  LATHE_TRY(const Json model, read_json(dir / "config.json"));
  const std::string kind = class_of(config, model);
  const bool llama = kind.empty() || kind == "LlamaTokenizer" || kind == "CodeLlamaTokenizer" ||
                     kind == "GemmaTokenizer";
  if (!llama && kind != "T5Tokenizer")
    return unsupported("{}: tokenizer.model with the tokenizer class '{}'", dir.string(), kind)
        .with_hint(
            "known: LlamaTokenizer, CodeLlamaTokenizer, GemmaTokenizer, T5Tokenizer; "
            "or put a tokenizer.json beside it");
  const fs::path path = dir / "tokenizer.model";
  LATHE_TRY(const std::string bytes, read_text(path.string()));
  LATHE_TRY_IN(Parts parts, text::parse_sentencepiece(bytes, flag(config, "legacy", true)),
               path.string());
  const auto bos = parts.bos, eos = parts.eos;  // the model's own, unless the configuration differs
  LATHE_OK(add_tokens(dir, config, specials, parts));
  LATHE_OK(apply_config(dir, config, specials, parts));
  if (!parts.bos) parts.bos = bos;
  if (!parts.eos) parts.eos = eos;
  add_template(config, llama, kind == "T5Tokenizer", parts);
  return parts;
}

Result<Parts> load_vocab_and_merges(const fs::path& dir, const Json& config, const Json& specials) {
  LATHE_TRY(const Json model, read_json(dir / "config.json"));
  const std::string kind = class_of(config, model);
  static const std::map<std::string, std::string> kSchemes = {
      {"GPT2Tokenizer", "gpt-2"}, {"CodeGenTokenizer", "gpt-2"}, {"Qwen2Tokenizer", "qwen2"}};
  const auto scheme = kSchemes.find(kind);
  if (scheme == kSchemes.end())
    return unsupported("{}: vocab.json + merges.txt with the tokenizer class '{}'", dir.string(),
                       kind)
        .with_hint(
            "known: GPT2Tokenizer, CodeGenTokenizer, Qwen2Tokenizer (tokenizer_class in "
            "tokenizer_config.json, or model_type in config.json); or put a tokenizer.json "
            "beside them");
  LATHE_TRY(const std::string vocab, read_text((dir / "vocab.json").string()));
  LATHE_TRY(const std::string merges, read_text((dir / "merges.txt").string()));
  LATHE_TRY_IN(Parts parts,
               text::parse_vocab_and_merges(vocab, merges, scheme->second,
                                            flag(config, "add_prefix_space", false)),
               dir.string());
  LATHE_OK(add_tokens(dir, config, specials, parts));
  LATHE_OK(apply_config(dir, config, specials, parts));
  // The class's defaults, for files that name no special token.
  if (!parts.bos && !parts.eos && !config.contains("eos_token")) {
    parts.eos = text::find_token(parts, "<|endoftext|>");
    if (kind != "Qwen2Tokenizer") parts.bos = parts.eos;
  }
  for (const auto id : {parts.bos, parts.eos}) {
    if (!id || std::any_of(parts.added.begin(), parts.added.end(),
                           [&](const text::AddedToken& t) { return t.id == *id; }))
      continue;
    text::AddedToken token;
    token.id = *id;
    token.content = parts.vocabulary->token(*id);
    token.special = true;
    parts.added.push_back(std::move(token));
  }
  add_template(config, false, false, parts);
  return parts;
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const std::string& directory) {
  const fs::path dir(directory);
  LATHE_TRY(const Json config, read_json(dir / "tokenizer_config.json"));
  LATHE_TRY(const Json specials, read_json(dir / "special_tokens_map.json"));
  Parts parts;
  if (const fs::path path = dir / "tokenizer.json"; fs::exists(path)) {
    LATHE_TRY(const std::string source, read_text(path.string()));
    LATHE_TRY_IN(parts, text::parse_tokenizer_json(source), path.string());
    LATHE_OK(apply_config(dir, config, specials, parts));
    override_template(config, parts);
  } else if (fs::exists(dir / "tokenizer.model")) {
    LATHE_TRY(parts, load_sentencepiece(dir, config, specials));
  } else if (fs::exists(dir / "vocab.json") && fs::exists(dir / "merges.txt")) {
    LATHE_TRY(parts, load_vocab_and_merges(dir, config, specials));
  } else if (const fs::path gguf = dir / "tokenizer.gguf"; fs::exists(gguf)) {
    LATHE_TRY(const GgufFile file, GgufFile::open(gguf.string()));
    return load_tokenizer(file);
  } else {
    return not_found(
        "{}: no tokenizer (tokenizer.json, tokenizer.model, vocab.json + merges.txt "
        "or tokenizer.gguf)",
        directory);
  }
  return text::make_tokenizer(std::move(parts));
}

}  // namespace lathe
