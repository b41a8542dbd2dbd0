#include "lathe/lab/machine_ceilings.h"

#include <unistd.h>

#include <algorithm>

#include "lathe/base/log.h"
#include "lathe/base/mapped_file.h"
#include "lathe/base/threads.h"
#include "lathe/io/atomic_file.h"
#include "lathe/profile/environment.h"

namespace lathe {
namespace {

std::string machine_key(int threads) {
  char host[256] = "";
  if (::gethostname(host, sizeof(host) - 1) != 0) host[0] = '\0';
  return fmt::format("{}, {}, {} threads", host, cpu_name(), threads);
}

std::optional<double> positive(const nlohmann::json& json, const char* key) {
  const auto it = json.find(key);
  if (it == json.end() || !it->is_number() || it->get<double>() <= 0) return std::nullopt;
  return it->get<double>();
}

std::string text_of(const nlohmann::json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : "";
}

bool is_list(const nlohmann::json& json, const char* key) {
  return json.contains(key) && json[key].is_array() &&
         std::all_of(json[key].begin(), json[key].end(),
                     [](const nlohmann::json& entry) { return entry.is_object(); });
}

}  // namespace

nlohmann::json to_json(const Ceilings& ceilings) {
  nlohmann::json arithmetic = nlohmann::json::array(), peaks = nlohmann::json::array();
  for (const auto& a : ceilings.arithmetic) {
    arithmetic.push_back({{"isa", name_of(a.isa)}, {"f32_flops_per_s", a.f32_flops_per_s}});
  }
  for (const auto& p : ceilings.peaks) {
    peaks.push_back({{"type", p.type}, {"unit", p.unit}, {"ops_per_s", p.ops_per_s}});
  }
  return {{"threads", ceilings.threads},
          {"read_bytes_per_s", ceilings.read_bytes_per_s},
          {"arithmetic", arithmetic},
          {"peaks", peaks}};
}

std::optional<Ceilings> ceilings_from_json(const nlohmann::json& json) {
  if (!json.is_object() || !is_list(json, "arithmetic") || !is_list(json, "peaks")) {
    return std::nullopt;
  }
  const auto threads = positive(json, "threads"), read = positive(json, "read_bytes_per_s");
  if (!threads || !read || *threads > 1e6) return std::nullopt;
  Ceilings ceilings{static_cast<int>(*threads), *read, {}, {}};
  for (const auto& entry : json["arithmetic"]) {
    const auto flops = positive(entry, "f32_flops_per_s");
    const auto isas = available_isas();
    const auto isa = std::find_if(isas.begin(), isas.end(),
                                  [&](Isa i) { return name_of(i) == text_of(entry, "isa"); });
    if (!flops || isa == isas.end()) return std::nullopt;
    ceilings.arithmetic.push_back({*isa, *flops});
  }
  for (const auto& entry : json["peaks"]) {
    const auto ops = positive(entry, "ops_per_s");
    if (!ops) return std::nullopt;
    ceilings.peaks.push_back({text_of(entry, "type"), text_of(entry, "unit"), *ops});
  }
  return ceilings;
}

nlohmann::json machine_ceilings(const std::string& file, int threads, bool may_measure) {
  nlohmann::json known = nlohmann::json::object();
  if (const auto text = read_text(file); text.ok()) {
    known = nlohmann::json::parse(*text, nullptr, false);
    if (!known.is_object()) known = nlohmann::json::object();
  }
  const std::string key = machine_key(threads);
  if (known.contains(key) && ceilings_from_json(known[key])) return known[key];
  if (!may_measure) return nullptr;
  spdlog::info("measuring what this machine can do, once for all runs in this folder");
  ThreadPool pool(threads);
  known[key] = to_json(measure_ceilings(pool));
  using Handler = nlohmann::json::error_handler_t;
  const Status kept = write_atomically(file, known.dump(1, ' ', false, Handler::replace) + "\n");
  if (!kept.ok()) spdlog::warn("{}; the next sweep measures again", kept.error().message);
  return known[key];
}

}  // namespace lathe
