#include "lathe/compress/calibration.h"

#include <algorithm>
#include <cmath>

#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/backend/tap_ops.h"
#include "lathe/base/mapped_file.h"
#include "lathe/base/rng.h"
#include "lathe/base/suggest.h"
#include "lathe/io/gguf.h"
#include "lathe/model/forward.h"
#include "lathe/model/rope.h"
#include "lathe/text/chat_template.h"
#include "lathe/text/tokenizer.h"

namespace lathe {
namespace {

constexpr size_t kMostDataBytes = size_t{256} << 20;
constexpr int64_t kDefaultContext = 4096;

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

// Adds up Σ x xᵀ of the input that `name` shares with the other matrices of its call.
class GramTap final : public WrappedOps {
 public:
  GramTap(Ops& inner, const std::string& name) : WrappedOps(inner), name_(name) {}

  Tensor linear(const Linear& w, const Tensor& x) override {
    if (w.name == name_) {
      sharing_ = {w.name};
      add(x);
    }
    return inner().linear(w, x);
  }
  std::vector<Tensor> linears(std::span<const Linear* const> ws, const Tensor& x) override {
    if (std::any_of(ws.begin(), ws.end(), [&](const Linear* w) { return w->name == name_; })) {
      sharing_.clear();
      for (const Linear* w : ws) sharing_.push_back(w->name);
      add(x);
    }
    return inner().linears(ws, x);
  }

  std::shared_ptr<LinearStats> stats() const { return stats_; }
  const std::vector<std::string>& sharing() const { return sharing_; }

 private:
  // As one product of the backend: (xᵀ)·(xᵀ)ᵀ.
  void add(const Tensor& x) {
    const int64_t tokens = x.rows(), size = x.cols();
    if (!stats_) {
      stats_ = std::make_shared<LinearStats>();
      stats_->size = size;
      stats_->gram.resize(static_cast<size_t>(size * size));
      stats_->absolute.resize(static_cast<size_t>(size));
      stats_->largest.resize(static_cast<size_t>(size));
    }
    Tensor across(size, tokens);
    float* out = across.mutable_data();
    double* absolute = stats_->absolute.data();
    float* largest = stats_->largest.data();
    threads().parallel_for(size, 16, [&](int64_t begin, int64_t end) {
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t k = begin; k < end; ++k) {
          out[k * tokens + t] = x.row(t)[k];
          absolute[k] += static_cast<double>(std::fabs(x.row(t)[k]));
          largest[k] = std::max(largest[k], std::fabs(x.row(t)[k]));
        }
      }
    });
    const Linear columns{"", inner().pack(WeightMatrix::of_floats(out, size, tokens)), {}};
    const Tensor product = inner().linear(columns, across);
    stats_->tokens += tokens;
    double* gram = stats_->gram.data();
    threads().parallel_for(size * size, 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) gram[i] += static_cast<double>(product.data()[i]);
    });
  }

  const std::string& name_;
  std::shared_ptr<LinearStats> stats_;
  std::vector<std::string> sharing_;
};

}  // namespace

Result<CalibrationSpec> calibration_from_json(const nlohmann::json& json) {
  if (!json.is_object()) return bad_input("must be keys with values, not {}", json.dump());
  CalibrationSpec spec;
  const std::vector<std::string> known = {"data", "samples", "length", "seed"};
  for (const auto& [key, value] : json.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return bad_input("unknown key '{}'", key).with_hint(suggest(key, known));
    }
    if (key == "data") {
      if (!value.is_string() || value.get<std::string>().empty()) {
        return bad_input("data: must be the path of a text or .jsonl file, not {}", value.dump());
      }
      spec.data = value.get<std::string>();
      continue;
    }
    const int64_t least = key == "seed" ? 0 : key == "length" ? 8 : 1;
    constexpr int64_t kMost = 1'000'000;
    if (!value.is_number_integer() || value.get<int64_t>() < least ||
        value.get<int64_t>() > kMost) {
      return bad_input("{}: must be a whole number from {} to {}, not {}", key, least, kMost,
                       value.dump());
    }
    (key == "samples"  ? spec.samples
     : key == "length" ? spec.length
                       : spec.seed) = value.get<int64_t>();
  }
  if (spec.data.empty()) return bad_input("'data' is missing: a text file, or JSON lines");
  return spec;
}

nlohmann::json to_json(const CalibrationSpec& spec) {
  return {
      {"data", spec.data}, {"samples", spec.samples}, {"length", spec.length}, {"seed", spec.seed}};
}

Result<std::vector<std::vector<int32_t>>> calibration_samples(const CalibrationSpec& spec,
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
  std::vector<std::vector<int32_t>> out;
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

Result<std::unique_ptr<CalibrationStream>> CalibrationStream::create(
    const Checkpoint& source, std::vector<std::vector<int32_t>> samples, ThreadPool& pool) {
  LATHE_TRY(const Isa isa, chosen_isa());
  LATHE_TRY(const Math math, chosen_math(Math::kExact));
  const ModelConfig& c = source.config();
  std::unique_ptr<CalibrationStream> out(new CalibrationStream);
  // The pool belongs to the caller.
  out->ops_ = make_cpu_ops(isa, pool, math);
  const int64_t context = std::min(c.max_positions, kDefaultContext);
  out->rope_ = make_rope(c.rope, context, c.max_positions);
  if (c.two_ropes) out->local_rope_ = make_rope(c.local_rope, context, c.max_positions);
  Model tables;
  tables.config = c;
  LATHE_TRY(tables.embedding, source.matrix("model.embed_tokens", c.vocab, c.hidden));
  if (c.learned_positions) {
    for (const MatrixInfo& info : matrices_of(c)) {
      if (info.name != "model.embed_positions") continue;
      LATHE_TRY(tables.positions, source.matrix(info.name, info.rows, info.cols));
    }
  }
  for (const auto& sample : samples) {
    const auto length = static_cast<int64_t>(sample.size());
    if (length > context) {
      return bad_input("calibration samples of {} tokens, but this model takes {}", length, context)
          .with_hint("give a smaller calibration length");
    }
    for (const int32_t id : sample) {
      if (id < 0 || id >= c.vocab) {
        return bad_input("token {} is not in the model's vocabulary of {}", id, c.vocab)
            .with_hint("the tokenizer beside the model belongs to another one");
      }
    }
    std::vector<int32_t> positions(sample.size());
    for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(i);
    Batch batch;
    batch.ids = sample;
    out->states_.push_back(embed(tables, *out->ops_, batch, positions));
    out->tokens_ += length;
  }
  out->samples_ = std::move(samples);
  return out;
}

Status CalibrationStream::set_states(std::vector<Tensor> states) {
  bool same = states.size() == states_.size();
  for (size_t s = 0; same && s < states.size(); ++s) {
    same = states[s].rows() == states_[s].rows() && states[s].cols() == states_[s].cols();
  }
  if (!same) return bad_input("the hidden states are of other samples");
  states_ = std::move(states);
  return {};
}

Status CalibrationStream::run(const Checkpoint& current, int64_t index, Ops& ops, bool keep) {
  LATHE_TRY(const Layer layer, load_layer(current, *ops_, index));
  const ModelConfig& config = current.config();
  const Rope& rope = config.local(index) ? local_rope_ : rope_;
  int64_t longest = 0;
  for (const auto& sample : samples_) {
    longest = std::max(longest, static_cast<int64_t>(sample.size()));
  }
  // A cache of one layer: the index only chooses a place in it.
  LATHE_TRY(KvCache cache, KvCache::create(config.kv_shape(), longest));
  for (size_t s = 0; s < samples_.size(); ++s) {
    Batch batch;
    cache.set_length(0);
    batch.add(cache, samples_[s], true);
    const std::vector<int32_t> positions = positions_of(batch);
    Tensor x = keep ? std::move(states_[s]) : states_[s];
    x = run_layer(config, layer, index, rope, ops, batch, positions, std::move(x));
    if (keep) states_[s] = std::move(x);
  }
  return {};
}

Result<std::shared_ptr<const LinearStats>> CalibrationStream::collect(
    const Checkpoint& current, int64_t layer, const std::string& name,
    std::vector<std::string>& sharing) {
  GramTap tap(*ops_, name);
  LATHE_OK(run(current, layer, tap, false));
  LATHE_CHECK(tap.stats() != nullptr);
  sharing = tap.sharing();
  return std::shared_ptr<const LinearStats>(tap.stats());
}

Status CalibrationStream::advance(const Checkpoint& current, int64_t layer) {
  return run(current, layer, *ops_, true);
}

}  // namespace lathe
