#include "lathe/model/side_files.h"

#include <algorithm>
#include <filesystem>

#include "lathe/base/mapped_file.h"
#include "lathe/io/atomic_file.h"
#include "lathe/io/gguf.h"
#include "lathe/io/gguf_writer.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNames[] = {
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "tokenizer.gguf",
};

Status copy_if_there(const std::string& from, const char* name, const std::string& directory) {
  const fs::path path = fs::path(from) / name;
  std::error_code error;
  if (!fs::exists(path, error)) return {};
  LATHE_TRY(const Bytes bytes, map_file(path.string()));
  LATHE_TRY(AtomicFile file,
            AtomicFile::create(directory + "/" + name, static_cast<int64_t>(bytes.size())));
  LATHE_OK(file.write(bytes.span()));
  return file.commit();
}

}  // namespace

Status copy_tokenizer_files(const Checkpoint& source, const std::string& directory) {
  const std::string from = source.tokenizer_path();
  std::error_code error;
  if (!fs::is_directory(from, error)) {
    LATHE_TRY(const GgufFile file, GgufFile::open(from));
    const bool has_tokenizer =
        std::any_of(file.metadata().begin(), file.metadata().end(),
                    [](const auto& entry) { return entry.first.starts_with("tokenizer."); });
    if (!has_tokenizer) return {};
    return write_tokenizer_gguf(file, directory + "/tokenizer.gguf");
  }
  for (const char* name : kNames) LATHE_OK(copy_if_there(from, name, directory));
  return {};
}

Status copy_side_files(const Checkpoint& source, const std::string& directory) {
  LATHE_OK(copy_if_there(source.tokenizer_path(), "config.json", directory));
  return copy_tokenizer_files(source, directory);
}

}  // namespace lathe
