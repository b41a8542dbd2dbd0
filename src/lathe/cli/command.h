// What the commands share. A command parses, calls, renders; it does no arithmetic of its own.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lathe/base/measurement.h"
#include "lathe/base/result.h"
#include "lathe/generate/engine.h"

namespace lathe::cli {

// Options that every command has.
struct Common {
  bool json = false, quiet = false, verbose = false;
  int threads = 0;
  std::string device = "auto";
  uint64_t seed = 0;
  int64_t context = 0;

  EngineOptions engine() const { return {device, threads, context}; }
  EngineOptions engine(const std::string& kv) const {
    return {device, threads, context, parse_kv_type(kv).value()};
  }
};

// Runs a command once its options are parsed; gives the exit code.
using Body = std::function<Result<int>()>;

struct Command {
  std::string name, description;
  Body (*add)(CLI::App& app, const Common& common);
  bool hidden = false;
};

// The one list of commands, in the order of --help.
const std::vector<Command>& commands();

Body add_demo(CLI::App&, const Common&);
Body add_sweep(CLI::App&, const Common&);
Body add_report(CLI::App&, const Common&);
Body add_dashboard(CLI::App&, const Common&);
Body add_inspect(CLI::App&, const Common&);
Body add_pull(CLI::App&, const Common&);
Body add_run(CLI::App&, const Common&);
Body add_calibrate(CLI::App&, const Common&);
Body add_compress(CLI::App&, const Common&);
Body add_analyze(CLI::App&, const Common&);
Body add_plan(CLI::App&, const Common&);
Body add_export(CLI::App&, const Common&);
Body add_eval(CLI::App&, const Common&);
Body add_profile(CLI::App&, const Common&);
Body add_doctor(CLI::App&, const Common&);
Body add_run_job(CLI::App&, const Common&);

constexpr int kDone = 0, kFailed = 1, kBadUsage = 2, kNoRoom = 3;
int exit_code(ErrorCode code);
// "lathe: error: …" with its hint, on stderr.
void print_error(const Error& error);

// {"lathe", "command", "model", "environment", "results"} as every --json result has it.
nlohmann::json json_result(const std::string& command, const nlohmann::json& model,
                           const nlohmann::json& environment, const std::vector<Measurement>& rows);
void print_json(const nlohmann::json& json);
// True when stdout is a terminal that wants colours (NO_COLOR is honoured).
bool colour_wanted();

// --kv, for commands that keep a key-value cache; `kv` receives a name that parse_kv_type() knows.
void add_kv_option(CLI::App& app, std::string& kv);

// "a,b" → {"a", "b"}.
std::vector<std::string> split_list(const std::string& text);

}  // namespace lathe::cli
