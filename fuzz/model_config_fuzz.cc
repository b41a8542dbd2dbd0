// config.json of every family, and lathe.json. A configuration that parses is valid, reads back the
// same, and names its weights within bounds.

// Links: lathe_model

#include "fuzz_support.h"
#include "lathe/base/check.h"
#include "lathe/model/checkpoint_kinds.h"
#include "lathe/model/family.h"

using namespace lathe;

namespace {

void check(const ModelConfig& config) {
  LATHE_CHECK(validate(config).ok());
  const nlohmann::json json = to_json(config);
  LATHE_CHECK(to_json(*config_from_json(nlohmann::json::parse(json.dump()))) == json);
  if (config.layers > 64) return;
  for (const MatrixInfo& info : matrices_of(config)) LATHE_CHECK(info.rows > 0 && info.cols > 0);
  for (const VectorInfo& info : vectors_of(config)) LATHE_CHECK(info.size > 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fuzz_text(data, size);
  const auto described = parse_lathe_json(text, "lathe.json");
  if (described.ok()) check(described->config);
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return 0;
  // The model type picks the family; the others read the same keys in their own ways.
  for (const Family& family : families()) {
    const auto config = family.from_config(json);
    LATHE_CHECK(config.ok() || !config.error().message.empty());
    if (config.ok()) check(*config);
  }
  return 0;
}
