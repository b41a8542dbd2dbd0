#include "lathe/lab/experiment.h"

namespace lathe {

// Every format that Lathe writes, pruning, and both orders of the hybrid, in a few minutes on two
// cores.
const char* demo_experiment() {
  return R"(name: demo
models: [bundled]
baseline: fp16
variants:
  fp16:       {format: f16}
  int8:       {format: "int8:row"}
  int4-naive: {format: "int4:row"}
  int4-g128:  {format: "int4:g128"}
  int4-g32:   {format: "int4:g32"}
  nf4:        {format: "nf4:b64"}
  nf4-dq:     {format: "nf4:b64,dq"}
  fp4:        {format: "fp4:b64"}
  pruned-20:  {prune: {method: magnitude, sparsity: 0.2}, format: f16}
  pruned-30:  {prune: {method: magnitude, sparsity: 0.3}, format: f16}
  hybrid:     {prune: {method: magnitude, sparsity: 0.2}, format: "int4:g32"}
tasks:
  - squad_v2
  - gsm8k: {max_tokens: 96}
  - perplexity: {convention: hf-stride, window: 512, stride: 256}
probes: [size, {latency: {prompt: 128, generate: 64}}, memory]
cost: {usd_per_hour: 0.35}
)";
}

}  // namespace lathe
