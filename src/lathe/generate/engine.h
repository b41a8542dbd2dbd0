// Engine: a model, its tokenizer and the backend that runs it.
#pragma once

#include <memory>
#include <string>

#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/backend/ops.h"
#include "lathe/model/model.h"
#include "lathe/text/tokenizer.h"

namespace lathe {

struct EngineOptions {
  std::string device =
      "auto";           // "cpu", "auto"; "check" runs the chosen kernels beside the portable ones
  int threads = 0;      // 0: one per core
  int64_t context = 0;  // 0: the model's own, at most 4096
  KvType kv = KvType::kF32;  // how keys and values are kept
  // Where LATHE_MATH does not say. Exact products are f32 throughout, so that a score does not
  // depend on the instruction set, nor, beyond the order of summation, on what else is in the
  // batch.
  Math math = Math::kFast;
};

struct Engine {
  std::shared_ptr<const Model> model;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<Ops> ops;
  std::string isa;  // "amx", "avx512", "avx2", "portable"
  Math math = Math::kFast;
};

Result<std::unique_ptr<Ops>> make_ops(const EngineOptions& options, std::string* isa = nullptr);
// `model`: as typed by the user (see resolve_model).
Result<Engine> open_engine(const std::string& model, const EngineOptions& options);
// The tokenizer that belongs to a checkpoint.
Result<std::shared_ptr<const Tokenizer>> tokenizer_of(const Checkpoint& checkpoint);

}  // namespace lathe
