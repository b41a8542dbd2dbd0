#include "lathe/export/export.h"

#include <filesystem>

#include "lathe/cli/command.h"
#include "lathe/export/verify.h"
#include "lathe/profile/environment.h"
#include "lathe/report/table.h"

namespace lathe::cli {
namespace {

struct Options {
  std::string model, to, out;
  ExportOptions how;
  bool no_verify = false;
};

void print_report(const ExportReport& report) {
  fmt::print("{:<28} {:<16} {:<16} {:>4} {:>10}  weights\n", "matrices", "from", "to", "n", "size");
  for (const ExportedClass& c : report.classes) {
    fmt::print("{:<28} {:<16} {:<16} {:>4} {:>10}  {}\n", c.name, c.from, c.to, c.matrices,
               human(static_cast<double>(c.bytes), "bytes"),
               c.exact ? std::string("the same")
                       : fmt::format("changed by up to {:.2g} of the largest", c.largest_change));
  }
  for (const std::string& note : report.notes) fmt::print("note: {}\n", note);
}

nlohmann::json to_json(const ExportReport& report) {
  nlohmann::json classes = nlohmann::json::array();
  for (const ExportedClass& c : report.classes) {
    classes.push_back({{"name", c.name},
                       {"from", c.from},
                       {"to", c.to},
                       {"matrices", c.matrices},
                       {"weights", c.weights},
                       {"bytes", c.bytes},
                       {"exact", c.exact},
                       {"largest_change", c.largest_change}});
  }
  return {{"classes", classes},
          {"notes", report.notes},
          {"bytes", report.bytes},
          {"lossless", report.exact()}};
}

nlohmann::json to_json(const Verification& v) {
  nlohmann::json j = {{"tokens", v.tokens},
                      {"equal", v.equal},
                      {"max_logit_difference", v.largest_difference},
                      {"max_logit", v.largest_logit},
                      {"mean_kl", v.mean_kl},
                      {"top1_agreement", v.top1_agreement}};
  if (v.same_tokens) j["same_tokens"] = *v.same_tokens;
  return j;
}

void print_verification(const Verification& v) {
  if (v.equal) {
    fmt::print("verified: all logits of {} tokens are the same numbers", v.tokens);
  } else {
    fmt::print(
        "verified on {} tokens: max |Δlogit| {:.3g} (of {:.3g}), mean KL {:.3g} nats, top-1 "
        "agreement {:.1f} %",
        v.tokens, v.largest_difference, v.largest_logit, v.mean_kl, 100 * v.top1_agreement);
  }
  if (v.same_tokens) fmt::print("; tokens {}", *v.same_tokens ? "equal" : "DIFFER");
  fmt::print("\n");
}

Result<int> run(const Options& options, const Common& common) {
  LATHE_TRY(const ExportTarget* target, find_export_target(options.to));
  std::error_code error;
  if (std::filesystem::exists(std::filesystem::symlink_status(options.out, error))) {
    return bad_input("{}: exists already", options.out).with_hint("choose another name");
  }
  LATHE_TRY(const std::string path, resolve_model(options.model));
  LATHE_TRY(const auto source, open_checkpoint(path));
  ThreadPool pool(common.threads);
  LATHE_TRY_IN(const ExportReport report, target->write(*source, options.out, options.how, pool),
               path);
  if (!common.json) print_report(report);
  nlohmann::json json =
      json_result("export", {{"path", path}}, {{"cpu", cpu_name()}, {"threads", pool.size()}}, {});
  json["out"] = options.out;
  json["to"] = options.to;
  json["export"] = to_json(report);
  if (!options.no_verify) {
    LATHE_TRY_IN(const auto exported, open_checkpoint(options.out), "reading back");
    EngineOptions engine = common.engine();
    engine.math = Math::kExact;
    LATHE_TRY_IN(const Verification v, verify_export(*source, *exported, engine), "reading back");
    if (!common.json) print_verification(v);
    json["verification"] = to_json(v);
  }
  if (common.json) {
    print_json(json);
  } else {
    fmt::print("{}: {}, {}\n", options.out, human(static_cast<double>(report.bytes), "bytes"),
               report.exact() ? "lossless" : "not lossless");
  }
  return kDone;
}

}  // namespace

Body add_export(CLI::App& app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->model, "MODEL")->required();
  app.add_option("--to", options->to, "What to write, see below")->required();
  app.add_option("-o,--out", options->out, "File or folder to write; must not exist")->required();
  app.add_option("--format", options->how.format,
                 "Format of the linear layers that are floats, or cannot stay as they are");
  app.add_option("--embedding-format", options->how.embedding_format,
                 "The same for embedding table and head");
  app.add_flag("--no-verify", options->no_verify,
               "Do not run source and result on a text to compare logits");
  std::string help = "Targets:\n";
  for (const ExportTarget& target : export_targets()) {
    help += fmt::format("  {:<20} {}\n", target.name, target.description);
  }
  app.footer(help + "See docs/exports.md.");
  return [options, &common] { return run(*options, common); };
}

}  // namespace lathe::cli
