// run.json and samples.jsonl: what `lathe report` and a sweep that goes on read back. A run that
// parses can be shown in every form, and survives being written and read.

// Links: lathe_report

#include "fuzz_support.h"
#include "lathe/base/check.h"
#include "lathe/report/html.h"
#include "lathe/report/table.h"

using namespace lathe;

namespace {

void show(const Run& run) {
  const std::vector<Run> runs = {run, run};
  const Comparison comparison = compare_runs(runs);
  LATHE_CHECK(!terminal_table(comparison, true).empty());
  LATHE_CHECK(!markdown_table(comparison).empty());
  LATHE_CHECK(!csv_rows(runs).empty());
  LATHE_CHECK(html_report(runs, "fuzz").ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fuzz_text(data, size);
  const auto samples = parse_samples(text, "samples.jsonl");
  LATHE_CHECK(samples.ok() || !samples.error().message.empty());

  const auto json = nlohmann::json::parse(text, nullptr, false);
  const auto run = run_from_json(json);
  if (!run.ok()) {
    LATHE_CHECK(!run.error().message.empty());
    return 0;
  }
  show(*run);
  const auto again = run_from_json(nlohmann::json::parse(to_json(*run).dump()));
  LATHE_CHECK(again.ok() && to_json(*again).dump() == to_json(*run).dump());
  return 0;
}
