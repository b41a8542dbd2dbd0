// One function per pass; registry.cc puts them in order.
#pragma once

#include "lathe/compress/pass.h"

namespace lathe {

Pass layers_pass();
Pass heads_pass();
Pass channels_pass();
Pass rotate_pass();
Pass awq_pass();
Pass smoothquant_pass();
Pass rtn_pass();
Pass clip_pass();
Pass hqq_pass();
Pass magnitude_pass();
Pass gptq_pass();
Pass imatrix_pass();
Pass llm_int8_pass();
Pass wanda_pass();
Pass sparsegpt_pass();
Pass joint_pass();

}  // namespace lathe
