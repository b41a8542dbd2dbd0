#include "lathe/compress/reshape.h"

#include <filesystem>

#include "lathe/base/mapped_file.h"
#include "lathe/compress/pass.h"
#include "lathe/io/atomic_file.h"
#include "lathe/model/config_json.h"

namespace lathe {
namespace {

constexpr size_t kMostConfigBytes = size_t{16} << 20;

// The source's config.json with the sizes of `config`; null where the source has none.
Result<nlohmann::json> changed_config(const Checkpoint& source, const ModelConfig& config) {
  const std::string path = source.tokenizer_path() + "/config.json";
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return nlohmann::json();
  LATHE_TRY(const std::string text, read_text(path, kMostConfigBytes));
  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return bad_input("{}: not a JSON object", path);
  LATHE_TRY_IN(json, with_sizes(std::move(json), source.config(), config), path);
  return json;
}

}  // namespace

Status ReshapedSource::reshape(const Recipe& recipe, ThreadPool& pool, const Samples* samples) {
  for (const RecipeStep& step : recipe.steps) {
    const Pass* pass = find_pass(step.pass).value();
    if (!reshapes(pass->kind)) continue;
    LATHE_TRY_IN(Reshaped reshaped, pass->reshape(model(), {step.parameters, pool, samples}),
                 pass->name);
    chain_.push_back(std::move(reshaped.model));
    nlohmann::json entry;
    entry[pass->name] = std::move(reshaped.report);
    report_.push_back(std::move(entry));
  }
  return {};
}

Result<ReshapedSource> ReshapedSource::preview(const Checkpoint& source, const Recipe& recipe,
                                               ThreadPool& pool) {
  ReshapedSource out(source);
  LATHE_OK(out.reshape(recipe, pool, nullptr));
  if (out.changed()) LATHE_OK(changed_config(source, out.model().config()));
  return out;
}

Result<ReshapedSource> ReshapedSource::create(const Checkpoint& source, const Recipe& recipe,
                                              const Samples& samples, ThreadPool& pool) {
  ReshapedSource out(source);
  LATHE_OK(out.reshape(recipe, pool, &samples));
  return out;
}

Status ReshapedSource::write_config(const std::string& directory) const {
  LATHE_TRY(const nlohmann::json json, changed_config(source_, model().config()));
  if (json.is_null()) return {};
  return write_atomically(directory + "/config.json", json.dump(2) + "\n");
}

}  // namespace lathe
