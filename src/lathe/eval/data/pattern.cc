#include "lathe/eval/data/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "lathe/base/log.h"
#include "lathe/text/unicode.h"

namespace lathe {
namespace {

struct MatchData {
  explicit MatchData(const pcre2_code* code)
      : data(pcre2_match_data_create_from_pattern(code, nullptr)),
        context(pcre2_match_context_create(nullptr)) {
    // Stops what backtracks without end; a model's text is no longer than a context.
    pcre2_set_match_limit(context, 10'000'000);
  }
  ~MatchData() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
  pcre2_match_data* data;
  pcre2_match_context* context;
};

}  // namespace

struct Pattern::Impl {
  ~Impl() { pcre2_code_free(code); }
  pcre2_code* code = nullptr;
  std::string source;

  // Calls each(ovector, groups) for all matches from left to right.
  template <typename Each>
  void scan(std::string_view text, Each each) const {
    const MatchData match(code);
    const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    uint32_t options = PCRE2_NO_UTF_CHECK;
    for (size_t at = 0; at <= text.size();) {
      const int rc =
          pcre2_match(code, subject, text.size(), at, options, match.data, match.context);
      if (rc < 0) {
        if (rc != PCRE2_ERROR_NOMATCH) {
          spdlog::warn("the pattern '{}' backtracks beyond all bounds; no match is taken", source);
        }
        return;
      }
      const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(match.data);
      each(ends, rc);
      // As in Python since 3.7: an empty match may follow, but not repeat, another one.
      if (ends[0] == ends[1]) {
        if (ends[0] >= text.size()) return;
        at = ends[1] + static_cast<size_t>(text::utf8_length(text[ends[1]]));
      } else {
        at = ends[1];
      }
    }
  }
};

Pattern::Pattern(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

Result<Pattern> Pattern::compile(const std::string& source) {
  if (source.size() > (16u << 10))
    return bad_input("pattern of {} bytes is too long", source.size());
  std::string storage;
  if (text::valid_utf8(source, storage).data() != source.data()) {
    return bad_input("a pattern is not valid UTF-8");
  }
  auto impl = std::make_unique<Impl>();
  impl->source = source;
  int error = 0;
  PCRE2_SIZE where = 0;
  impl->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(source.data()), source.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &where, nullptr);
  if (!impl->code) {
    PCRE2_UCHAR message[160];
    pcre2_get_error_message(error, message, sizeof message);
    return bad_input("pattern '{}': {} (at {})", source, reinterpret_cast<char*>(message), where);
  }
  return Pattern(std::move(impl));
}

std::vector<std::string> Pattern::find_all(std::string_view text) const {
  std::string storage;
  const std::string_view valid = text::valid_utf8(text, storage);
  std::vector<std::string> out;
  impl_->scan(valid, [&](const PCRE2_SIZE* ends, int groups) {
    const auto group = [&](int g) {
      return ends[2 * g] == PCRE2_UNSET
                 ? std::string()
                 : std::string(valid.substr(ends[2 * g], ends[2 * g + 1] - ends[2 * g]));
    };
    std::string found = groups == 1 ? group(0) : "";
    for (int g = 1; g < groups && found.empty(); ++g) found = group(g);
    out.push_back(std::move(found));
  });
  return out;
}

std::string Pattern::remove(std::string_view text) const {
  std::string storage, out;
  const std::string_view valid = text::valid_utf8(text, storage);
  size_t kept = 0;
  impl_->scan(valid, [&](const PCRE2_SIZE* ends, int) {
    out += valid.substr(kept, ends[0] - kept);
    kept = ends[1];
  });
  out += valid.substr(kept);
  return out;
}

}  // namespace lathe
