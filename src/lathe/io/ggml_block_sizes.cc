#include "lathe/io/ggml_block_sizes.h"

#include "lathe/formats/gguf_types.h"

namespace lathe {
namespace {

struct Foreign {
  uint32_t type;
  GgmlBlock block;
};

constexpr Foreign kForeign[] = {
    {15, {"q8_k", 256, 292}},   {16, {"iq2_xxs", 256, 66}}, {17, {"iq2_xs", 256, 74}},
    {18, {"iq3_xxs", 256, 98}}, {19, {"iq1_s", 256, 50}},   {21, {"iq3_s", 256, 110}},
    {22, {"iq2_s", 256, 82}},   {23, {"iq4_xs", 256, 136}}, {24, {"i8", 1, 1}},
    {25, {"i16", 1, 2}},        {26, {"i32", 1, 4}},        {27, {"i64", 1, 8}},
    {28, {"f64", 1, 8}},        {29, {"iq1_m", 256, 56}},   {34, {"tq1_0", 256, 54}},
    {35, {"tq2_0", 256, 66}},   {39, {"mxfp4", 32, 17}},    {40, {"nvfp4", 64, 36}},
    {41, {"q1_0", 128, 18}},
};

}  // namespace

std::optional<GgmlBlock> ggml_block(uint32_t type) {
  if (const GgmlTypeInfo* info = ggml_type_info(type)) {
    return GgmlBlock{info->name, info->block_elems, info->block_bytes};
  }
  for (const Foreign& foreign : kForeign) {
    if (foreign.type == type) return foreign.block;
  }
  return std::nullopt;
}

}  // namespace lathe
