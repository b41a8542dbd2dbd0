#include "lathe/lab/launcher.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "lathe/base/log.h"
#include "lathe/base/parse_number.h"
#include "lathe/io/atomic_file.h"

extern char** environ;

namespace lathe {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    if (end > begin) out.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

// One word for a POSIX shell.
std::string shell_word(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

Result<std::string> this_program() {
  std::error_code error;
  const fs::path path = fs::read_symlink("/proc/self/exe", error);
  if (error) return failed("/proc/self/exe: {}", error.message());
  return path.string();
}

Status run_program(std::vector<std::string> command, const std::string& package) {
  std::vector<char*> arguments;
  for (std::string& word : command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  const int code = posix_spawnp(&child, arguments[0], nullptr, nullptr, arguments.data(), environ);
  if (code != 0) {
    return failed("cannot start {}: {}", command[0], std::strerror(code))
        .with_hint(fmt::format("on Debian: apt-get install {}", package));
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) {
    return failed("{} was killed by signal {}", command[0], WTERMSIG(status));
  }
  if (WEXITSTATUS(status) == 127) {  // posix_spawn's child may tell it so
    return failed("cannot start {}", command[0])
        .with_hint(fmt::format("on Debian: apt-get install {}", package));
  }
  if (WEXITSTATUS(status) != 0) {
    return failed("{} ended with code {}", command[0], WEXITSTATUS(status));
  }
  return {};
}

}  // namespace

std::string slurm_script(const Launch& launch, const std::string& program,
                         const std::string& directory) {
  const int tasks = launch.processes > 0 ? std::min(launch.processes, launch.runs) : launch.runs;
  std::string line = shell_word(program);
  for (const std::string& word : launch.command) line += " " + shell_word(word);
  return fmt::format(
      "#!/bin/sh\n"
      "#SBATCH --job-name=lathe\n"
      "#SBATCH --array=0-{}\n"
      "#SBATCH --output={}/slurm-%a.log\n"
      "cd {} || exit 1\n"
      "exec {} --shard \"$SLURM_ARRAY_TASK_ID/{}\"\n",
      tasks - 1, fs::absolute(launch.folder).string(), shell_word(directory), line, tasks);
}

Status launch(const Launch& launch) {
  LATHE_TRY(const std::string program, this_program());
  std::error_code error;
  fs::create_directories(launch.folder, error);
  if (error) return failed("{}: {}", launch.folder, error.message());
  std::vector<std::string> command;
  std::string package = "openmpi-bin";
  if (launch.kind == "mpi") {
    command = {"mpirun"};
    if (launch.processes > 0) {
      command.insert(command.end(), {"-n", std::to_string(launch.processes)});
    }
    for (const std::string& word : words(launch.arguments)) command.push_back(word);
    command.push_back(program);
    for (const std::string& word : launch.command) command.push_back(word);
    command.insert(command.end(), {"--shard", "auto"});
  } else if (launch.kind == "slurm") {
    package = "slurm-client";
    const std::string script = launch.folder + "/slurm.sh";
    LATHE_OK(write_atomically(script, slurm_script(launch, program, fs::current_path().string())));
    command = {"sbatch", "--wait"};
    for (const std::string& word : words(launch.arguments)) command.push_back(word);
    command.push_back(script);
  } else {
    return bad_input("unknown launcher '{}'", launch.kind).with_hint("known: mpi, slurm");
  }
  const Status ended = run_program(command, package);
  // What the workers left undone, the sweep that launched them does itself.
  if (!ended.ok()) spdlog::warn("{}", ended.error().message);
  if (!ended.ok() && !ended.error().hint.empty()) return ended;
  return {};
}

Result<Shard> parse_shard(const std::string& text) {
  std::string index, count;
  if (text == "auto") {
    constexpr std::pair<const char*, const char*> kNames[] = {
        {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
        {"PMI_RANK", "PMI_SIZE"},
        {"SLURM_PROCID", "SLURM_NTASKS"}};
    for (const auto& [rank, size] : kNames) {
      const char *r = std::getenv(rank), *s = std::getenv(size);
      if (!r || !s) continue;
      index = r;
      count = s;
      break;
    }
    if (index.empty()) {
      return bad_input("--shard auto: neither mpirun nor srun has said which process this is")
          .with_hint("start it under mpirun, or give --shard 0/4");
    }
  } else {
    const size_t slash = text.find('/');
    if (slash != std::string::npos) {
      index = text.substr(0, slash);
      count = text.substr(slash + 1);
    }
  }
  const auto i = parse_number<int>(index), n = parse_number<int>(count);
  if (!i || !n || *n < 1 || *i < 0 || *i >= *n) {
    return bad_input("--shard '{}': give I/N with 0 ≤ I < N", text);
  }
  return Shard{*i, *n};
}

}  // namespace lathe
