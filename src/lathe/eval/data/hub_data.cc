#include "lathe/eval/data/hub_data.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <vector>

#include "lathe/io/hub.h"
#include "lathe/io/hub_cache.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

struct HubName {
  std::string repo_id, revision = "main", file;
};

std::optional<HubName> parse(const std::string& text) {
  HubName name;
  name.repo_id = text.substr(0, text.find_first_of("@:"));
  std::string rest = text.substr(name.repo_id.size());
  if (rest.starts_with('@')) {
    name.revision = rest.substr(1, rest.find(':') - 1);
    rest.erase(0, 1 + name.revision.size());
  }
  if (rest.starts_with(':')) name.file = rest.substr(1);
  // A name without its owner would be any file name.
  if (name.repo_id.find('/') == std::string::npos || !looks_like_repo_id(name.repo_id)) {
    return std::nullopt;
  }
  return name;
}

bool has_part_test(std::string name) {
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (size_t at = 0; (at = name.find("test", at)) != std::string::npos; ++at) {
    const size_t end = at + 4;
    const auto is_letter = [&](size_t i) {
      return i < name.size() && std::isalpha(static_cast<unsigned char>(name[i])) != 0;
    };
    if ((at == 0 || !is_letter(at - 1)) && !is_letter(end)) return true;
  }
  return false;
}

std::vector<std::string> names_below(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    if (it->is_regular_file(error)) {
      names.push_back(it->path().lexically_relative(folder).generic_string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

Result<std::optional<std::string>> find_in_pulled_data(const std::string& text) {
  const auto name = parse(text);
  if (!name) return std::optional<std::string>();
  const auto folder = find_in_hub_cache(name->repo_id, name->revision, HubKind::kDataset);
  if (!folder) return std::optional<std::string>();

  const std::vector<std::string> names = names_below(*folder);
  const std::string all = fmt::format("{}", fmt::join(names, ", "));
  if (!name->file.empty()) {
    if (std::find(names.begin(), names.end(), name->file) != names.end()) {
      return std::optional(*folder + "/" + name->file);
    }
    return not_found("data set '{}': no file '{}' in {}", name->repo_id, name->file, *folder)
        .with_hint(fmt::format("it holds {}; 'lathe pull --dataset {} --include {}' fetches more",
                               all, name->repo_id, name->file));
  }
  std::vector<std::string> readable = data_files(names);
  if (readable.size() > 1) {
    std::erase_if(readable, [](const std::string& file) { return !has_part_test(file); });
  }
  if (readable.size() == 1) return std::optional(*folder + "/" + readable[0]);
  return bad_input("data set '{}': which of its files? {}", name->repo_id, all)
      .with_hint(fmt::format("name one: {}:FILE", name->repo_id));
}

}  // namespace lathe
