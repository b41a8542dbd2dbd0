#include "lathe/io/hub.h"

#include <optional>

#include "hub_server.h"
#include "io_support.h"
#include "lathe/io/http.h"
#include "lathe/io/hub_cache.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    ::setenv(name, value.c_str(), 1);
  }
  ~Environment() {
    if (before_) {
      ::setenv(name_, before_->c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

// git hash-object of "{}\n"
const std::string kConfigHash = "0967ef424bce6791893e9a57bb952f80fd536e93";

class Hub : public testing::Test {
 protected:
  Hub() {
    server.add_small("config.json", "{}\n", kConfigHash);
    server.add_large("model.safetensors", weights);
  }
  Result<std::string> pull(std::vector<std::string> globs = {}, int retries = 1) {
    PullOptions options;
    options.include_globs = std::move(globs);
    options.retries = retries;
    return pull_from_hub("org/name", options);
  }
  std::string blob(const std::string& name) {
    return cache / ("models--org--name/blobs/" + server.files.at(name).etag);
  }

  std::string weights = [] {
    std::string text;
    for (int i = 0; i < 100'000; ++i) text += static_cast<char>(i * 7 % 251);
    return text;
  }();
  HubServer server;
  TempFolder cache;
  Environment endpoint{"HF_ENDPOINT", server.hub.url()};
  Environment place{"HF_HUB_CACHE", cache.path()};
  Environment token{"HF_TOKEN", "hf_secret"};
  Environment online{"HF_HUB_OFFLINE", "0"};
};

TEST_F(Hub, PullsIntoTheSharedLayout) {
  server.add_small("README.md", "not wanted", "x");
  server.add_small("sub/other.json", "not wanted", "x");
  server.add_large("consolidated.safetensors", "not wanted");
  auto path = pull();
  ASSERT_OK(path);
  EXPECT_EQ(*path, cache / ("models--org--name/snapshots/" + kCommit));
  EXPECT_EQ(slurp(*path + "/config.json"), "{}\n");
  EXPECT_EQ(slurp(*path + "/model.safetensors"), weights);
  EXPECT_EQ(fs::read_symlink(*path + "/config.json"), "../../blobs/" + kConfigHash);
  EXPECT_EQ(slurp(cache / "models--org--name/refs/main"), kCommit);
  EXPECT_EQ(find_in_hub_cache("org/name"), *path);
  EXPECT_EQ(find_in_hub_cache("org/name", kCommit), *path);
  EXPECT_EQ(std::distance(fs::directory_iterator(*path), {}), 2);
  EXPECT_EQ(std::distance(fs::directory_iterator(cache / "models--org--name/blobs"), {}), 2);
}

TEST_F(Hub, PullsOnceOnly) {
  ASSERT_OK(pull());
  ASSERT_OK(pull());
  EXPECT_EQ(server.count("network GET /" + sha256_hex(weights)), 1);
}

TEST_F(Hub, PullsNestedFilesThatAreNamed) {
  server.add_large("sub/dir/a b#?.json", "[1]");
  auto path = pull({"sub/*"});
  ASSERT_OK(path);
  EXPECT_EQ(slurp(*path + "/sub/dir/a b#?.json"), "[1]");
  EXPECT_EQ(fs::read_symlink(*path + "/sub/dir/a b#?.json"),
            "../../../../blobs/" + sha256_hex("[1]"));
  EXPECT_ERROR(pull({"*.nothing"}), ErrorCode::kNotFound, "none of its 3 files");
}

TEST_F(Hub, PullsThePoolingOfASentenceEncoder) {
  server.add_large("1_Pooling/config.json", "{\"a\": 1}");
  server.add_large("onnx/config.json", "[2]");
  const auto path = pull();
  ASSERT_OK(path);
  EXPECT_EQ(slurp(*path + "/1_Pooling/config.json"), "{\"a\": 1}");
  EXPECT_FALSE(fs::exists(*path + "/onnx"));
}

TEST_F(Hub, KeepsTheTokenFromOtherHosts) {
  server.needs_token = "hf_secret";
  ASSERT_OK(pull());
  EXPECT_GE(server.count("hub GET"), 2);
  EXPECT_EQ(server.count("hub"), server.count("Bearer hf_secret"));
  EXPECT_EQ(server.count("network GET"), 1);
  EXPECT_EQ(server.count("network GET /" + sha256_hex(weights) + " Bearer"), 0);
}

TEST_F(Hub, ResumesWithinAPullAfterACut) {
  server.cuts = 1;
  auto path = pull();
  ASSERT_OK(path);
  EXPECT_EQ(slurp(*path + "/model.safetensors"), weights);
  EXPECT_EQ(server.count("network GET /" + sha256_hex(weights) + " bytes=50000-"), 1);
}

TEST_F(Hub, ResumesInALaterPull) {
  server.cuts = 1;
  EXPECT_ERROR(pull({}, 0), ErrorCode::kFailed, "pull again");
  EXPECT_EQ(find_in_hub_cache("org/name"), std::nullopt);
  EXPECT_EQ(fs::file_size(blob("model.safetensors") + ".incomplete"), 50'000u);
  auto path = pull({}, 0);
  ASSERT_OK(path);
  EXPECT_EQ(slurp(*path + "/model.safetensors"), weights);
  EXPECT_EQ(server.count("network GET /" + sha256_hex(weights) + " bytes=50000-"), 1);
  EXPECT_FALSE(fs::exists(blob("model.safetensors") + ".incomplete"));
}

TEST_F(Hub, StartsAnewWhereTheBeginningIsWrong) {
  for (const size_t size : {size_t{40'000}, weights.size(), weights.size() + 5}) {
    spill(blob("model.safetensors") + ".incomplete", std::string(size, '?'));
    auto path = pull();
    ASSERT_OK(path);
    EXPECT_EQ(slurp(*path + "/model.safetensors"), weights);
    fs::remove(blob("model.safetensors"));
  }
}

TEST_F(Hub, RefusesWrongChecksums) {
  server.files["model.safetensors"].etag = std::string(64, 'a');
  EXPECT_ERROR(pull(), ErrorCode::kFailed, "wrong checksum");
  EXPECT_FALSE(fs::exists(blob("model.safetensors")));
  EXPECT_FALSE(fs::exists(blob("model.safetensors") + ".incomplete"));
  EXPECT_EQ(find_in_hub_cache("org/name"), std::nullopt);
  server.files["model.safetensors"].etag = sha256_hex(weights);
  server.files["config.json"].etag = std::string(40, 'b');
  EXPECT_ERROR(pull(), ErrorCode::kFailed, kConfigHash);
}

TEST_F(Hub, TriesAgainWhenTheServerHasTrouble) {
  server.refuse_lists = 1;
  ASSERT_OK(pull({}, 1));
  server.refuse_lists = 1;
  EXPECT_ERROR(pull({}, 0), ErrorCode::kFailed, "503");
}

TEST_F(Hub, SaysWhatIsWrongWithTheId) {
  PullOptions options;
  EXPECT_ERROR(pull_from_hub("org/none", options), ErrorCode::kNotFound, "org/none at main");
  options.revision = "v2";
  EXPECT_ERROR(pull_from_hub("org/name", options), ErrorCode::kNotFound, "no such revision");
  options.revision = "../x";
  EXPECT_ERROR(pull_from_hub("org/name", options), ErrorCode::kBadInput, "not a revision");
  EXPECT_ERROR(pull_from_hub("../x", PullOptions()), ErrorCode::kBadInput, "ORG/NAME");
  server.needs_token = "another";
  EXPECT_ERROR(pull(), ErrorCode::kFailed, "HF_TOKEN");
}

TEST_F(Hub, RefusesHostileNames) {
  for (const char* name : {"../../evil.json", "/etc/evil.json", "a//b.json", "a\\..\\b.json",
                           "./a.json", "a/../../b.json", "a\nb.json", ""}) {
    server.files.clear();
    server.add_small(name, "x", "x");
    EXPECT_ERROR(pull({"*"}), ErrorCode::kFailed, "no safe name");
  }
  EXPECT_EQ(cache.files(), 0u);
  for (const char* etag : {"../../evil", "a/b", ".hidden", ""}) {
    server.files.clear();
    server.add_small("a.json", "x", etag);
    EXPECT_ERROR(pull({"*"}), ErrorCode::kFailed, "ETag");
  }
  EXPECT_EQ(cache.files(), 0u);
}

TEST_F(Hub, RefusesBadRedirects) {
  server.elsewhere = "http://192.0.2.1/x";
  EXPECT_ERROR(pull(), ErrorCode::kBadInput, "plain http");
  server.elsewhere = "ftp://127.0.0.1/x";
  EXPECT_ERROR(pull(), ErrorCode::kBadInput, "not an http(s) address");
  server.elsewhere = "file:///etc/passwd";
  EXPECT_ERROR(pull(), ErrorCode::kBadInput, "not an http(s) address");
  server.elsewhere = server.network.url() + "/again";
  EXPECT_ERROR(pull(), ErrorCode::kFailed, "redirects");
}

TEST_F(Hub, ChoosesWeightsOrSaysWhyNot) {
  server.files.erase("model.safetensors");
  EXPECT_ERROR(pull(), ErrorCode::kUnsupported, "is it a model?");
  server.add_large("pytorch_model.bin", "x");
  EXPECT_ERROR(pull(), ErrorCode::kUnsupported, "never loaded");
  server.add_large("a.gguf", "a");
  auto path = pull();
  ASSERT_OK(path);
  EXPECT_EQ(slurp(*path + "/a.gguf"), "a");
  server.add_large("b.gguf", "b");
  EXPECT_ERROR(pull(), ErrorCode::kBadInput, "a.gguf, b.gguf");
}

class HubData : public Hub {
 protected:
  HubData() {
    server.files.clear();
    server.dataset = true;
    server.add_large("test.jsonl", rows);
  }
  Result<std::string> pull_data(std::vector<std::string> globs = {}, int retries = 1) {
    PullOptions options;
    options.kind = HubKind::kDataset;
    options.include_globs = std::move(globs);
    options.retries = retries;
    return pull_from_hub("org/name", options);
  }
  const std::string rows = std::string(60'000, ' ') + "{\"q\": \"one\", \"a\": \"1\"}\n";
};

TEST_F(HubData, PullsIntoTheSharedLayout) {
  server.add_large("data/dev.csv", "q,a\n");
  for (const char* name : {"README.md", "dataset_infos.json", "data/train.parquet", "load.py"}) {
    server.add_large(name, "not wanted");
  }
  auto path = pull_data();
  ASSERT_OK(path);
  EXPECT_EQ(*path, cache / ("datasets--org--name/snapshots/" + kCommit));
  EXPECT_EQ(slurp(*path + "/test.jsonl"), rows);
  EXPECT_EQ(slurp(*path + "/data/dev.csv"), "q,a\n");
  EXPECT_EQ(fs::read_symlink(*path + "/test.jsonl"), "../../blobs/" + sha256_hex(rows));
  EXPECT_EQ(slurp(cache / "datasets--org--name/refs/main"), kCommit);
  EXPECT_EQ(std::distance(fs::directory_iterator(cache / "datasets--org--name/blobs"), {}), 2);
  EXPECT_EQ(find_in_hub_cache("org/name", "main", HubKind::kDataset), *path);
  EXPECT_EQ(find_in_hub_cache("org/name"), std::nullopt);  // no model of that name
  EXPECT_EQ(server.count("hub"), server.count("/datasets/"));
}

TEST_F(HubData, ResumesAndChecks) {
  server.cuts = 1;
  EXPECT_ERROR(pull_data({}, 0), ErrorCode::kFailed, "pull again");
  EXPECT_EQ(find_in_hub_cache("org/name", "main", HubKind::kDataset), std::nullopt);
  ASSERT_OK(pull_data({}, 0));
  EXPECT_EQ(server.count("network GET /" + sha256_hex(rows) + " bytes=30011-"), 1);
  server.add_large("train.jsonl", "{}");
  server.files["train.jsonl"].etag = std::string(64, 'a');
  EXPECT_ERROR(pull_data(), ErrorCode::kFailed, "wrong checksum");
}

TEST_F(HubData, SaysWhereItsFilesAreNotRead) {
  server.files.clear();
  server.add_large("README.md", "x");
  EXPECT_ERROR(pull_data(), ErrorCode::kUnsupported, "*.jsonl");
  for (int i = 0; i < 10; ++i) {
    server.add_large("main/test-0000" + std::to_string(i) + ".parquet", "PAR1");
  }
  EXPECT_ERROR(pull_data(), ErrorCode::kUnsupported, "test-00007.parquet and 2 more");
  EXPECT_ERROR(pull_data(), ErrorCode::kUnsupported, "DuckDB");
  ASSERT_OK(pull_data({"main/test-00003.parquet"}));
  server.dataset = false;
  EXPECT_ERROR(pull_data(), ErrorCode::kNotFound, "org/name at main");
}

TEST_F(Hub, RefusesWhatTheDiskCannotHold) {
  server.stated_size = "1152921504606846976";
  EXPECT_ERROR(pull(), ErrorCode::kFailed, "HF_HUB_CACHE");
}

TEST_F(Hub, RefusesLyingSizesAndCommits) {
  server.stated_size = "50000";
  EXPECT_ERROR(pull(), ErrorCode::kFailed, "sends more than the 50000 bytes");
  server.stated_size = "100001";
  EXPECT_ERROR(pull(), ErrorCode::kFailed, "100000 bytes arrived of 100001");
  server.stated_size = "-5";  // taken as not stated
  ASSERT_OK(pull());
  server.stated_commit = "1123456789abcdef0123456789abcdef01234567";
  EXPECT_ERROR(pull(), ErrorCode::kFailed, "the server answers for 1123");
}

TEST_F(Hub, ManagesWithoutRanges) {
  server.ranges = false;
  server.cuts = 1;
  auto path = pull();
  ASSERT_OK(path);
  EXPECT_EQ(slurp(*path + "/model.safetensors"), weights);
}

TEST_F(Hub, TwoPullsAtOnceAgree) {
  std::vector<std::thread> threads;
  std::vector<std::optional<Result<std::string>>> results(4);
  for (auto& result : results) threads.emplace_back([&] { result = pull(); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) ASSERT_OK(*result);
  EXPECT_EQ(server.count("network GET /" + sha256_hex(weights)), 1);
}

TEST_F(Hub, StaysOfflineWhenTold) {
  Environment offline("HF_HUB_OFFLINE", "1");
  EXPECT_ERROR(pull(), ErrorCode::kFailed, "HF_HUB_OFFLINE");
  EXPECT_TRUE(server.log.empty());
}

TEST_F(Hub, ChecksEndpointAndToken) {
  {
    Environment other("HF_ENDPOINT", "http://hub.example.org");
    EXPECT_ERROR(pull(), ErrorCode::kBadInput, "plain http");
  }
  {
    Environment other("HF_ENDPOINT", "https://user:pw@hub.example.org");
    EXPECT_ERROR(pull(), ErrorCode::kBadInput, "HF_TOKEN");
  }
  {
    Environment other("HF_ENDPOINT", "ftp://hub.example.org");
    EXPECT_ERROR(pull(), ErrorCode::kBadInput, "not an http(s) address");
  }
  {
    Environment other("HF_TOKEN", "a\r\nX-Evil: 1");
    EXPECT_ERROR(pull(), ErrorCode::kBadInput, "HF_TOKEN");
  }
  {
    Environment other("HF_ENDPOINT", "http://127.0.0.1:9");
    EXPECT_ERROR(pull({}, 0), ErrorCode::kFailed, "check the network");
  }
}

TEST(HubNames, RepositoryIds) {
  for (const char* good : {"gpt2", "org/name", "Qwen/Qwen2.5-0.5B-Instruct", "a_b/c.d"}) {
    EXPECT_TRUE(looks_like_repo_id(good)) << good;
  }
  for (const char* bad : {"", "/", "a/", "/a", "a/b/c", "..", "a/..", "a..b", ".a", "a b", "a\\b",
                          "a--b", "-a", "a/b-", "é"}) {
    EXPECT_FALSE(looks_like_repo_id(bad)) << bad;
  }
}

TEST(HubNames, CacheDirectoryFollowsTheEnvironment) {
  Environment home("HOME", "/h"), none1("HF_HUB_CACHE", ""), none2("HF_HOME", ""),
      none3("XDG_CACHE_HOME", "");
  EXPECT_EQ(hub_cache_directory(), "/h/.cache/huggingface/hub");
  Environment xdg("XDG_CACHE_HOME", "/x");
  EXPECT_EQ(hub_cache_directory(), "/x/huggingface/hub");
  Environment hf("HF_HOME", "/f");
  EXPECT_EQ(hub_cache_directory(), "/f/hub");
  Environment hub("HF_HUB_CACHE", "/c");
  EXPECT_EQ(hub_cache_directory(), "/c");
}

TEST(HubNames, AReferenceCannotLeaveTheCache) {
  TempFolder cache;
  Environment place("HF_HUB_CACHE", cache.path());
  fs::create_directories(cache / "models--a/snapshots/x");
  spill(cache / "models--a/refs/main", "x\n");
  EXPECT_EQ(find_in_hub_cache("a"), cache / "models--a/snapshots/x");
  EXPECT_EQ(find_in_hub_cache("a", "x"), cache / "models--a/snapshots/x");
  EXPECT_EQ(find_in_hub_cache("a", "y"), std::nullopt);
  EXPECT_EQ(find_in_hub_cache("b"), std::nullopt);
  spill(cache / "models--a/refs/main", "../..");
  EXPECT_EQ(find_in_hub_cache("a"), std::nullopt);
  EXPECT_EQ(find_in_hub_cache("a", "../refs"), std::nullopt);
}

TEST(HubNames, LoopbackIsThisMachineOnly) {
  for (const char* near : {"http://127.0.0.1", "http://127.9.9.9:80", "http://localhost:8000/x",
                           "http://[::1]:8000"}) {
    EXPECT_TRUE(parse_url(near)->loopback()) << near;
  }
  for (const char* far : {"http://127.0.0.1.example.org", "http://localhost.example.org",
                          "http://10.0.0.1", "http://[::2]"}) {
    EXPECT_FALSE(parse_url(far)->loopback()) << far;
    EXPECT_FALSE(parse_url(far)->check_allowed().ok()) << far;
  }
  Environment allow("LATHE_ALLOW_HTTP", "1");
  EXPECT_TRUE(parse_url("http://10.0.0.1")->check_allowed().ok());
}

}  // namespace
}  // namespace lathe
