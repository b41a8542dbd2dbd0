// The tasks, for registry.cc: adding one is its file and a line there.
#pragma once

#include "lathe/eval/task.h"

namespace lathe {

TaskKind perplexity_task();
TaskKind rosetta_task();
TaskKind squad_v2_task();
TaskKind gsm8k_task();

}  // namespace lathe
