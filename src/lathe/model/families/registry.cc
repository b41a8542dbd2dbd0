#include "lathe/base/suggest.h"
#include "lathe/model/families/list.h"

namespace lathe {

const std::vector<Family>& families() {
  static const std::vector<Family> list = {
      llama_family(),  mistral_family(), qwen2_family(), qwen3_family(),
      phi_family(),    phi3_family(),    gemma_family(), gemma2_family(),
      gemma3_family(), gpt2_family(),    opt_family(),   bert_family(),
  };
  return list;
}

namespace {

template <typename Names>
Result<const Family*> find(const std::string& wanted, const char* what, Names names) {
  std::vector<std::string> known;
  for (const Family& family : families()) {
    for (const std::string& name : family.*names) {
      if (name == wanted) return &family;
      known.push_back(name);
    }
  }
  return unsupported("{} '{}' is not a family that Lathe knows", what, wanted)
      .with_hint(suggest(wanted, known));
}

}  // namespace

Result<const Family*> family_of_model_type(const std::string& model_type) {
  return find(model_type, "model_type", &Family::model_types);
}

Result<const Family*> family_of_gguf(const std::string& architecture) {
  return find(architecture, "architecture", &Family::gguf_architectures);
}

}  // namespace lathe
