// SPDX-License-Identifier: Apache-2.0
// Whole tokenizer.json files. What loads must encode and decode, and yield only ids that it has.

// Links: lathe_text

#include "fuzz_support.h"
#include "lathe/base/check.h"
#include "lathe/text/pipeline.h"

using namespace lathe;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto parts = text::parse_tokenizer_json(fuzz_text(data, size));
  if (!parts.ok()) {
    LATHE_CHECK(!parts.error().message.empty());
    return 0;
  }
  const auto tokenizer = text::make_tokenizer(std::move(*parts));
  const std::string text = "Hello, w\xc3\xb6rld 42!\n  \xe2\x96\x81\xe4\xbd\xa0 <s>a</s> \xff";
  for (const bool special : {false, true}) {
    const auto ids = tokenizer->encode(text, {.add_special = special, .parse_special = special});
    (void)tokenizer->decode(ids, special);
    for (const TokenId id : ids) {
      LATHE_CHECK(id >= 0);
      (void)tokenizer->token_of(id);
    }
  }
  return 0;
}
