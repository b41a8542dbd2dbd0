#include "lathe/generate/engine.h"

#include "lathe/backend/check_ops.h"
#include "lathe/io/gguf.h"

namespace lathe {

Result<std::unique_ptr<Ops>> make_ops(const EngineOptions& options, std::string* isa) {
  if (options.device.rfind("cuda", 0) == 0) {
    return unsupported("this build of Lathe has no CUDA backend").with_hint("use --device cpu");
  }
  if (options.device != "cpu" && options.device != "auto" && options.device != "check") {
    return bad_input("unknown device '{}'", options.device).with_hint("known: cpu, auto, check");
  }
  LATHE_TRY(const Isa chosen, chosen_isa());
  if (isa) *isa = name_of(chosen);
  auto pool = std::make_shared<ThreadPool>(options.threads);
  LATHE_TRY(const Math math, chosen_math(options.math));
  std::unique_ptr<Ops> ops = make_cpu_ops(chosen, pool, math);
  if (options.device == "check") {
    // Fast products round x and, in part, the weights to BF16: 8 bits.
    ops = std::make_unique<CheckOps>(std::move(ops), make_cpu_ops(Isa::kPortable, pool),
                                     math == Math::kFast ? 1e-2f : 1e-4f);
  }
  return ops;
}

Result<std::shared_ptr<const Tokenizer>> tokenizer_of(const Checkpoint& checkpoint) {
  const std::string path = checkpoint.tokenizer_path();
  if (!path.ends_with(".gguf")) return load_tokenizer(path);
  LATHE_TRY(const GgufFile file, GgufFile::open(path));
  LATHE_TRY_IN(auto tokenizer, load_tokenizer(file), path);
  return tokenizer;
}

Result<Engine> open_engine(const std::string& model, const EngineOptions& options) {
  Engine engine;
  LATHE_TRY(engine.ops, make_ops(options, &engine.isa));
  LATHE_TRY(engine.math, chosen_math(options.math));
  LATHE_TRY(const std::string path, resolve_model(model));
  LATHE_TRY(const auto checkpoint, open_checkpoint(path));
  LATHE_TRY(engine.tokenizer, tokenizer_of(*checkpoint));
  LATHE_TRY(engine.model, load_model(*checkpoint, *engine.ops, {options.context, options.kv}));
  if (engine.tokenizer->vocab_size() > engine.model->config.vocab) {
    return bad_input("{}: the tokenizer has {} tokens, the model only {}", path,
                     engine.tokenizer->vocab_size(), engine.model->config.vocab)
        .with_hint("the tokenizer files belong to another model");
  }
  return engine;
}

}  // namespace lathe
