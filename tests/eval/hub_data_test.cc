// Data sets of the hub: found in the cache where tasks look for their files.
#include "lathe/eval/data/hub_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "lathe/eval/data/dataset.h"
#include "lathe/eval/data/rows.h"
#include "support/files.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class PulledData : public ::testing::Test {
 protected:
  PulledData() { ::setenv("HF_HUB_CACHE", cache_.path().c_str(), 1); }
  ~PulledData() override { ::unsetenv("HF_HUB_CACHE"); }

  std::string add(const std::string& name, const std::string& text = "x",
                  const std::string& commit = "c1") {
    const std::string root = cache_.file("datasets--org--set");
    const std::string path = root + "/snapshots/" + commit + "/" + name;
    fs::create_directories(fs::path(path).parent_path());
    fs::create_directories(root + "/refs");
    std::ofstream(path, std::ios::binary) << text;
    if (commit == "c1") std::ofstream(root + "/refs/main") << commit;
    return path;
  }
  static std::string found(const std::string& name) {
    const auto path = find_in_pulled_data(name);
    if (!path.ok()) return path.error().message + " | " + path.error().hint;
    return path->value_or("nothing");
  }

  test::TemporaryFolder cache_;
};

TEST_F(PulledData, FindsTheFileThatIsNamedOrTheOnlyOne) {
  EXPECT_EQ(found("org/set"), "nothing");
  const std::string test = add("data/set_test_en.jsonl");
  add("README.md");
  EXPECT_EQ(found("org/set"), test);
  const std::string train = add("data/train.csv");
  EXPECT_EQ(found("org/set"), test);  // of several that of the test split
  EXPECT_EQ(found("org/set:data/train.csv"), train);
  const std::string old = add("old.json", "x", "c0");
  EXPECT_EQ(found("org/set@c0"), old);
  EXPECT_EQ(found("org/set@c0:old.json"), old);
  for (const char* other : {"org/set@c2", "org/other", "set", "rows.jsonl", "org/set/test.jsonl",
                            "/org/set", "org/set@../c1", "org/set@", ""}) {
    EXPECT_EQ(found(other), "nothing") << other;
  }
}

TEST_F(PulledData, SaysWhichFilesThereAre) {
  add("contest.csv");
  add("latest.csv");
  EXPECT_THAT(found("org/set"), HasSubstr("which of its files? contest.csv, latest.csv"));
  EXPECT_THAT(found("org/set:no.csv"), HasSubstr("no file 'no.csv'"));
  EXPECT_THAT(found("org/set:../../../x"), HasSubstr("no file"));
  EXPECT_THAT(found("org/set:"), HasSubstr("org/set:FILE"));
}

TEST_F(PulledData, ServesTasks) {
  const std::string path = add("test.csv", "q,a\none,1\n");
  EXPECT_EQ(find_dataset("org/set", "squad_v2").value(), path);
  RowSource source;
  source.format = "jsonl";  // the task's own file; the ending of the one that was named decides
  EXPECT_EQ(read_rows(with_file(source, "org/set"), 0).value()[0]["q"], "one");
  source.paths = {"org/set:test.csv"};
  EXPECT_FALSE(read_rows(source, 0).ok());  // not JSON lines
  add("test.parquet", "PAR1");
  const auto rows = read_rows(with_file(source, "org/set:test.parquet"), 0);
  ASSERT_FALSE(rows.ok());
  EXPECT_THAT(rows.error().message, HasSubstr("Parquet is not read"));
  EXPECT_THAT(find_dataset("org/none", "gsm8k").error().hint, HasSubstr("lathe pull --dataset"));
}

}  // namespace
}  // namespace lathe
