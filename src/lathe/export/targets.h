// The targets that registry.cc lists, one function per file.
#pragma once

#include "lathe/export/export.h"

namespace lathe {

ExportTarget gguf_target();
std::vector<ExportTarget> hf_targets();
ExportTarget onnx_target();

}  // namespace lathe
