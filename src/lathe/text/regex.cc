#define PCRE2_CODE_UNIT_WIDTH 8
#include "lathe/text/regex.h"

#include <pcre2.h>

#include <atomic>
#include <utility>

#include "lathe/base/log.h"
#include "lathe/text/unicode.h"

namespace lathe::text {
namespace {

// Inside a class, without its brackets.
constexpr std::string_view kSpaces =
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";
constexpr std::string_view kWordCharacters = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
constexpr std::string_view kHexDigits = "0-9a-fA-F";

Result<std::string> to_pcre2(const std::string& pattern) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char e = pattern[++i];
      const std::string_view members = e == 's' || e == 'S'   ? kSpaces
                                       : e == 'w' || e == 'W' ? kWordCharacters
                                       : e == 'h' || e == 'H' ? kHexDigits
                                                              : std::string_view();
      if (members.empty()) {
        (out += c) += e;
        continue;
      }
      const bool negated = e < 'a';
      if (in_class && negated && e != 'S')
        return unsupported("regex '{}': \\{} inside a character class", pattern, e);
      if (in_class && negated) {
        out += "\\S";  // differs from Oniguruma's for U+180E only
      } else if (in_class) {
        out += members;
      } else {
        out += negated ? "[^" : "[";
        (out += members) += ']';
      }
      continue;
    }
    if (in_class) {
      if (c == ']') in_class = false;
      if (c == '[' && (i + 1 >= pattern.size() || pattern[i + 1] != ':')) {
        return unsupported("regex '{}': a character class inside a character class", pattern);
      }
      if (c == '[') {  // a POSIX class such as [:alpha:]
        const size_t end = pattern.find(":]", i);
        if (end == std::string::npos) return bad_input("regex '{}': '[:' without ':]'", pattern);
        out.append(pattern, i, end + 2 - i);
        i = end + 1;
        continue;
      }
      if (c == '&' && i + 1 < pattern.size() && pattern[i + 1] == '&')
        return unsupported("regex '{}': class intersection (&&)", pattern);
    } else if (c == '[') {
      in_class = true;
      out += c;
      if (i + 1 < pattern.size() && pattern[i + 1] == '^') out += pattern[++i];
      if (i + 1 < pattern.size() && pattern[i + 1] == ']') {
        out += "\\]";
        ++i;
      }
      continue;
    }
    out += c;
  }
  return out;
}

// Match data and JIT stack: one of each per thread.
struct Scratch {
  Scratch()
      : data(pcre2_match_data_create(1, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(32 << 10, 16 << 20, nullptr)) {
    LATHE_CHECK(data && context && stack);
    pcre2_jit_stack_assign(context, nullptr, stack);
    // Published patterns do not backtrack over more than one run; these stop hostile ones.
    pcre2_set_match_limit(context, 10'000'000);
    pcre2_set_heap_limit(context, 256u << 10);  // KiB
  }
  ~Scratch() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  pcre2_match_data* data;
  pcre2_match_context* context;
  pcre2_jit_stack* stack;
};

}  // namespace

struct Regex::Impl {
  ~Impl() { pcre2_code_free(code); }
  pcre2_code* code = nullptr;
  std::string pattern;
  std::atomic<bool> warned{false};
};

Regex::Regex(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::compile(const std::string& pattern) {
  if (pattern.size() > (64u << 10))
    return bad_input("regex of {} bytes; at most 65536 are allowed", pattern.size());
  LATHE_TRY(const std::string translated, to_pcre2(pattern));
  auto impl = std::make_unique<Impl>();
  impl->pattern = pattern;
  int error = 0;
  PCRE2_SIZE where = 0;
  impl->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                             &error, &where, nullptr);
  if (!impl->code) {
    PCRE2_UCHAR message[160];
    pcre2_get_error_message(error, message, sizeof message);
    return bad_input("regex '{}': {} (at {})", pattern, reinterpret_cast<char*>(message), where);
  }
  // Where the platform has no JIT, the interpreter gives the same matches.
  pcre2_jit_compile(impl->code, PCRE2_JIT_COMPLETE);
  return Regex(std::move(impl));
}

void Regex::find_all(std::string_view text, std::vector<Range>& matches) const {
  thread_local Scratch scratch;
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t at = 0, last_end = std::string_view::npos;
  while (at <= text.size()) {
    int rc = pcre2_match(impl_->code, subject, text.size(), at, PCRE2_NO_UTF_CHECK, scratch.data,
                         scratch.context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
      rc = pcre2_match(impl_->code, subject, text.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       scratch.data, scratch.context);
    if (rc < 0) {
      if (rc != PCRE2_ERROR_NOMATCH && !impl_->warned.exchange(true))
        spdlog::warn(
            "the tokenizer's regex '{}' backtracks beyond all bounds (PCRE2 error {}); text "
            "behind such a place is not cut into words",
            impl_->pattern, rc);
      return;
    }
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(scratch.data);
    const size_t begin = ends[0], end = ends[1];
    if (begin == end) {
      if (begin != last_end) matches.push_back({begin, end});
      if (begin >= text.size()) return;
      at = begin + utf8_length(text[begin]);
    } else {
      matches.push_back({begin, end});
      at = end;
    }
    last_end = end;
  }
}

}  // namespace lathe::text
