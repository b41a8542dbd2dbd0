// SentenceEncoder: texts to vectors, for texts to be compared by meaning. It reads a directory as
// sentence-transformers writes it (Reimers and Gurevych 2019) and gives that library's vectors:
// the encoder's hidden states, their mean over the tokens of the text (special tokens included),
// scaled to length 1.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lathe/model/model.h"
#include "lathe/text/tokenizer.h"

namespace lathe {

// Everything but the weights, read and checked: what can be refused early is refused here.
struct EncoderFiles {
  std::string path;
  std::shared_ptr<const Checkpoint> checkpoint;
  std::shared_ptr<const Tokenizer> tokenizer;
  int64_t max_tokens = 0;  // of a text, special tokens included; what is beyond is cut off
  // Weights, tokenizer and settings: what the vectors are made from.
  std::vector<std::string> files;
};

// `model`: as typed by the user (see resolve_model). Refuses models that generate, directories
// without modules.json, pooling other than the mean, and modules beside transformer, pooling and
// normalization.
Result<EncoderFiles> open_encoder(const std::string& model);

class SentenceEncoder {
 public:
  // `ops` must outlive the encoder. With exact arithmetic (see Math) a text's vector does not
  // depend on the texts beside it, but for the order of summation.
  static Result<SentenceEncoder> load(const EncoderFiles& files, Ops& ops);

  struct Vectors {
    Tensor rows;        // [texts, C], each of length 1
    int64_t truncated;  // texts that were cut
  };
  // Any texts, the empty one too: its vector is that of the special tokens.
  Result<Vectors> encode(std::span<const std::string> texts) const;

 private:
  SentenceEncoder(EncoderFiles files, std::shared_ptr<const Model> model, Ops& ops)
      : files_(std::move(files)), model_(std::move(model)), ops_(&ops) {}
  std::vector<TokenId> tokens_of(const std::string& text, bool& truncated) const;
  // Writes the vectors of these sequences into `out`, [ids.size(), C].
  Status encode_batch(std::span<const std::vector<TokenId>> ids, std::vector<KvCache>& caches,
                      float* out) const;

  EncoderFiles files_;
  std::shared_ptr<const Model> model_;
  Ops* ops_;
  std::vector<TokenId> prefix_, suffix_;  // the special tokens around a text
};

}  // namespace lathe
