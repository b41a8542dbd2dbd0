// The one list of number formats. Adding one: its own file, its line in kinds.h and here.
#include <algorithm>
#include <cctype>

#include "lathe/base/suggest.h"
#include "lathe/formats/format.h"
#include "lathe/formats/kinds.h"

namespace lathe {

const std::vector<FormatKind>& format_kinds() {
  static const std::vector<FormatKind> kinds = [] {
    std::vector<FormatKind> all = {
        formats::f32_kind(),    formats::f16_kind(),      formats::bf16_kind(),
        formats::int8_kind(),   formats::int4_kind(),     formats::int3_kind(),
        formats::int2_kind(),   formats::ternary_kind(),  formats::nf4_kind(),
        formats::fp4_kind(),    formats::mxfp4_kind(),    formats::nvfp4_kind(),
        formats::sparse_kind(), formats::sparse24_kind(), formats::sparse48_kind(),
    };
    for (FormatKind& kind : formats::gguf_kinds()) all.push_back(std::move(kind));
    return all;
  }();
  return kinds;
}

Result<FormatPtr> parse_format(std::string_view spec) {
  const size_t colon = spec.find(':');
  const std::string_view name = spec.substr(0, colon);
  std::vector<std::string> known;
  for (const FormatKind& kind : format_kinds()) {
    if (kind.name == name) {
      if (colon != std::string_view::npos && colon + 1 == spec.size()) {
        return bad_input("format '{}' has nothing after the colon", spec)
            .with_hint(fmt::format("write it as {}", kind.syntax));
      }
      auto format =
          kind.parse(colon == std::string_view::npos ? std::string_view() : spec.substr(colon + 1));
      if (!format.ok()) return std::move(format).error().with_hint("write it as " + kind.syntax);
      return format;
    }
    known.push_back(kind.name);
  }
  std::string lower(name);  // specs are lower case: let Q4_K find q4_k
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return bad_input("unknown format '{}'", spec).with_hint(suggest(lower, known));
}

std::vector<std::string> example_formats() {
  std::vector<std::string> specs;
  for (const FormatKind& kind : format_kinds()) {
    specs.insert(specs.end(), kind.examples.begin(), kind.examples.end());
  }
  return specs;
}

}  // namespace lathe
