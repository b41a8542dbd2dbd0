#include "lathe/cli/command.h"

#include <unistd.h>

#include <cstdlib>

#include "lathe/base/version.h"

namespace lathe::cli {

const std::vector<Command>& commands() {
  static const std::vector<Command> list = {
      {"demo", "The main job on the bundled model: sweep, table, HTML report", add_demo},
      {"sweep", "Run an experiment file: models × variants × tasks × probes; resumable", add_sweep},
      {"report", "Table, HTML page, CSV, JSON and Markdown of finished runs", add_report},
      {"dashboard", "A local page over runs, live while a sweep goes on", add_dashboard},
      {"inspect", "Architecture, parameters, size and memory of a model per format", add_inspect},
      {"pull", "Download a model from a Hugging Face-compatible hub", add_pull},
      {"run", "Generate text", add_run},
      {"calibrate", "Collect what the layers see of a text, for later compressions", add_calibrate},
      {"compress", "Quantize and prune a model", add_compress},
      {"analyze", "What each matrix loses in each format and sparsity; resumable", add_analyze},
      {"plan", "Choose the format of every matrix within budgets of size and speed", add_plan},
      {"export", "Write a model for other programs: GGUF and others", add_export},
      {"eval", "Score a model on tasks, with intervals", add_eval},
      {"profile", "Measure prefill, decode, memory and size", add_profile},
      {"doctor", "What this machine offers and what Lathe uses of it", add_doctor},
      {"run-job", "One run of a sweep, in its own process", add_run_job, true},
  };
  return list;
}

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kBadInput:
    case ErrorCode::kNotFound:
    case ErrorCode::kUnsupported:
      return kBadUsage;
    case ErrorCode::kNoRoom:
      return kNoRoom;
    case ErrorCode::kFailed:
      return kFailed;
  }
  return kFailed;
}

void print_error(const Error& error) {
  fmt::print(stderr, "lathe: error: {}\n", error.message);
  if (!error.hint.empty()) fmt::print(stderr, "       hint: {}\n", error.hint);
}

nlohmann::json json_result(const std::string& command, const nlohmann::json& model,
                           const nlohmann::json& environment,
                           const std::vector<Measurement>& rows) {
  nlohmann::json results = nlohmann::json::array();
  for (const Measurement& m : rows) results.push_back(to_json(m));
  return {{"lathe", kVersion},
          {"command", command},
          {"model", model},
          {"environment", environment},
          {"results", results}};
}

void print_json(const nlohmann::json& json) {
  using Handler = nlohmann::json::error_handler_t;
  fmt::print("{}\n", json.dump(1, ' ', false, Handler::replace));
}

bool colour_wanted() {
  const char* no_colour = std::getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) == 1 && (!no_colour || !*no_colour);
}

void add_kv_option(CLI::App& app, std::string& kv) {
  kv = "f32";
  app.add_option("--kv", kv, "Type of the key-value cache: f32 (default), f16, bf16, int8, int4")
      ->check([](const std::string& name) {
        const auto type = parse_kv_type(name);
        if (type.ok()) return std::string();
        return type.error().message + "; " + type.error().hint;
      });
}

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    if (end > begin) out.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

}  // namespace lathe::cli
