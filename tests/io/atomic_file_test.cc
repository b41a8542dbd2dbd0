#include "lathe/io/atomic_file.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "io_support.h"

namespace lathe {
namespace {

TEST(AtomicFile, AppearsOnlyWhenCommitted) {
  TempFolder folder;
  const std::string path = folder / "a";
  {
    auto file = AtomicFile::create(path);
    ASSERT_OK(file);
    ASSERT_OK(file->write("hello"));
    EXPECT_FALSE(std::filesystem::exists(path));
    ASSERT_OK(file->commit());
  }
  EXPECT_EQ(slurp(path), "hello");
  EXPECT_EQ(folder.files(), 1u);
}

TEST(AtomicFile, LeavesNothingWhenDropped) {
  TempFolder folder;
  spill(folder / "a", "old");
  {
    auto file = AtomicFile::create(folder / "a", 1000);
    ASSERT_OK(file);
    ASSERT_OK(file->write("new"));
  }
  EXPECT_EQ(slurp(folder / "a"), "old");
  EXPECT_EQ(folder.files(), 1u);
}

TEST(AtomicFile, WritesBackAndAhead) {
  TempFolder folder;
  auto file = AtomicFile::create(folder / "a", 4096);
  ASSERT_OK(file);
  ASSERT_OK(file->write("abc"));
  const uint8_t x = 'x', y = 'y';
  ASSERT_OK(file->write_at(1, {&x, 1}));
  ASSERT_OK(file->write_at(5, {&y, 1}));
  ASSERT_OK(file->write("z"));
  ASSERT_OK(file->commit());
  EXPECT_EQ(slurp(folder / "a"), std::string("axc\0\0yz", 7));
}

TEST(AtomicFile, HasTheModeOfAnyNewFile) {
  TempFolder folder;
  const mode_t before = ::umask(027);
  ASSERT_OK(write_atomically(folder / "a", "x"));
  ::umask(before);
  struct stat info {};
  ASSERT_EQ(::stat((folder / "a").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

TEST(AtomicFile, RefusesBadPlaces) {
  TempFolder folder;
  EXPECT_ERROR(AtomicFile::create(folder / "no/such"), ErrorCode::kNotFound, "no folder");
  EXPECT_ERROR(AtomicFile::create(folder.path()), ErrorCode::kBadInput, "not a file");
  EXPECT_ERROR(AtomicFile::create(folder.path() + "/"), ErrorCode::kBadInput, "name of a file");
  EXPECT_ERROR(AtomicFile::create("/proc/lathe-test"), ErrorCode::kFailed, "cannot create");
}

TEST(AtomicFile, RefusesWhatTheDiskCannotHold) {
  TempFolder folder;
  EXPECT_ERROR(AtomicFile::create(folder / "a", int64_t{1} << 60), ErrorCode::kFailed, "free");
  EXPECT_EQ(folder.files(), 0u);
}

// A file size limit stands for a disk that fills up while writing.
void expect_full_disk(size_t room, size_t size) {
  TempFolder folder;
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = room;
  ::setrlimit(RLIMIT_FSIZE, &small);
  const Status status = write_atomically(folder / "a", std::string(size, 'x'));
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_ERROR(status, ErrorCode::kFailed, "cannot write");
  EXPECT_EQ(folder.files(), 0u);
}

TEST(AtomicFile, FullDiskWhileWriting) { expect_full_disk(1000, 5000); }
TEST(AtomicFile, FullDiskWhileWritingMuch) { expect_full_disk((2 << 20) + 1000, 5 << 20); }

// Large writes take another way than small ones: they must land where they belong, in order.
TEST(AtomicFile, LargeAndSmallWritesMix) {
  TempFolder folder;
  std::string expected(9 << 20, '\0');
  auto file = AtomicFile::create(folder / "a", static_cast<int64_t>(expected.size()));
  ASSERT_OK(file);
  uint32_t random = 1;
  const auto put = [&](size_t offset, size_t size) {
    std::vector<uint8_t> bytes(size);
    for (uint8_t& byte : bytes)
      byte = static_cast<uint8_t>((random = random * 1664525 + 1013904223) >> 24);
    ASSERT_OK(file->write_at(static_cast<int64_t>(offset), bytes));
    std::copy(bytes.begin(), bytes.end(), expected.begin() + static_cast<std::ptrdiff_t>(offset));
  };
  put(0, 5000);
  put(5000, (3 << 20) + 77);          // neither end on a block
  put(4096, 1 << 20);                 // over it, both ends on one
  put(6000, 10);                      // over what may still be on its way
  put((8 << 20) - 1, (1 << 20) + 1);  // ahead, and to the end
  put(5 << 20, 3 << 20);              // before that
  ASSERT_OK(file->flush());
  put(123, 2 << 20);
  ASSERT_OK(file->commit());
  EXPECT_TRUE(slurp(folder / "a") == expected);
}

}  // namespace
}  // namespace lathe
