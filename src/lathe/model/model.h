// A loaded model: configuration and packed weights. Immutable; shared by all sessions.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lathe/backend/ops.h"
#include "lathe/base/memory.h"
#include "lathe/model/checkpoint.h"
#include "lathe/model/config.h"

namespace lathe {

struct Layer {
  Norm input_norm, attention_output_norm, mlp_input_norm, mlp_output_norm, q_norm, k_norm;
  Linear q, k, v, o, gate, up, down;
};

struct Model {
  std::string path;
  ModelConfig config;
  int64_t context = 0;  // the most positions a session may use
  KvType kv = KvType::kF32;
  WeightMatrix embedding;
  WeightMatrix positions;    // learned positions; else empty
  WeightMatrix token_types;  // likewise
  Norm embedding_norm;       // likewise
  std::vector<Layer> layers;
  Norm final_norm;  // empty in an encoder, as is the head
  Linear head;
  Rope rope, local_rope;

  // Of the caches of its sessions.
  KvShape kv_shape() const {
    KvShape shape = config.kv_shape();
    shape.type = kv;
    return shape;
  }

  int64_t parameters = 0;     // weights and biases, a tied table counted once
  int64_t weights_bytes = 0;  // as held in memory by the engine, packed
  int64_t stored_bytes = 0;   // as stored in the checkpoint
  std::string format;         // of the linear layers, head excluded; "mixed" if they differ
};

struct LoadOptions {
  int64_t context = 0;  // 0: the model's own, but at most 4096
  KvType kv = KvType::kF32;
};

// Loads and packs every weight, of an encoder as well. Refuses (kNoRoom) when the estimate exceeds
// what the system can give.
Result<std::shared_ptr<const Model>> load_model(const Checkpoint& checkpoint, Ops& ops,
                                                const LoadOptions& options = {});
Result<std::shared_ptr<const Model>> load_model(const std::string& path, Ops& ops,
                                                const LoadOptions& options = {});

// One block, for streaming: loaded, used, freed.
Result<Layer> load_layer(const Checkpoint& checkpoint, Ops& ops, int64_t index);

}  // namespace lathe
