// Hugging Face hub: ids in the local cache, and downloads from a hub-compatible server.
// HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE are honoured; the cache layout is
// huggingface_hub's own (models--org--name/{blobs,refs,snapshots}, datasets--org--name likewise),
// so both programs share it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lathe/base/result.h"

namespace lathe {

// Models and data sets of the same id are different repositories.
enum class HubKind : uint8_t { kModel, kDataset };

// "org/name" or "name": letters, digits, '-', '_', '.', one slash at most, no "..".
bool looks_like_repo_id(std::string_view text);
// $HF_HUB_CACHE, else $HF_HOME/hub, else ~/.cache/huggingface/hub.
std::string hub_cache_directory();
// The snapshot directory of a repository in the local cache; nullopt when it is not there.
std::optional<std::string> find_in_hub_cache(const std::string& repo_id,
                                             const std::string& revision = "main",
                                             HubKind kind = HubKind::kModel);

struct PullOptions {
  std::string revision = "main";
  HubKind kind = HubKind::kModel;
  // Empty: of a model config, tokenizer and *.safetensors files (and *.gguf where there are no
  // safetensors); of a data set all files that Lathe reads (data_file_globs()).
  std::vector<std::string> include_globs;
  int retries = 3;
};
// What evaluation and calibration read of a data set: JSON, JSONL, CSV, TSV and plain text.
const std::vector<std::string>& data_file_globs();
// Of the names in a data set's repository those that fit data_file_globs(), without descriptions
// of it (dataset_infos.json, README.txt and the like).
std::vector<std::string> data_files(const std::vector<std::string>& names);
// Downloads into the cache; resumes partial files, checks size and SHA-256 (LFS) or git blob hash,
// shows progress; returns the snapshot directory. Files appear whole or not at all.
Result<std::string> pull_from_hub(const std::string& repo_id, const PullOptions& options);

}  // namespace lathe
