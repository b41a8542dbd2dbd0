// How far a calibrated compression has come, kept block by block in its temporary folder, so that
// one that was killed goes on with the block at which it stood and ends with the same bytes.
//
//   progress/progress.json   {"identity", "done": [{report of a matrix, "sha256" of its bytes}],
//                            "vectors": {name: size}, "data": name of the file, "data_sha256"}
//   progress/data-N.bin      f32: the hidden states of all samples, then the vectors
//   model.safetensors.tmp-…  the matrices that are done
//
// Everything is checked by hash when it is taken up; what does not fit is as if it were not there.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lathe/compress/output_directory.h"
#include "lathe/tensor/tensor.h"

namespace lathe {

struct BlockProgress {
  std::vector<nlohmann::json> done;  // reports, with "sha256"
  std::map<std::string, std::vector<float>> vectors;
  std::vector<Tensor> states;
};

// Replaces what was kept before in `directory`. `identity` says what is compressed, and how.
Status keep_progress(const std::string& directory, const nlohmann::json& identity,
                     const BlockProgress& progress);
// Before the directory is committed.
void forget_progress(const std::string& directory);

class KeptProgress {
 public:
  // The furthest that killed processes have left for `target`, none of which runs any more; null if
  // there is none with this identity. Other remains are removed, and this one when it goes.
  static std::unique_ptr<KeptProgress> find(const std::string& target,
                                            const nlohmann::json& identity);

  const BlockProgress& progress() const { return progress_; }
  // The hidden states, which would otherwise be in memory until this goes.
  std::vector<Tensor> take_states() { return std::move(progress_.states); }
  // The bytes of a tensor of the unfinished model.safetensors.
  Result<std::vector<uint8_t>> tensor(const std::string& name) const;

 private:
  explicit KeptProgress(LeftFolder folder) : folder_(std::move(folder)) {}
  Status load(const nlohmann::json& identity);
  Status load_data(const nlohmann::json& described);
  Status check_matrices() const;

  struct Place {
    int64_t begin, end;  // in the file
  };
  LeftFolder folder_;
  BlockProgress progress_;
  std::string weights_;  // path of the unfinished file
  std::map<std::string, Place> places_;
};

}  // namespace lathe
