// Recipe files. What parses reads back the same from its canonical form.

// Links: lathe_compress

#include "fuzz_support.h"
#include "lathe/base/check.h"
#include "lathe/compress/recipe.h"
#include "lathe/io/yaml.h"

using namespace lathe;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto yaml = yaml_to_json(fuzz_text(data, size), "fuzz.yaml");
  if (!yaml.ok()) {
    LATHE_CHECK(!yaml.error().message.empty());
    return 0;
  }
  const auto recipe = recipe_from_json(*yaml);
  if (!recipe.ok()) {
    LATHE_CHECK(!recipe.error().message.empty());
    return 0;
  }
  const nlohmann::json canonical = to_json(*recipe);
  const auto again = recipe_from_json(canonical);
  LATHE_CHECK(again.ok() && to_json(*again) == canonical && again->hash() == recipe->hash());
  LATHE_CHECK(!recipe->format().empty());
  return 0;
}
