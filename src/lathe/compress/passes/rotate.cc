// rotate: the model in other coordinates, in which its weights have fewer outliers (Ashkboos et al.
// 2024, "QuaRot", sections 4.1 and 4.2; Liu et al. 2024, "SpinQuant": R1 and R2). Randomized
// Hadamard matrices, only those that fold into the weights: nothing is rotated while the model
// runs.
#include "lathe/compress/passes/format_parameter.h"
#include "lathe/compress/passes/list.h"
#include "lathe/compress/rotated_model.h"

namespace lathe {
namespace {

Result<Rotation> rotation_of(int64_t size, int64_t seed, const char* what) {
  if (auto rotation = Rotation::create(size, static_cast<uint64_t>(seed))) return *rotation;
  return unsupported("no Hadamard matrix of order {} ({}) is known to this program", size, what);
}

Result<Reshaped> rotate(const Checkpoint& source, const ReshapeSetup& setup) {
  const ModelConfig& c = source.config();
  const bool stream = setup.parameters["stream"].get<bool>();
  const bool heads = setup.parameters["heads"].get<bool>();
  if (!stream && !heads) return bad_input("neither 'stream' nor 'heads' is to be rotated");
  const auto seed = setup.parameters["seed"].get<int64_t>();
  std::optional<Rotation> of_stream, of_heads;
  if (stream) {
    LATHE_OK(can_rotate(c));
    LATHE_TRY(of_stream, rotation_of(c.hidden, seed, "the hidden size"));
  }
  if (heads) {
    LATHE_TRY(of_heads, rotation_of(c.head_size, seed, "the size of a head"));
  }
  return Reshaped{
      std::make_unique<RotatedModel>(source, std::move(of_stream), std::move(of_heads), setup.pool),
      {{"untied", stream && c.tied}}};
}

Result<nlohmann::json> check_seed(const nlohmann::json& value) {
  if (value.is_number_integer() && value.get<int64_t>() >= 1 && value.get<int64_t>() <= 1'000'000) {
    return value;
  }
  return bad_input("must be a whole number from 1 to 1000000, not {}", value.dump());
}

}  // namespace

Pass rotate_pass() {
  Pass pass{"rotate",
            "rotates the residual stream and the heads' values, so that fewer weights stick out",
            PassKind::kRotate,
            false,
            {{"stream", true, "the residual stream, with the gains of the norms folded first",
              check_flag},
             {"heads", true, "the values of each head", check_flag},
             {"seed", 1, "of the random signs", check_seed}},
            nullptr};
  pass.reshape = rotate;
  return pass;
}

}  // namespace lathe
