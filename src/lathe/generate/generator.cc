#include "lathe/generate/generator.h"

#include <algorithm>
#include <optional>

#include "lathe/generate/prefix_store.h"
#include "lathe/model/forward.h"

namespace lathe {
namespace {

// The longest prefix of `text` that does not end inside a UTF-8 character.
size_t whole_characters(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(4, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return length > back ? text.size() - back : text.size();
  }
  return text.size();
}

// How much of the end of `text` could be the beginning of a stop sequence.
size_t possible_stop(std::string_view text, const std::vector<std::string>& stops) {
  size_t longest = 0;
  for (const std::string& stop : stops) {
    for (size_t n = std::min(stop.size() - 1, text.size()); n > longest; --n) {
      if (text.substr(text.size() - n) == std::string_view(stop).substr(0, n)) longest = n;
    }
  }
  return longest;
}

struct Sequence {
  size_t index;
  const Request* request;
  KvCache cache;
  Rng rng;
  int64_t prompt_done = 0;
  std::vector<TokenId> out;
  size_t shown = 0;  // bytes of text already given to on_text
  bool ended = false;

  bool in_prompt() const { return prompt_done < static_cast<int64_t>(request->prompt.size()); }
};

class Generator {
 public:
  Generator(const Engine& engine, std::span<const Request> requests, const GenerateOptions& options,
            const OnCompletion& done, const OnText& on_text)
      : engine_(engine),
        requests_(requests),
        options_(options),
        done_(done),
        on_text_(on_text),
        prefixes_(engine, options.share_prefixes ? options.max_kv_bytes / 4 : 0, options.chunk) {}

  Status run() {
    for (const Request& request : requests_) LATHE_OK(check(request));
    while (next_ < requests_.size() || !active_.empty()) {
      LATHE_OK(admit());
      LATHE_TRY(const bool more, step());
      if (!more) break;
    }
    return {};
  }

 private:
  Status check(const Request& request) const {
    LATHE_OK(validate(request.sampling));
    if (request.prompt.empty()) return bad_input("an empty prompt cannot be continued");
    const auto length = static_cast<int64_t>(request.prompt.size());
    if (length >= engine_.model->context) {
      return bad_input("a prompt of {} tokens does not fit the context of {}", length,
                       engine_.model->context)
          .with_hint("use --context N for a longer one");
    }
    for (const TokenId id : request.prompt) {
      if (id < 0 || id >= engine_.model->config.vocab) {
        return bad_input("token {} is outside of the vocabulary", id);
      }
    }
    return {};
  }

  int64_t positions_of(const Request& request) const {
    return std::min<int64_t>(engine_.model->context,
                             static_cast<int64_t>(request.prompt.size()) + request.max_tokens);
  }

  Status admit() {
    const KvShape shape = engine_.model->kv_shape();
    while (next_ < requests_.size() && static_cast<int64_t>(active_.size()) < options_.max_batch) {
      const Request& request = requests_[next_];
      const int64_t positions = positions_of(request);
      const int64_t bytes = KvCache::bytes_for(shape, positions);
      if (!active_.empty() && kv_bytes_ + bytes > options_.max_kv_bytes) break;
      LATHE_TRY(KvCache cache, KvCache::create(shape, positions));
      kv_bytes_ += bytes;
      std::span<const TokenId> following;
      if (next_ + 1 < requests_.size()) following = requests_[next_ + 1].prompt;
      LATHE_TRY(const int64_t known, prefixes_.begin(request.prompt, following, cache));
      active_.push_back(
          {next_, &request, std::move(cache), Rng(request.seed), known, {}, 0, false});
      ++next_;
    }
    return {};
  }

  // One forward pass: the next token of every sequence that is past its prompt, and as much of the
  // others' prompts as the chunk has room for.
  Result<bool> step() {
    Batch batch;
    std::vector<Sequence*> sampled;
    for (Sequence& s : active_) {
      if (s.in_prompt()) continue;
      batch.add(s.cache, std::span(&s.out.back(), 1), false);
      sampled.push_back(&s);
    }
    for (Sequence& s : active_) {
      const int64_t room = options_.chunk - static_cast<int64_t>(batch.ids.size());
      if (!s.in_prompt() || room <= 0) continue;
      const auto length = static_cast<int64_t>(s.request->prompt.size());
      const int64_t count = std::min(room, length - s.prompt_done);
      const std::span<const TokenId> all(s.request->prompt);
      batch.add(s.cache,
                all.subspan(static_cast<size_t>(s.prompt_done), static_cast<size_t>(count)), false);
      s.prompt_done += count;
      if (s.in_prompt()) {
        batch.logit_rows.pop_back();
      } else {
        sampled.push_back(&s);
      }
    }
    if (batch.logit_rows.empty()) {
      hidden_states(*engine_.model, *engine_.ops, batch);
      return true;
    }
    const Tensor out = forward(*engine_.model, *engine_.ops, batch);
    for (size_t i = 0; i < sampled.size(); ++i) {
      const std::span<const float> row(out.row(static_cast<int64_t>(i)),
                                       static_cast<size_t>(out.cols()));
      Sequence& s = *sampled[i];
      std::optional<Completion> completion = take(s, sample(row, s.request->sampling, s.rng));
      if (completion && !finish(s, std::move(*completion))) return false;
    }
    std::erase_if(active_, [](const Sequence& s) { return s.ended; });
    return true;
  }

  bool is_eos(TokenId id) const {
    const auto& eos = engine_.model->config.eos;
    return std::find(eos.begin(), eos.end(), id) != eos.end() || engine_.tokenizer->eos() == id;
  }

  // Adds a token; gives the completion when the sequence ends with it.
  std::optional<Completion> take(Sequence& s, TokenId id) {
    const Request& request = *s.request;
    std::string finish;
    if (request.stop_at_eos && is_eos(id)) {
      finish = "stop";
    } else {
      s.out.push_back(id);
    }
    std::string text = engine_.tokenizer->decode(s.out);
    if (finish.empty()) {
      size_t at = std::string::npos;
      for (const std::string& stop : request.stops) {
        if (!stop.empty()) at = std::min(at, text.find(stop));
      }
      if (at != std::string::npos) {
        text.resize(at);
        finish = "stop";
      } else if (static_cast<int64_t>(s.out.size()) >= request.max_tokens) {
        finish = "length";
      } else if (static_cast<int64_t>(request.prompt.size() + s.out.size()) >= s.cache.capacity()) {
        finish = "context";
      }
    }
    if (on_text_) {
      const size_t held = finish.empty() ? possible_stop(text, request.stops) : 0;
      const size_t end =
          finish.empty() ? whole_characters(std::string_view(text).substr(0, text.size() - held))
                         : text.size();
      if (end > s.shown) on_text_(s.index, std::string_view(text).substr(s.shown, end - s.shown));
      s.shown = std::max(s.shown, end);
    }
    if (finish.empty()) return std::nullopt;
    return Completion{s.out, std::move(text), finish, static_cast<int64_t>(request.prompt.size())};
  }

  bool finish(Sequence& s, Completion completion) {
    kv_bytes_ -= KvCache::bytes_for(s.cache.shape(), s.cache.capacity());
    s.ended = true;
    return done_(s.index, std::move(completion));
  }

  const Engine& engine_;
  std::span<const Request> requests_;
  const GenerateOptions& options_;
  const OnCompletion& done_;
  const OnText& on_text_;
  PrefixStore prefixes_;
  std::vector<Sequence> active_;
  size_t next_ = 0;
  int64_t kv_bytes_ = 0;
};

}  // namespace

Status generate(const Engine& engine, std::span<const Request> requests,
                const GenerateOptions& options, const OnCompletion& done, const OnText& on_text) {
  return Generator(engine, requests, options, done, on_text).run();
}

Result<Completion> generate(const Engine& engine, const Request& request, const OnText& on_text) {
  Completion out;
  LATHE_OK(generate(
      engine, std::span(&request, 1), {},
      [&](size_t, Completion completion) {
        out = std::move(completion);
        return true;
      },
      on_text));
  return out;
}

}  // namespace lathe
