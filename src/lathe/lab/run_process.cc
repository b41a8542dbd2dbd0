#include "lathe/lab/run_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>

#include "lathe/base/parse_json.h"

extern char** environ;

namespace lathe {
namespace {

constexpr size_t kMostBytes = size_t{1} << 20;

std::string read_all(int descriptor) {
  std::string text;
  char buffer[4096];
  while (true) {
    const ssize_t got = ::read(descriptor, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    if (text.size() < kMostBytes) text.append(buffer, static_cast<size_t>(got));
  }
}

// The error that a run's process has told, in its own words and with its own code.
Status told_error(const std::string& text, int exit_code) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return failed("the run's process ended with code {}", exit_code);
  const auto code = member_or(json, "code", static_cast<int>(ErrorCode::kFailed));
  return Error{static_cast<ErrorCode>(code), member_or(json, "message", ""),
               member_or(json, "hint", "")};
}

}  // namespace

Result<RunProcess> start_run_process(const std::string& folder) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return failed("cannot make a pipe: {}", std::strerror(errno));
  // The child's end is the one descriptor that survives the start of the program.
  ::fcntl(ends[1], F_SETFD, 0);
  std::string name = "lathe", command = "run-job", path = folder, option = "--report-to",
              number = std::to_string(ends[1]);
  char* arguments[] = {name.data(),   command.data(), path.data(),
                       option.data(), number.data(),  nullptr};
  pid_t child = 0;
  const int code = ::posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, arguments, environ);
  ::close(ends[1]);
  if (code != 0) {
    ::close(ends[0]);
    return failed("cannot start the run's process: {}", std::strerror(code));
  }
  return RunProcess{child, ends[0]};
}

size_t wait_for_any(const std::vector<RunProcess>& processes) {
  LATHE_CHECK(!processes.empty());
  std::vector<pollfd> waited;
  for (const RunProcess& p : processes) waited.push_back({p.ends, POLLIN, 0});
  while (::poll(waited.data(), waited.size(), -1) < 0 && errno == EINTR) {
  }
  for (size_t i = 0; i < waited.size(); ++i) {
    if (waited[i].revents != 0) return i;
  }
  return 0;
}

Status end_of(const RunProcess& process, bool& again) {
  const std::string told = read_all(process.ends);
  ::close(process.ends);
  int status = 0;
  while (::waitpid(process.pid, &status, 0) < 0 && errno == EINTR) {
  }
  again = true;
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    return failed("the run's process was killed by signal {} ({})", signal, ::strsignal(signal))
        .with_hint(signal == SIGKILL ? "the system may have run out of memory" : "");
  }
  if (WEXITSTATUS(status) == 0) return {};
  Status error = told_error(told, WEXITSTATUS(status));
  again = error.error().code == ErrorCode::kFailed;
  return error;
}

void die_with_parent() {
  const pid_t parent = ::getppid();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::raise(SIGKILL);  // it died in between
}

bool report_error(int descriptor, const Error& error) {
  using Handler = nlohmann::json::error_handler_t;
  const nlohmann::json json = {
      {"code", static_cast<int>(error.code)}, {"message", error.message}, {"hint", error.hint}};
  const std::string text = json.dump(-1, ' ', false, Handler::replace);
  return ::write(descriptor, text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

}  // namespace lathe
