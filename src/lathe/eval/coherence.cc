#include "lathe/eval/coherence.h"

#include <algorithm>

#include "lathe/base/hash.h"
#include "lathe/base/progress.h"
#include "lathe/io/hub.h"

namespace lathe {
namespace {

constexpr size_t kSamplesAtOnce = 64;

Result<std::string> hash_of(const EncoderFiles& files) {
  const auto weights = files.checkpoint->weight_files();
  if (weights.size() == 1) return sha256_of_file(weights[0]);
  std::string hashes;
  for (const std::string& file : weights) {
    LATHE_TRY(const std::string hash, sha256_of_file(file));
    hashes += hash;
  }
  return sha256_hex(hashes);
}

}  // namespace

MetricDef coherence_row(const std::string& name) {
  return {name, MetricDef::Kind::kMean, name, "", 1, "", "higher"};
}

Result<std::optional<EncoderFiles>> find_encoder(const std::string& wanted) {
  if (wanted == "auto" && !find_in_hub_cache(kDefaultEncoder)) return std::optional<EncoderFiles>();
  LATHE_TRY_IN(EncoderFiles files, open_encoder(wanted == "auto" ? kDefaultEncoder : wanted),
               "encoder");
  return std::optional(std::move(files));
}

std::vector<std::string> encoder_files(const std::string& wanted) {
  const auto found = find_encoder(wanted);
  return found.ok() && *found ? (*found)->files : std::vector<std::string>();
}

std::string no_encoder() {
  return fmt::format("no encoder is given, and {} is not in the hub's cache ({})", kDefaultEncoder,
                     hub_cache_directory());
}

Result<nlohmann::json> score_coherence(const EncoderFiles& files, Ops& ops,
                                       const std::vector<ComparedTexts>& compared) {
  LATHE_TRY(const SentenceEncoder encoder, SentenceEncoder::load(files, ops));
  LATHE_TRY(const std::string hash, hash_of(files));
  int64_t prompts_cut = 0, answers_cut = 0;
  Progress progress("coherence", std::ssize(compared), "samples");
  for (size_t first = 0; first < compared.size(); first += kSamplesAtOnce) {
    const size_t count = std::min(kSamplesAtOnce, compared.size() - first);
    std::vector<std::string> prompts, answers;
    for (size_t i = 0; i < count; ++i) {
      prompts.push_back(compared[first + i].prompt);
      answers.push_back(compared[first + i].answer);
    }
    LATHE_TRY(const auto asked, encoder.encode(prompts));
    LATHE_TRY(const auto answered, encoder.encode(answers));
    prompts_cut += asked.truncated;
    answers_cut += answered.truncated;
    for (size_t i = 0; i < count; ++i) {
      const auto row = static_cast<int64_t>(i);
      double cosine = 0;
      for (int64_t c = 0; c < asked.rows.cols(); ++c) {
        cosine += double{asked.rows.row(row)[c]} * answered.rows.row(row)[c];
      }
      compared[first + i].sample->scores[compared[first + i].row] = std::clamp(cosine, -1.0, 1.0);
      progress.advance();
    }
  }
  return nlohmann::json{{"encoder", files.path},
                        {"encoder_hash", hash},
                        {"encoder_tokens", files.max_tokens},
                        {"prompts_cut", prompts_cut},
                        {"answers_cut", answers_cut}};
}

}  // namespace lathe
