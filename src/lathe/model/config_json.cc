#include "lathe/model/config_json.h"

#include <string>
#include <vector>

#include "lathe/model/family.h"

namespace lathe {
namespace {

// Under the keys that are there; else under all of them, since readers ignore those they do not
// know.
void set(nlohmann::json& json, const std::vector<const char*>& keys, int64_t before,
         int64_t after) {
  bool found = false;
  for (const char* key : keys) {
    if (!json.contains(key) || json[key].is_null()) continue;
    json[key] = after;
    found = true;
  }
  if (found || before == after) return;
  for (const char* key : keys) json[key] = after;
}

}  // namespace

Result<nlohmann::json> with_sizes(nlohmann::json json, const ModelConfig& before,
                                  const ModelConfig& after) {
  // Multimodal checkpoints nest the language model's configuration.
  const bool nested = json.contains("text_config") && json["text_config"].is_object();
  nlohmann::json& text = nested ? json["text_config"] : json;
  set(text, {"num_hidden_layers", "n_layer"}, before.layers, after.layers);
  set(text, {"num_attention_heads", "n_head"}, before.heads, after.heads);
  set(text, {"intermediate_size", "n_inner", "ffn_dim"}, before.ffn, after.ffn);
  if (text.contains("num_key_value_heads") || after.kv_heads != after.heads) {
    text["num_key_value_heads"] = after.kv_heads;
  }
  if (text.contains("head_dim") || after.heads != before.heads) text["head_dim"] = after.head_size;
  if (!after.sliding.empty()) {
    text["layer_types"] = nlohmann::json::array();
    for (int64_t i = 0; i < after.layers; ++i) {
      text["layer_types"].push_back(after.window_of(i) > 0 ? "sliding_attention"
                                                           : "full_attention");
    }
  }
  if (json.contains("tie_word_embeddings") || before.tied != after.tied) {
    json["tie_word_embeddings"] = after.tied;
    if (nested) text["tie_word_embeddings"] = after.tied;
  }
  const auto type = json.find("model_type");
  if (type == json.end() || !type->is_string()) return bad_input("'model_type' is missing");
  LATHE_TRY(const Family* family, family_of_model_type(type->get<std::string>()));
  LATHE_TRY(ModelConfig read, family->from_config(json));
  read.family = after.family;
  read.tied = after.tied;
  const nlohmann::json found = to_json(read), wanted = to_json(after);
  for (const auto& [key, value] : wanted.items()) {
    if (found[key] == value) continue;
    return unsupported("the config.json of this family cannot say that '{}' is {}", key,
                       value.dump())
        .with_hint("take away something else: layers or channels instead of heads");
  }
  return json;
}

}  // namespace lathe
