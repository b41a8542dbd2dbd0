// What the directories of all targets have in common: they appear whole, with config.json and the
// tokenizer of the source.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "lathe/export/export.h"
#include "lathe/model/family.h"

namespace lathe {

// Calls write(temporary) on a new directory beside `out` and renames it; nothing stays after an
// error. Gives the bytes of the files in it.
Result<int64_t> write_directory(const std::string& out,
                                const std::function<Status(const std::string& temporary)>& write);

Result<const Family*> family_of(const Checkpoint& source);
// The source's own config.json without what belongs to its quantization, or one that is made from
// its ModelConfig.
Result<nlohmann::json> plain_hf_config(const Checkpoint& source, const Family& family);
// Copies the tokenizer; a note where transformers cannot read what there is.
Status copy_tokenizer(const Checkpoint& source, const std::string& directory, ExportReport& report);

}  // namespace lathe
