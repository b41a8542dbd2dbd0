// The kinds of format that registry.cc lists, one function per file.
#pragma once

#include "lathe/formats/format.h"

namespace lathe::formats {

FormatKind f32_kind();
FormatKind f16_kind();
FormatKind bf16_kind();
FormatKind int8_kind();
FormatKind int4_kind();
FormatKind int3_kind();
FormatKind int2_kind();
FormatKind ternary_kind();
FormatKind nf4_kind();
FormatKind fp4_kind();
FormatKind mxfp4_kind();
FormatKind nvfp4_kind();
FormatKind sparse_kind();
FormatKind sparse24_kind();
FormatKind sparse48_kind();
std::vector<FormatKind> gguf_kinds();

}  // namespace lathe::formats
