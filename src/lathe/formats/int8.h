// What the formats with 8-bit codes share. Not for the layers above.
#pragma once

#include "lathe/formats/detail.h"

namespace lathe::formats {

// Codes of `count` weights, of which `most` is the largest magnitude.
void encode_int8_run(const float* x, int64_t count, float most, int8_t* codes);
// That no scale of an F32 part makes weights infinite; scale = stored / divisor.
Status check_int8_scales(const Bytes& part, const char* name, float divisor);
FormatPtr int8_outliers();

}  // namespace lathe::formats
