#include "lathe/backend/ops.h"

namespace lathe {

std::vector<Tensor> Ops::linears(std::span<const Linear* const> ws, const Tensor& x) {
  std::vector<Tensor> out;
  out.reserve(ws.size());
  for (const Linear* w : ws) out.push_back(linear(*w, x));
  return out;
}

}  // namespace lathe
