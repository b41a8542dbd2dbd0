#include "lathe/compress/calibration_data.h"

#include <algorithm>

#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/base/hash.h"
#include "lathe/base/mapped_file.h"
#include "lathe/base/progress.h"
#include "lathe/base/rng.h"
#include "lathe/base/suggest.h"
#include "lathe/generate/generator.h"
#include "lathe/io/gguf.h"
#include "lathe/text/chat_template.h"
#include "lathe/text/tokenizer.h"

namespace lathe {
namespace {

constexpr size_t kMostDataBytes = size_t{256} << 20;

struct Document {
  std::string text;
  bool chat = false;  // a rendered conversation, whose special tokens count
};

// What the model's template makes of a conversation.
Result<std::string> rendered(const Tokenizer& tokenizer, const nlohmann::ordered_json& messages) {
  if (tokenizer.chat_template().empty()) {
    return bad_input("a conversation, but the model has no chat template")
        .with_hint("give plain text: lines with a \"text\"");
  }
  LATHE_TRY(const ChatTemplate format, ChatTemplate::parse(tokenizer.chat_template()));
  const nlohmann::ordered_json variables = {
      {"bos_token", tokenizer.bos() ? tokenizer.token_of(*tokenizer.bos()) : ""},
      {"eos_token", tokenizer.eos() ? tokenizer.token_of(*tokenizer.eos()) : ""}};
  return format.render_json(messages, false, variables);
}

Result<std::vector<Document>> documents_of(const std::string& path, const Tokenizer& tokenizer) {
  LATHE_TRY(std::string text, read_text(path, kMostDataBytes));
  std::vector<Document> out;
  if (!path.ends_with(".jsonl")) {
    out.push_back({std::move(text)});
    return out;
  }
  size_t begin = 0;
  for (int64_t line = 1; begin < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view one(text.data() + begin, end - begin);
    begin = end + 1;
    if (one.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const auto json = nlohmann::ordered_json::parse(one, nullptr, false);
    if (json.is_object() && json.contains("messages") && json["messages"].is_array()) {
      LATHE_TRY_IN(std::string chat, rendered(tokenizer, json["messages"]),
                   fmt::format("{}:{}", path, line));
      out.push_back({std::move(chat), true});
      continue;
    }
    if (!json.is_object() || !json.contains("text") || !json["text"].is_string()) {
      return bad_input("{}:{}: expected an object with a \"text\" or \"messages\"", path, line);
    }
    out.push_back({json["text"].get<std::string>()});
  }
  return out;
}

// Of a directory, or inside a GGUF file.
Result<std::shared_ptr<const Tokenizer>> load_tokenizer_of(const std::string& path) {
  if (!path.ends_with(".gguf")) return load_tokenizer(path);
  LATHE_TRY(const GgufFile file, GgufFile::open(path));
  LATHE_TRY_IN(auto tokenizer, load_tokenizer(file), path);
  return tokenizer;
}

constexpr int64_t kLeastLength = 8;

Status read_number(const std::string& key, const nlohmann::json& value, int64_t least,
                   int64_t& out) {
  constexpr int64_t kMost = 1'000'000;
  if (!value.is_number_integer() || value.get<int64_t>() < least || value.get<int64_t>() > kMost) {
    return bad_input("{}: must be a whole number from {} to {}, not {}", key, least, kMost,
                     value.dump());
  }
  out = value.get<int64_t>();
  return {};
}

Status read_generate(const nlohmann::json& json, CalibrationSpec& spec) {
  if (!json.is_object()) return bad_input("must be keys with values, not {}", json.dump());
  spec.temperature = 1.0;
  const std::vector<std::string> known = {"sequences", "tokens", "seed", "temperature"};
  for (const auto& [key, value] : json.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return bad_input("unknown key '{}'", key).with_hint(suggest(key, known));
    }
    if (key == "temperature") {
      // At 0 all sequences that begin with BOS would be the same.
      if (!value.is_number() || !(value.get<double>() > 0) || value.get<double>() > 100) {
        return bad_input("temperature: must be a number above 0, at most 100, not {}",
                         value.dump());
      }
      spec.temperature = value.get<double>();
      continue;
    }
    LATHE_OK(read_number(key, value,
                         key == "seed"     ? 0
                         : key == "tokens" ? kLeastLength
                                           : 1,
                         key == "sequences" ? spec.samples
                         : key == "tokens"  ? spec.length
                                            : spec.seed));
  }
  return {};
}

}  // namespace

Result<CalibrationSpec> calibration_from_json(const nlohmann::json& json) {
  if (!json.is_object()) return bad_input("must be keys with values, not {}", json.dump());
  CalibrationSpec spec;
  const std::vector<std::string> known = {"data",        "samples",  "length",  "seed",
                                          "importances", "hessians", "generate"};
  for (const auto& [key, value] : json.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return bad_input("unknown key '{}'", key).with_hint(suggest(key, known));
    }
    if (key == "data" || key == "importances" || key == "hessians") {
      if (!value.is_string() || value.get<std::string>().empty()) {
        return bad_input("{}: must be the path of a {} file, not {}", key,
                         key == "data"       ? "text or .jsonl"
                         : key == "hessians" ? "safetensors"
                                             : "GGUF or .dat",
                         value.dump());
      }
      (key == "data"       ? spec.data
       : key == "hessians" ? spec.hessians
                           : spec.importances) = value.get<std::string>();
      continue;
    }
    if (key == "generate") {
      LATHE_OK_IN(read_generate(value, spec), key);
      continue;
    }
    LATHE_OK(read_number(key, value,
                         key == "seed"     ? 0
                         : key == "length" ? kLeastLength
                                           : 1,
                         key == "samples"  ? spec.samples
                         : key == "length" ? spec.length
                                           : spec.seed));
  }
  for (const char* alone : {"importances", "hessians", "generate"}) {
    if (json.contains(alone) && json.size() > 1) {
      return bad_input("'{}' stands for itself: no other key goes with it", alone);
    }
  }
  if (spec.file().empty() && !spec.temperature) {
    return bad_input("'data' is missing: a text file, or JSON lines");
  }
  return spec;
}

nlohmann::json to_json(const CalibrationSpec& spec) {
  if (!spec.importances.empty()) return {{"importances", spec.importances}};
  if (!spec.hessians.empty()) return {{"hessians", spec.hessians}};
  if (spec.temperature) {
    return {{"generate",
             {{"sequences", spec.samples},
              {"tokens", spec.length},
              {"seed", spec.seed},
              {"temperature", *spec.temperature}}}};
  }
  return {
      {"data", spec.data}, {"samples", spec.samples}, {"length", spec.length}, {"seed", spec.seed}};
}

Result<Samples> calibration_samples(const CalibrationSpec& spec,
                                    const std::string& tokenizer_path) {
  LATHE_TRY(const auto tokenizer, load_tokenizer_of(tokenizer_path));
  LATHE_TRY(const std::vector<Document> documents, documents_of(spec.data, *tokenizer));
  std::vector<int32_t> stream;
  for (const Document& document : documents) {
    const auto ids =
        tokenizer->encode(document.text, {.add_special = false, .parse_special = document.chat});
    stream.insert(stream.end(), ids.begin(), ids.end());
  }
  const bool bos = tokenizer->adds_bos() && tokenizer->bos().has_value();
  const int64_t window = spec.length - (bos ? 1 : 0);
  const auto available = static_cast<int64_t>(stream.size());
  if (available < window) {
    return bad_input("{}: {} tokens, but one sample takes {}", spec.data, available, window)
        .with_hint("use more text or a smaller calibration length");
  }
  Rng rng(static_cast<uint64_t>(spec.seed));
  Samples out;
  for (int64_t s = 0; s < spec.samples; ++s) {
    const auto start =
        static_cast<int64_t>(rng.below(static_cast<uint64_t>(available - window + 1)));
    std::vector<int32_t> sample;
    if (bos) sample.push_back(*tokenizer->bos());
    sample.insert(sample.end(), stream.begin() + start, stream.begin() + start + window);
    out.push_back(std::move(sample));
  }
  return out;
}

Result<Samples> generated_samples(const CalibrationSpec& spec, const Checkpoint& source,
                                  ThreadPool& pool) {
  LATHE_TRY(const Isa isa, chosen_isa());
  Engine engine;
  LATHE_TRY(engine.math, chosen_math(Math::kExact));
  engine.ops = make_cpu_ops(isa, pool, engine.math);
  LATHE_TRY(engine.tokenizer, tokenizer_of(source));
  const ModelConfig& config = source.config();
  if (spec.length > config.max_positions) {
    return bad_input("samples of {} tokens, but this model takes {}", spec.length,
                     config.max_positions)
        .with_hint("give fewer tokens");
  }
  LATHE_TRY(engine.model, load_model(source, *engine.ops, {.context = spec.length}));
  const bool bos = engine.tokenizer->adds_bos() && engine.tokenizer->bos().has_value();
  Rng rng(static_cast<uint64_t>(spec.seed));
  std::vector<Request> requests(static_cast<size_t>(spec.samples));
  for (Request& request : requests) {
    const auto first = static_cast<TokenId>(rng.below(static_cast<uint64_t>(config.vocab)));
    request.prompt = {bos ? *engine.tokenizer->bos() : first};
    request.max_tokens = spec.length - 1;
    request.stop_at_eos = false;
    request.sampling.temperature = *spec.temperature;
    request.seed = rng.next();
  }
  Samples out(requests.size());
  Progress progress("generating calibration text", spec.samples, "samples");
  LATHE_OK(generate(engine, requests, {}, [&](size_t index, const Completion& completion) {
    out[index].assign(requests[index].prompt.begin(), requests[index].prompt.end());
    out[index].insert(out[index].end(), completion.ids.begin(), completion.ids.end());
    progress.advance();
    return true;
  }));
  return out;
}

Result<CalibrationData> calibration_data(const CalibrationSpec& spec, const Checkpoint& source,
                                         ThreadPool& pool) {
  CalibrationData out;
  if (!spec.temperature) {
    LATHE_TRY(out.sha256, sha256_of_file(spec.data));
    LATHE_TRY(out.samples, calibration_samples(spec, source.tokenizer_path()));
    return out;
  }
  LATHE_TRY(out.samples, generated_samples(spec, source, pool));
  Sha256 hash;
  for (const auto& sample : out.samples) {
    hash.update(std::span(reinterpret_cast<const uint8_t*>(sample.data()),
                          sample.size() * sizeof(sample[0])));
  }
  out.sha256 = hash.hex();
  return out;
}

}  // namespace lathe
