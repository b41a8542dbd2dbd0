// Normalizers of tokenizer.json: text to text, before it is split into words.
#pragma once

#include <memory>
#include <string>

#include "lathe/base/result.h"
#include "lathe/text/json_fields.h"

namespace lathe::text {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(std::string& text) const = 0;  // valid UTF-8 in, valid UTF-8 out
  // The same for one stretch of the input; `at_start` when it is the first.
  virtual void apply_at(std::string& text, bool at_start) const {
    (void)at_start;
    apply(text);
  }
  // How many bytes one byte can become at most; files whose steps multiply to more than
  // kMaxGrowth are refused, since a small hostile one could fill the memory.
  virtual double growth() const { return 1; }
};

inline constexpr double kMaxGrowth = 4096;

Result<std::unique_ptr<Normalizer>> make_normalizer(const Json& spec, int depth = 0);

std::unique_ptr<Normalizer> make_nfc();

// All occurrences of `from` (not empty) become `to`.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

}  // namespace lathe::text
