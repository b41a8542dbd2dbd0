// Decoders of tokenizer.json: from token strings to text. Here they yield bytes, so that a
// generation that stops inside a character can be continued; the reference would put U+FFFD.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lathe/base/result.h"
#include "lathe/text/json_fields.h"

namespace lathe::text {

class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual void apply(std::vector<std::string>& tokens) const = 0;
  virtual double growth() const { return 1; }  // as Normalizer::growth()
};

Result<std::unique_ptr<Decoder>> make_decoder(const Json& spec, int depth = 0);

}  // namespace lathe::text
