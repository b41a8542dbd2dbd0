#include <fnmatch.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "lathe/base/log.h"
#include "lathe/base/progress.h"
#include "lathe/io/atomic_file.h"
#include "lathe/io/hub.h"
#include "lathe/io/hub_cache.h"
#include "lathe/io/hub_client.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kMegabyte = 1'000'000;

bool fits_any(const std::string& name, const std::vector<std::string>& globs) {
  return std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) {
    return ::fnmatch(glob.c_str(), name.c_str(), 0) == 0;
  });
}

std::vector<std::string> those(const std::vector<std::string>& files,
                               const std::vector<std::string>& globs) {
  std::vector<std::string> out;
  std::copy_if(files.begin(), files.end(), std::back_inserter(out),
               [&](const std::string& name) { return fits_any(name, globs); });
  return out;
}

// The first names, and how many more there are.
std::string some_of(const std::vector<std::string>& names) {
  constexpr size_t kShown = 8;
  if (names.size() <= kShown) return fmt::format("{}", fmt::join(names, ", "));
  return fmt::format("{} and {} more", fmt::join(names.begin(), names.begin() + kShown, ", "),
                     names.size() - kShown);
}

Result<std::vector<std::string>> choose_data_files(const std::vector<std::string>& all) {
  std::vector<std::string> chosen = data_files(all);
  if (!chosen.empty()) return chosen;
  const std::vector<std::string> parquet = those(all, {"*.parquet"});
  if (parquet.empty()) {
    return unsupported("it holds none of the files that are read: {}",
                       fmt::join(data_file_globs(), ", "))
        .with_hint(fmt::format("it holds {}", some_of(all)));
  }
  return unsupported("it holds its data as Parquet alone, which is not read: {}", some_of(parquet))
      .with_hint(
          "pull it with --include '*.parquet' and convert the file, for example with DuckDB: COPY "
          "(FROM 'x.parquet') TO 'x.jsonl' (FORMAT json)");
}

Result<std::vector<std::string>> choose_model_files(const std::vector<std::string>& all) {
  std::vector<std::string> top;
  std::copy_if(all.begin(), all.end(), std::back_inserter(top),
               [](const std::string& name) { return name.find('/') == std::string::npos; });
  std::vector<std::string> chosen =
      those(top, {"*.json", "*.jinja", "merges.txt", "vocab.txt", "*.model"});
  // How a sentence encoder makes one vector of its states stands in a folder of its own.
  for (std::string& name : those(all, {"*_Pooling/config.json"})) chosen.push_back(std::move(name));
  // The weights as transformers names them, without second copies ("consolidated" and the like).
  std::vector<std::string> weights = those(top, {"model.safetensors", "model-*.safetensors"});
  if (weights.empty()) weights = those(top, {"*.safetensors"});
  if (weights.empty()) {
    weights = those(top, {"*.gguf"});
    if (weights.size() > 1) {
      return bad_input("it holds {} GGUF files: {}", weights.size(), fmt::join(weights, ", "))
          .with_hint("name the one to pull with --include");
    }
  }
  if (weights.empty()) {
    const bool pickle = !those(top, {"*.bin", "*.pt", "*.pth", "*.ckpt"}).empty();
    return unsupported(
               "it holds no safetensors and no GGUF file{}",
               pickle ? ", only pickle files, which are never loaded: they can run code" : "")
        .with_hint(pickle ? "look for a revision or a copy with safetensors"
                          : "is it a model? a data set is pulled with --dataset");
  }
  chosen.insert(chosen.end(), weights.begin(), weights.end());
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

Result<std::vector<std::string>> choose_files(const std::vector<std::string>& all,
                                              const PullOptions& options) {
  const std::vector<std::string>& globs = options.include_globs;
  if (globs.empty()) {
    return options.kind == HubKind::kDataset ? choose_data_files(all) : choose_model_files(all);
  }
  std::vector<std::string> chosen = those(all, globs);
  if (!chosen.empty()) return chosen;
  return not_found("none of its {} files fits {}", all.size(), fmt::join(globs, ", "))
      .with_hint(fmt::format("it holds {}", some_of(all)));
}

int64_t bytes_at(const std::string& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(size);
}

// snapshots/<commit>/<name> → the blob, as a relative link so that the cache can be moved.
Status link_blob(const HubFolder& folder, const std::string& commit, const HubFile& file) {
  const fs::path link = fs::path(folder.snapshot(commit)) / file.name;
  LATHE_OK(make_folders(link.parent_path().string()));
  std::error_code error;
  const fs::path target = fs::path(folder.blob(file.etag)).lexically_relative(link.parent_path());
  static std::atomic<int> links_made{0};  // pulls may run in several threads as well as processes
  const std::string temporary =
      fmt::format("{}.tmp-{}-{}", link.string(), ::getpid(), links_made.fetch_add(1));
  fs::remove(temporary, error);
  fs::create_symlink(target, temporary, error);
  if (error) {
    return failed("{}: cannot create a symbolic link: {}", link.string(), error.message())
        .with_hint("set HF_HUB_CACHE to a file system that has them");
  }
  fs::rename(temporary, link, error);
  if (error) return failed("{}: cannot create: {}", link.string(), error.message());
  return {};
}

Status check_room(const HubFolder& folder, const std::vector<HubFile>& files) {
  int64_t needed = 0;
  for (const HubFile& file : files) {
    const std::string blob = folder.blob(file.etag);
    std::error_code ignored;
    if (fs::exists(blob, ignored) || file.bytes < 0) continue;
    const int64_t more = std::max<int64_t>(file.bytes - bytes_at(blob + ".incomplete"), 0);
    if (__builtin_add_overflow(needed, more, &needed)) {
      return failed("the server states sizes beyond all bounds");
    }
  }
  LATHE_TRY(const int64_t free, free_disk_bytes(folder.root));
  if (needed <= free) return {};
  return failed("{}: {} MB are to be fetched, but the disk has {} MB free", folder.root,
                needed / kMegabyte, free / kMegabyte)
      .with_hint("free some disk space, or set HF_HUB_CACHE to a folder on another disk");
}

Status fetch_blob(const HubClient& client, const HubFolder& folder, const std::string& commit,
                  const HubFile& file, const std::function<void(int64_t)>& on_bytes) {
  const std::string blob = folder.blob(file.etag);
  LATHE_TRY(const FileLock lock, FileLock::take(folder.lock(file.etag)));
  std::error_code error;
  if (fs::exists(blob, error)) return {};  // here before, or from the pull that held the lock
  const std::string partial = blob + ".incomplete";
  LATHE_OK(client.download(commit, file, partial, on_bytes));
  fs::rename(partial, blob, error);
  if (error) return failed("{}: cannot create: {}", blob, error.message());
  return {};
}

Result<std::string> pull(const std::string& repo_id, const PullOptions& options) {
  LATHE_TRY(const HubClient client,
            HubClient::from_environment(repo_id, options.kind, options.retries));
  LATHE_TRY(const HubListing listing, client.list(options.revision));
  LATHE_TRY_IN(const std::vector<std::string> names, choose_files(listing.files, options), repo_id);
  const HubFolder folder(repo_id, options.kind);
  LATHE_OK(make_folders(folder.root + "/blobs"));

  std::vector<HubFile> files;
  int64_t total = 0;
  for (const std::string& name : names) {
    LATHE_TRY(HubFile file, client.describe(listing.commit, name));
    total += std::max<int64_t>(file.bytes, 0) / kMegabyte;
    files.push_back(std::move(file));
  }
  LATHE_OK(check_room(folder, files));

  Progress progress("pull " + repo_id, std::max<int64_t>(total, 1), "MB");
  int64_t done = 0;
  for (const HubFile& file : files) {
    LATHE_OK(fetch_blob(client, folder, listing.commit, file,
                        [&](int64_t bytes) { progress.set((done + bytes) / kMegabyte); }));
    done += std::max(file.bytes, bytes_at(folder.blob(file.etag)));
    progress.set(done / kMegabyte);
  }
  for (const HubFile& file : files) LATHE_OK(link_blob(folder, listing.commit, file));
  // Last, so that nobody finds a snapshot that is not whole under the revision's name.
  if (options.revision != listing.commit) {
    const std::string ref = folder.ref(options.revision);
    LATHE_OK(make_folders(fs::path(ref).parent_path().string()));
    LATHE_OK(write_atomically(ref, listing.commit));
  }
  return folder.snapshot(listing.commit);
}

}  // namespace

const std::vector<std::string>& data_file_globs() {
  static const std::vector<std::string> globs = {"*.json", "*.jsonl", "*.ndjson", "*.csv",
                                                 "*.tsv",  "*.txt",   "*.raw"};
  return globs;
}

std::vector<std::string> data_files(const std::vector<std::string>& names) {
  std::vector<std::string> chosen = those(names, data_file_globs());
  std::erase_if(chosen, [](const std::string& name) {
    return fits_any(fs::path(name).filename().string(),
                    {"dataset_info*.json", "README*", "LICENSE*", "requirements*.txt", ".*"});
  });
  return chosen;
}

Result<std::string> pull_from_hub(const std::string& repo_id, const PullOptions& options) {
  if (!looks_like_repo_id(repo_id)) {
    return bad_input("'{}' is not the id of a repository", repo_id)
        .with_hint("an id is NAME or ORG/NAME");
  }
  if (!is_safe_relative(options.revision)) {
    return bad_input("'{}' is not a revision", options.revision)
        .with_hint("give a branch, a tag or a commit");
  }
  return pull(repo_id, options);
}

}  // namespace lathe
