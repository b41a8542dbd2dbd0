// rtn: every weight goes to the nearest value that the format can hold.
#include "lathe/compress/passes/format_parameter.h"
#include "lathe/compress/passes/list.h"

namespace lathe {
namespace {

class RtnRun : public PassRun {
 public:
  explicit RtnRun(ThreadPool& pool) : pool_(pool) {}
  Status apply(WorkMatrix& matrix, const StepTarget& target) override {
    return matrix.quantize(target.format ? target.format : matrix.source().format_ptr(), pool_);
  }

 private:
  ThreadPool& pool_;
};

Result<std::unique_ptr<PassRun>> start_rtn(const PassSetup& setup) {
  return std::unique_ptr<PassRun>(std::make_unique<RtnRun>(setup.pool));
}

}  // namespace

Pass rtn_pass() {
  return {"rtn",
          "round to nearest: each weight to the nearest value that the format can hold",
          PassKind::kQuantize,
          false,
          {format_parameter("what the linear layers of the blocks are stored in, or keep")},
          start_rtn};
}

}  // namespace lathe
