#include <algorithm>

#include "lathe/base/suggest.h"
#include "lathe/compress/passes/list.h"

namespace lathe {

const std::vector<Pass>& passes() {
  static const std::vector<Pass> all = {
      layers_pass(),    heads_pass(),       channels_pass(), rotate_pass(),
      awq_pass(),       smoothquant_pass(), rtn_pass(),      clip_pass(),
      hqq_pass(),       magnitude_pass(),   gptq_pass(),     wanda_pass(),
      sparsegpt_pass(), joint_pass(),       imatrix_pass(),  llm_int8_pass(),
  };
  return all;
}

Result<const Pass*> find_pass(std::string_view name) {
  std::vector<std::string> known;
  for (const Pass& pass : passes()) {
    if (pass.name == name) return &pass;
    known.push_back(pass.name);
  }
  return bad_input("unknown pass '{}'", name).with_hint(suggest(name, known));
}

Result<nlohmann::json> check_parameters(const Pass& pass, const nlohmann::json& given) {
  if (!given.is_object()) {
    return bad_input("pass '{}': parameters must be keys with values, not {}", pass.name,
                     given.dump());
  }
  std::vector<std::string> known;
  for (const PassParameter& parameter : pass.parameters) known.push_back(parameter.name);
  for (const auto& [key, value] : given.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return bad_input("pass '{}': unknown key '{}'", pass.name, key)
          .with_hint(suggest(key, known));
    }
  }
  nlohmann::json out = nlohmann::json::object();
  for (const PassParameter& parameter : pass.parameters) {
    const auto it = given.find(parameter.name);
    if (it == given.end() && parameter.default_value.is_discarded()) {
      return bad_input("pass '{}': '{}' is missing ({})", pass.name, parameter.name,
                       parameter.description);
    }
    LATHE_TRY_IN(out[parameter.name],
                 parameter.check(it == given.end() ? parameter.default_value : *it),
                 fmt::format("pass '{}': {}", pass.name, parameter.name));
  }
  return out;
}

}  // namespace lathe
