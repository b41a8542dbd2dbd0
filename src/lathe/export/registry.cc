#include <algorithm>

#include "lathe/base/suggest.h"
#include "lathe/export/targets.h"

namespace lathe {

const std::vector<ExportTarget>& export_targets() {
  static const std::vector<ExportTarget> list = [] {
    std::vector<ExportTarget> all = {gguf_target()};
    for (ExportTarget& target : hf_targets()) all.push_back(std::move(target));
    all.push_back(onnx_target());
    return all;
  }();
  return list;
}

Result<const ExportTarget*> find_export_target(const std::string& name) {
  std::vector<std::string> known;
  for (const ExportTarget& target : export_targets()) {
    if (target.name == name) return &target;
    known.push_back(target.name);
  }
  return bad_input("unknown export target '{}'", name).with_hint(suggest(name, known));
}

bool ExportReport::exact() const {
  return std::all_of(classes.begin(), classes.end(),
                     [](const ExportedClass& c) { return c.exact; });
}

void ExportReport::add(const std::string& matrix, const std::string& from, const std::string& to,
                       int64_t weights, int64_t size, bool exact, double change) {
  static const std::string kLayers = "model.layers.";
  std::string name = matrix;
  if (name.starts_with(kLayers)) name = name.substr(name.find('.', kLayers.size()) + 1);
  auto it = std::find_if(classes.begin(), classes.end(), [&](const ExportedClass& c) {
    return c.name == name && c.from == from && c.to == to;
  });
  if (it == classes.end()) it = classes.insert(classes.end(), {name, from, to});
  ++it->matrices;
  it->weights += weights;
  it->bytes += size;
  it->exact = it->exact && exact;
  it->largest_change = std::max(it->largest_change, change);
}

}  // namespace lathe
