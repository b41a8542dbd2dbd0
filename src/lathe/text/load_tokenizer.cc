// Loading a tokenizer from a model directory.
#include <algorithm>
#include <filesystem>

#include "lathe/base/hash.h"
#include "lathe/base/mapped_file.h"
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
  Json json;
  try {
    json = Json::parse(source);
  } catch (const Json::parse_error& e) {
    return bad_input("{}: not JSON: {}", path.string(), e.what());
  }
  if (!json.is_object()) return bad_input("{}: not a JSON object", path.string());
  return json;
}

// A token is written as its content, or as an object that has it.
std::string token_content(const Json& config, const char* key) {
  const auto it = config.find(key);
  if (it == config.end()) return {};
  if (it->is_string()) return it->get<std::string>();
  if (it->is_object() && it->contains("content") && (*it)["content"].is_string())
    return (*it)["content"].get<std::string>();
  return {};
}

// A string, or a list of {name, template} of which "default" is taken.
std::string template_of(const Json& config) {
  const auto it = config.find("chat_template");
  if (it == config.end()) return {};
  if (it->is_string()) return it->get<std::string>();
  if (it->is_array()) {
    for (const Json& entry : *it)
      if (entry.is_object() && entry.value("name", Json()) == "default" &&
          entry.contains("template") && entry["template"].is_string())
        return entry["template"].get<std::string>();
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
    if (!parts.bos && !parts.eos)
      parts.bos = parts.eos = text::find_token(parts, "<|endoftext|>");
  }
  const fs::path jinja = directory / "chat_template.jinja";
  if (fs::exists(jinja)) {
    LATHE_TRY(parts.chat_template, read_text(jinja.string()));
  } else {
    parts.chat_template = template_of(config);
  }
  return {};
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
  } else {
    return not_found("{}: no tokenizer.json", directory);
  }
  LATHE_OK(apply_config(dir, config, specials, parts));
  return text::make_tokenizer(std::move(parts));
}

}  // namespace lathe
