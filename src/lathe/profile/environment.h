// What a number was measured on: stored with every run.
#pragma once

#include <nlohmann/json.hpp>

#include "lathe/generate/engine.h"

namespace lathe {

// {"cpu", "isa", "threads", "device", "seed", "cores", "memory_bytes", "os", "compiler", "lathe"}
nlohmann::json environment_of(const Engine& engine, uint64_t seed);
// {"path", "family", "parameters", "hash"}; the hash is over configuration and weight files.
Result<nlohmann::json> describe_model(const Checkpoint& checkpoint, int64_t parameters);
std::string cpu_name();

}  // namespace lathe
