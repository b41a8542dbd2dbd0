// SPDX-License-Identifier: Apache-2.0
// Whole tokenizer.model files (SentencePiece's protobuf).

// Links: lathe_text

#include "fuzz_support.h"
#include "lathe/base/check.h"
#include "lathe/text/pipeline.h"

using namespace lathe;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto parts = text::parse_sentencepiece(fuzz_text(data, size), size % 2 == 0);
  if (!parts.ok()) {
    LATHE_CHECK(!parts.error().message.empty());
    return 0;
  }
  const auto tokenizer = text::make_tokenizer(std::move(*parts));
  const auto ids =
      tokenizer->encode("Hello, w\xc3\xb6rld 42!\n  \xe2\x96\x81\xe4\xbd\xa0 <s>a \xff");
  for (const TokenId id : ids) LATHE_CHECK(id >= 0 && id < tokenizer->vocab_size());
  (void)tokenizer->decode(ids, false);
  return 0;
}
