// What a reader should know before trusting a score: which tokenizer, BOS, template and context
// were used, and where the checkpoint and the settings do not fit each other.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lathe/generate/engine.h"

namespace lathe {

class Preflight {
 public:
  // `chat`: prompts go through the model's chat template.
  Preflight(const Engine& engine, bool chat);

  // The tokens of a prompt as fed, and whether its beginning was cut off.
  void prompt(const std::vector<TokenId>& ids, bool truncated);
  void warn(std::string text) { warnings_.push_back(std::move(text)); }
  void set(const char* key, nlohmann::json value) { facts_[key] = std::move(value); }

  // Facts and warnings, the prompts' hash among them.
  nlohmann::json report() const;

 private:
  void check_special_tokens();

  const Engine& engine_;
  bool chat_;
  nlohmann::json facts_ = nlohmann::json::object();
  std::vector<std::string> warnings_;
  std::string hashed_;  // running hash of all prompts
  int64_t prompts_ = 0, truncated_ = 0, longest_ = 0, without_bos_ = 0, double_bos_ = 0;
};

}  // namespace lathe
