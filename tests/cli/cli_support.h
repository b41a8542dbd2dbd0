// Running the built program: exit codes, output, time limits, kills.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "lathe/base/mapped_file.h"
#include "support/files.h"

namespace lathe::test {

struct Outcome {
  int code;
  std::string out, err;
};

// `arguments` go through the shell. `before` stands in front of the program: variables for it, or
// whole commands ("ulimit -v 1000; ").
inline Outcome run(const std::string& arguments, const std::string& before = "") {
  TemporaryFolder folder;
  const std::string errors = folder.file("err");
  const std::string command =
      before + " " + LATHE_BINARY + " " + arguments + " 2>" + errors + " </dev/null";
  FILE* pipe = popen(command.c_str(), "r");
  Outcome outcome{};
  char buffer[4096];
  for (size_t got; (got = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) {
    outcome.out.append(buffer, got);
  }
  const int status = pclose(pipe);
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.err = read_text(errors).value();
  return outcome;
}

// The bundled model: what most of these tests work on.
inline std::string tiny() { return source_file("models/tiny"); }

inline void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

// Exactly one error, in words: no exception's text, no second message, and all of `pieces` in it.
inline void expect_one_error(const Outcome& outcome, int code,
                             const std::vector<std::string>& pieces) {
  EXPECT_EQ(outcome.code, code) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  size_t errors = 0;
  for (size_t at = 0; (at = outcome.err.find("error:", at)) != std::string::npos; ++at) ++errors;
  EXPECT_EQ(errors, 1u) << outcome.err;
  for (const char* inside : {"json.exception", "std::", "yaml-cpp", "terminate"}) {
    EXPECT_EQ(outcome.err.find(inside), std::string::npos) << outcome.err;
  }
  for (const std::string& piece : pieces) {
    EXPECT_NE(outcome.err.find(piece), std::string::npos) << "no '" << piece << "' in\n"
                                                          << outcome.err;
  }
}

// A run of the program in a process group of its own, which can be killed whole.
class Process {
 public:
  explicit Process(const std::vector<std::string>& arguments) {
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::setpgid(0, 0);
    const int nowhere = ::open("/dev/null", O_RDWR);
    for (const int fd : {0, 1, 2}) ::dup2(nowhere, fd);
    std::vector<char*> argv = {const_cast<char*>("lathe")};
    for (const std::string& argument : arguments) {
      argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);
    ::execv(LATHE_BINARY, argv.data());
    ::_exit(127);
  }
  ~Process() {
    if (pid_ > 0) kill_group();
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Did it end by itself? Then code() is its exit code.
  bool ended() {
    if (pid_ > 0 && ::waitpid(pid_, &status_, WNOHANG) == pid_) pid_ = -1;
    return pid_ < 0;
  }
  int wait() {
    if (pid_ > 0) ::waitpid(pid_, &status_, 0);
    pid_ = -1;
    return code();
  }
  int code() const { return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_); }
  pid_t pid() const { return pid_; }
  // SIGKILL to all of it, with no chance to clean up.
  void kill_group() {
    // The group is made by the child; until then it is the child alone.
    if (::kill(-pid_, SIGKILL) != 0) ::kill(pid_, SIGKILL);
    wait();
  }

 private:
  pid_t pid_ = -1;
  int status_ = 0;
};

// Looks once a millisecond until `ready`, or the process has ended; false if it has.
template <typename Ready>
bool wait_until(Process& process, Ready&& ready) {
  while (!ready()) {
    if (process.ended()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace lathe::test
