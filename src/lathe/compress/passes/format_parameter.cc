#include "lathe/compress/passes/format_parameter.h"

#include "lathe/compress/recipe.h"

namespace lathe {
namespace {

Result<nlohmann::json> check_format(const nlohmann::json& value) {
  LATHE_TRY(const std::string spec, storage_from_json(value));
  return nlohmann::json(spec);
}

}  // namespace

Result<nlohmann::json> check_flag(const nlohmann::json& value) {
  if (value.is_boolean()) return value;
  return bad_input("must be true or false, not {}", value.dump());
}

PassParameter format_parameter(const char* help) {
  return {"format", nlohmann::json(nlohmann::json::value_t::discarded), help, check_format};
}

}  // namespace lathe
