// Coherence: how near an answer's meaning is to its prompt's, as the cosine of their vectors by a
// sentence encoder (generate/sentence_encoder.h). It needs a model of its own, so it is worked out
// after the samples are made (Task::judge).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lathe/eval/task.h"
#include "lathe/generate/sentence_encoder.h"

namespace lathe {

// Looked for in the hub's cache where the encoder is "auto".
inline constexpr const char* kDefaultEncoder = "sentence-transformers/all-MiniLM-L6-v2";

// The row of `name`: the mean over samples, −1 to 1.
MetricDef coherence_row(const std::string& name);

// `wanted`: a model as typed by the user, which must be there; or "auto", which gives nullopt where
// kDefaultEncoder is not in the cache.
Result<std::optional<EncoderFiles>> find_encoder(const std::string& wanted);
// Its files, for the run's identity; empty where there is none or it is damaged (a run says so).
std::vector<std::string> encoder_files(const std::string& wanted);
// "no encoder is given, and …": why find_encoder("auto") found none.
std::string no_encoder();

// What is compared of one sample, and the score that takes the cosine.
struct ComparedTexts {
  Sample* sample;
  std::string row, prompt, answer;
};
// Sets the scores. Gives what a reader should know: {"encoder", "encoder_hash" (SHA-256 of the
// weights), "encoder_tokens", "prompts_cut", "answers_cut"}.
Result<nlohmann::json> score_coherence(const EncoderFiles& files, Ops& ops,
                                       const std::vector<ComparedTexts>& compared);

}  // namespace lathe
