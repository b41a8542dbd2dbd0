#include "lathe/export/model_directory.h"

#include <unistd.h>

#include <filesystem>

#include "lathe/base/mapped_file.h"
#include "lathe/export/hf_config.h"
#include "lathe/model/side_files.h"

namespace lathe {

namespace fs = std::filesystem;

Result<int64_t> write_directory(const std::string& out,
                                const std::function<Status(const std::string& temporary)>& write) {
  const std::string temporary = fmt::format("{}.tmp-{}", out, ::getpid());
  std::error_code error;
  if (!fs::create_directory(temporary, error)) {
    return failed("{}: cannot create: {}", temporary, error ? error.message() : "exists already");
  }
  Status status = write(temporary);
  if (status.ok()) {
    fs::rename(temporary, out, error);
    if (error) status = failed("{}: cannot create: {}", out, error.message());
  }
  if (!status.ok()) {
    fs::remove_all(temporary, error);
    return std::move(status).error();
  }
  int64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(out, error)) {
    bytes += static_cast<int64_t>(entry.file_size(error));
  }
  return bytes;
}

Result<const Family*> family_of(const Checkpoint& source) {
  for (const Family& family : families()) {
    if (family.name == source.config().family) return &family;
  }
  return unsupported("the family '{}' is not known", source.config().family);
}

Result<nlohmann::json> plain_hf_config(const Checkpoint& source, const Family& family) {
  nlohmann::json json;
  const std::string path = source.tokenizer_path() + "/config.json";
  std::error_code error;
  if (fs::exists(path, error)) {
    LATHE_TRY(const std::string text, read_text(path, size_t{16} << 20));
    json = nlohmann::json::parse(text, nullptr, false);
    if (!json.is_object()) return bad_input("{}: not a JSON object", path);
  }
  // Multimodal checkpoints nest the language model's configuration; only that model is written.
  if (json.is_null() || json.contains("text_config")) {
    LATHE_TRY(json, hf_config(source.config(), family));
  }
  json.erase("quantization_config");
  json.erase("dtype");
  json["tie_word_embeddings"] = source.config().tied;
  return json;
}

Status copy_tokenizer(const Checkpoint& source, const std::string& directory,
                      ExportReport& report) {
  LATHE_OK(copy_tokenizer_files(source, directory));
  if (fs::exists(directory + "/tokenizer.gguf")) {
    report.notes.emplace_back(
        "the tokenizer comes from a GGUF file and is kept as tokenizer.gguf: Lathe reads it, "
        "transformers needs tokenizer.json of the original");
  }
  return {};
}

}  // namespace lathe
