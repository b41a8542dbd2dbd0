#include "lathe/generate/sentence_encoder.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "lathe/base/mapped_file.h"
#include "lathe/base/parse_json.h"
#include "lathe/generate/engine.h"
#include "lathe/model/forward.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

// Tokens of one forward pass, from which on it is closed: enough that the weights are read seldom.
constexpr int64_t kBatchTokens = 1024;

Result<nlohmann::json> read_json(const std::string& path) {
  LATHE_TRY(const std::string text, read_text(path, size_t{1} << 20));
  LATHE_TRY_IN(nlohmann::json json, parse_json(text), path);
  return json;
}

// "sentence_transformers.models.Pooling" → "Pooling".
std::string kind_of(const nlohmann::json& module) {
  if (!module.is_object() || !module.contains("type") || !module["type"].is_string()) return "";
  const auto type = module["type"].get<std::string>();
  return type.substr(type.rfind('.') + 1);
}

// The mean alone, in either of the two spellings of this file.
Status check_pooling(const std::string& path) {
  LATHE_TRY(const nlohmann::json json, read_json(path));
  if (!json.is_object()) return bad_input("{}: not a JSON object", path);
  std::vector<std::string> modes;
  for (const auto& [key, value] : json.items()) {
    if (key == "pooling_mode" && value.is_string()) modes.push_back(value.get<std::string>());
    if (key.starts_with("pooling_mode_") && value.is_boolean() && value.get<bool>()) {
      modes.push_back(key == "pooling_mode_mean_tokens" ? "mean" : key);
    }
  }
  if (modes.empty()) return bad_input("{}: names no pooling mode", path);
  if (modes == std::vector<std::string>{"mean"}) return {};
  return unsupported("{}: pooling by {}; only the mean over the tokens is supported", path,
                     fmt::join(modes, " and "));
}

// Checks the chain of modules: Transformer in the directory itself, Pooling, Normalize or nothing.
Status check_modules(const std::string& directory, std::vector<std::string>& files) {
  const std::string path = directory + "/modules.json";
  if (!fs::exists(path)) {
    return bad_input("{}: no modules.json, so how its states become one vector is unknown",
                     directory)
        .with_hint("a sentence encoder is a directory as sentence-transformers saves it");
  }
  LATHE_TRY(const nlohmann::json modules, read_json(path));
  files.push_back(path);
  const auto folder_of = [](const nlohmann::json& module) {
    return module.contains("path") && module["path"].is_string() ? module["path"].get<std::string>()
                                                                 : std::string();
  };
  const size_t count = modules.is_array() ? modules.size() : 0;
  if (count < 2 || kind_of(modules[0]) != "Transformer" || kind_of(modules[1]) != "Pooling") {
    return bad_input("{}: expected the modules Transformer, Pooling and Normalize", path);
  }
  for (size_t i = 2; i < count; ++i) {
    if (kind_of(modules[i]) == "Normalize") continue;
    return unsupported("{}: the module '{}' is not supported", path, kind_of(modules[i]))
        .with_hint("known: Transformer, Pooling, Normalize");
  }
  if (!folder_of(modules[0]).empty()) {
    return unsupported("{}: the transformer lies in '{}', not beside modules.json", path,
                       folder_of(modules[0]));
  }
  const fs::path folder = fs::path(folder_of(modules[1])).lexically_normal();
  if (folder.is_absolute() || (!folder.empty() && *folder.begin() == "..")) {
    return bad_input("{}: '{}' lies outside of the model", path, folder.string());
  }
  const std::string pooling = (fs::path(directory) / folder / "config.json").string();
  if (!fs::exists(pooling)) return not_found("{}: the pooling's configuration is missing", pooling);
  LATHE_OK(check_pooling(pooling));
  files.push_back(pooling);
  return {};
}

Result<int64_t> max_tokens_of(const std::string& directory, int64_t positions,
                              std::vector<std::string>& files) {
  const std::string path = directory + "/sentence_bert_config.json";
  if (!fs::exists(path)) return positions;
  LATHE_TRY(const nlohmann::json json, read_json(path));
  if (!json.is_object()) return bad_input("{}: not a JSON object", path);
  files.push_back(path);
  if (json.contains("do_lower_case") && json["do_lower_case"] == true) {
    return unsupported("{}: 'do_lower_case' is not supported", path)
        .with_hint("the tokenizer of an uncased model lowers the text itself; set it to false");
  }
  const auto length = json.find("max_seq_length");
  if (length == json.end() || length->is_null()) return positions;
  if (!length->is_number_integer() || *length < 3 || *length > positions) {
    return bad_input("{}: 'max_seq_length' is {}, expected 3 to {}, the positions of the model",
                     path, length->dump(), positions);
  }
  return length->get<int64_t>();
}

}  // namespace

Result<EncoderFiles> open_encoder(const std::string& model) {
  EncoderFiles out;
  LATHE_TRY(out.path, resolve_model(model));
  LATHE_TRY(out.checkpoint, open_checkpoint(out.path, ModelKind::kEncoder));
  const ModelConfig& config = out.checkpoint->config();
  out.files = out.checkpoint->weight_files();
  out.files.push_back(out.path + "/config.json");
  LATHE_OK(check_modules(out.path, out.files));
  LATHE_TRY(out.max_tokens, max_tokens_of(out.path, config.max_positions, out.files));
  LATHE_TRY(out.tokenizer, tokenizer_of(*out.checkpoint));
  if (out.tokenizer->vocab_size() > config.vocab) {
    return bad_input("{}: the tokenizer has {} tokens, the model only {}", out.path,
                     out.tokenizer->vocab_size(), config.vocab)
        .with_hint("the tokenizer files belong to another model");
  }
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}) {
    if (fs::exists(out.path + "/" + name)) out.files.push_back(out.path + "/" + name);
  }
  return out;
}

Result<SentenceEncoder> SentenceEncoder::load(const EncoderFiles& files, Ops& ops) {
  LATHE_TRY(auto model, load_model(*files.checkpoint, ops, {.context = files.max_tokens}));
  SentenceEncoder encoder(files, std::move(model), ops);
  // What the tokenizer puts around any text, it puts around this one.
  const auto plain = files.tokenizer->encode("a", {.add_special = false});
  const auto whole = files.tokenizer->encode("a");
  const auto at = std::search(whole.begin(), whole.end(), plain.begin(), plain.end());
  encoder.prefix_.assign(whole.begin(), at);
  encoder.suffix_.assign(std::min(at + std::ssize(plain), whole.end()), whole.end());
  const int64_t special = std::ssize(encoder.prefix_) + std::ssize(encoder.suffix_);
  if (special == 0 || special >= files.max_tokens) {
    return bad_input("{}: the tokenizer puts {} special tokens around a text of at most {}",
                     files.path, special, files.max_tokens);
  }
  return encoder;
}

std::vector<TokenId> SentenceEncoder::tokens_of(const std::string& text, bool& truncated) const {
  std::vector<TokenId> ids = files_.tokenizer->encode(text, {.add_special = false});
  const int64_t room = files_.max_tokens - std::ssize(prefix_) - std::ssize(suffix_);
  truncated = std::ssize(ids) > room;
  if (truncated) ids.resize(static_cast<size_t>(room));
  ids.insert(ids.begin(), prefix_.begin(), prefix_.end());
  ids.insert(ids.end(), suffix_.begin(), suffix_.end());
  return ids;
}

Status SentenceEncoder::encode_batch(std::span<const std::vector<TokenId>> ids,
                                     std::vector<KvCache>& caches, float* out) const {
  Batch batch;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i == caches.size()) {
      LATHE_TRY(KvCache cache, KvCache::create(model_->kv_shape(), files_.max_tokens));
      caches.push_back(std::move(cache));
    }
    caches[i].set_length(0);
  }
  for (size_t i = 0; i < ids.size(); ++i) batch.add(caches[i], ids[i], false);
  const Tensor states = hidden_states(*model_, *ops_, batch);
  const int64_t width = states.cols();
  std::vector<double> sum(static_cast<size_t>(width));
  for (const SequenceSpan& span : batch.spans) {
    std::fill(sum.begin(), sum.end(), 0.0);
    for (int64_t r = 0; r < span.rows; ++r) {
      const float* row = states.row(span.first_row + r);
      for (int64_t c = 0; c < width; ++c) sum[static_cast<size_t>(c)] += double{row[c]};
    }
    double squares = 0;
    for (const double v : sum) squares += v * v;
    if (!std::isfinite(squares) || squares == 0) {
      return bad_input("{}: the vector of a text has the length {}", files_.path,
                       std::sqrt(squares))
          .with_hint("the weights are damaged, or belong to another configuration");
    }
    const double scale = 1 / std::sqrt(squares);
    for (const double v : sum) *out++ = static_cast<float>(v * scale);
  }
  return {};
}

Result<SentenceEncoder::Vectors> SentenceEncoder::encode(std::span<const std::string> texts) const {
  Vectors out{Tensor(std::ssize(texts), model_->config.hidden), 0};
  std::vector<KvCache> caches;
  std::vector<std::vector<TokenId>> batch;
  int64_t tokens = 0, done = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    bool truncated = false;
    batch.push_back(tokens_of(texts[i], truncated));
    out.truncated += truncated ? 1 : 0;
    tokens += std::ssize(batch.back());
    if (tokens < kBatchTokens && i + 1 < texts.size()) continue;
    LATHE_OK(encode_batch(batch, caches, out.rows.mutable_row(done)));
    done += std::ssize(batch);
    batch.clear();
    tokens = 0;
  }
  return out;
}

}  // namespace lathe
