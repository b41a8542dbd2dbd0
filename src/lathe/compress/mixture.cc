#include "lathe/compress/mixture.h"

#include "lathe/base/check.h"
#include "lathe/formats/format.h"

namespace lathe {
namespace {

// The first and the last eighth of the layers, and every third between them.
bool more_bits(int64_t layer, int64_t layers) {
  const int64_t eighth = layers / 8;
  return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

std::string wanted(bool four, const MatrixInfo& info, const ModelConfig& c) {
  const bool more = more_bits(info.layer, c.layers);
  if (info.name == "lm_head" || (info.name == "model.embed_tokens" && c.tied)) return "q6_k";
  if (info.name.ends_with("v_proj")) {
    return four ? (more ? "q6_k" : "q4_k") : (info.layer < 2 ? "q5_k" : "q4_k");
  }
  if (info.name.ends_with("down_proj")) {
    return four ? (more ? "q6_k" : "q4_k") : (info.layer < c.layers / 16 ? "q5_k" : "q4_k");
  }
  if (info.name.ends_with("o_proj")) return "q4_k";
  return four ? "q4_k" : "q3_k";
}

std::string in_short_blocks(const std::string& spec) {
  if (spec == "q3_k") return "iq4_nl";
  if (spec == "q4_k") return "q5_0";
  return spec == "q5_k" ? "q5_1" : "q8_0";
}

bool fits(const std::string& spec, const MatrixInfo& info) {
  return parse_format(spec).value()->supports(info.rows, info.cols).ok();
}

}  // namespace

bool is_mixture(std::string_view name) { return name == "q4_k_m" || name == "q3_k_m"; }

std::string mixture_base(std::string_view mixture) {
  LATHE_CHECK(is_mixture(mixture));
  return std::string(mixture.substr(0, 4));
}

std::optional<std::string> mixture_format(std::string_view mixture, const MatrixInfo& info,
                                          const ModelConfig& config) {
  LATHE_CHECK(is_mixture(mixture));
  if (info.name == "model.embed_positions") return std::nullopt;
  std::string spec = wanted(mixture == "q4_k_m", info, config);
  if (!fits(spec, info)) spec = in_short_blocks(spec);
  return fits(spec, info) ? spec : "f16";
}

}  // namespace lathe
