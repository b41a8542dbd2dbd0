#include "lathe/report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "lathe/base/parse_json.h"

namespace lathe {
namespace {

constexpr const char* kReset = "\033[0m";
constexpr const char* kBold = "\033[1m";
constexpr const char* kDim = "\033[2m";

const char* colour_of(const std::string& verdict) {
  if (verdict == "better") return "\033[32m";
  if (verdict == "worse") return "\033[31m";
  if (verdict == "undecided") return "\033[33m";
  return "";
}

struct Cell {
  std::string text;
  std::string style;  // escape code, or empty
};

// Columns of a terminal that a UTF-8 text takes; all we print is one column a character.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string thousands(double value) {
  std::string digits = fmt::format("{:.0f}", std::fabs(value)), out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return value < 0 ? "-" + out : out;
}

std::string mark_of(const Comparison::Marks& marks) {
  if (marks.memory && marks.speed) return "★";
  if (marks.memory) return "★m";
  if (marks.speed) return "★s";
  return "";
}

std::string delta_of(const Measurement& m) {
  if (!m.baseline_delta) return "";
  const double d = *m.baseline_delta;
  const int digits = m.unit == "%" ? 1 : 3;
  const std::string sign = d < 0 ? "-" : "+";
  const std::string size =
      std::fabs(d) >= 1000 ? thousands(std::fabs(d)) : fmt::format("{:.{}f}", std::fabs(d), digits);
  return sign + size;
}

std::string verdict_of(const Measurement& m) {
  if (m.verdict != "undecided" || !m.decisive_n) return m.verdict;
  return fmt::format("undecided, n {}", thousands(static_cast<double>(*m.decisive_n)));
}

// What a file's error says may span lines; a list's entry may not.
std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

std::string value_text(const Measurement& m) {
  return reason_unknown(m) ? "unknown" : human(m.value, m.unit);
}

std::string lines_of(const std::vector<std::string>& sentences, const char* before) {
  std::string out;
  for (const std::string& sentence : sentences) {
    out += fmt::format("{}{}\n", before, one_line(sentence));
  }
  return out;
}

// "a, b failed in part: task/gsm8k: rows.jsonl:1: …": a sentence for each thing that went wrong,
// with all runs to which it happened.
std::vector<std::string> failures_of(const std::vector<Run>& runs) {
  std::vector<std::pair<std::string, std::string>> failures;  // what, who
  const auto add = [&](const std::string& id, const std::string& what) {
    const auto it = std::find_if(failures.begin(), failures.end(),
                                 [&](const auto& f) { return f.first == what; });
    if (it == failures.end()) {
      failures.emplace_back(what, id);
    } else {
      it->second += ", " + id;
    }
  };
  for (const Run& run : runs) {
    if (run.status == "failed") add(run.id, "failed: " + run.error);
    if (run.status != "partial") continue;
    for (const auto& f : run.failures) {
      std::string error = member_or(f, "error", "");
      // The name says already whose error it is.
      const size_t end = error.starts_with("task '") ? error.find("': ") : std::string::npos;
      if (end != std::string::npos) error.erase(0, end + 3);
      add(run.id, fmt::format("failed in part: {}: {}", member_or(f, "name", ""), error));
    }
  }
  std::vector<std::string> out;
  for (const auto& [what, who] : failures) out.push_back(who + " " + what);
  return out;
}

// What the table's signs mean, as far as it has them.
std::string legend_of(const Comparison& comparison) {
  std::string out;
  if (std::any_of(comparison.marks.begin(), comparison.marks.end(),
                  [](const auto& m) { return m.memory || m.speed; })) {
    out += fmt::format("★ on the Pareto front (m: {} against memory, s: against decode speed)\n",
                       comparison.headline);
  }
  const auto compared = [](const Run& run) {
    return std::any_of(run.results.begin(), run.results.end(),
                       [](const Measurement& m) { return m.baseline_delta.has_value(); });
  };
  if (std::any_of(comparison.runs.begin(), comparison.runs.end(), compared)) {
    out +=
        "(±) paired difference from the baseline and its verdict at 95 %, corrected for the "
        "variants of a column (Holm);\n"
        "undecided, n: so many samples would decide a difference of this size\n";
  }
  return out;
}

Cell cell_of(const Measurement* m, bool quality) {
  if (!m) return {"–", ""};
  std::string text = value_text(*m);
  if (!quality) return {text, ""};
  if (m->baseline_delta) {
    text += fmt::format(" ({} {})", delta_of(*m), verdict_of(*m));
  } else if (m->low && m->high) {
    text += fmt::format(" [{}, {}]", human(*m->low, m->unit), human(*m->high, m->unit));
  }
  return {text, colour_of(m->verdict)};
}

std::string render(const std::vector<std::vector<Cell>>& rows, size_t left_columns, bool colour) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t c = 0; c < row.size(); ++c) {
      widths[c] = std::max(widths[c], width_of(row[c].text));
    }
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string padding(widths[c] - width_of(row[c].text), ' ');
      const std::string text =
          colour && !row[c].style.empty() ? row[c].style + row[c].text + kReset : row[c].text;
      line += c < left_columns ? text + padding : padding + text;
      if (c + 1 < row.size()) line += "  ";
    }
    while (!line.empty() && line.back() == ' ') line.pop_back();
    out += line + "\n";
  }
  return out;
}

// The same of a run, whose tasks hold their preflights.
std::vector<std::string> left_out_of(const std::vector<Run>& runs) {
  nlohmann::json preflights = nlohmann::json::object();
  for (const Run& run : runs) {
    for (const auto& task : run.tasks) {
      if (!task.is_object() || !task.contains("preflight") || !task.contains("name") ||
          !task["name"].is_string()) {
        continue;
      }
      const auto& preflight = task["preflight"];
      if (!preflight.is_object() || !preflight.contains("left_out")) continue;
      preflights[task["name"].get<std::string>()]["left_out"] = preflight["left_out"];
    }
  }
  return left_out(preflights);
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

std::string csv_number(const std::optional<double>& value) {
  return value ? fmt::format("{}", *value) : "";
}

}  // namespace

std::vector<std::string> left_out(const nlohmann::json& preflights) {
  std::vector<std::string> out;
  for (const auto& [task, preflight] : preflights.items()) {
    if (!preflight.is_object() || !preflight.contains("left_out")) continue;
    for (const auto& [metric, why] : preflight["left_out"].items()) {
      if (!why.is_string()) continue;
      out.push_back(
          one_line(fmt::format("{} {} is left out: {}", task, metric, why.get<std::string>())));
    }
  }
  return out;
}

std::string human(double value, const std::string& unit) {
  if (!std::isfinite(value)) return fmt::format("{}", value);
  if (unit == "bytes") {
    constexpr std::array<const char*, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
    size_t u = 0;
    while (value >= 1000 && u + 1 < kUnits.size()) {
      value /= 1000;
      ++u;
    }
    return fmt::format("{:.{}f} {}", value,
                       u == 0 || value >= 100 ? 0
                       : value >= 10          ? 1
                                              : 2,
                       kUnits[u]);
  }
  if (unit == "%") return fmt::format("{:.1f}", value);
  const double size = std::fabs(value);
  if (size >= 1000) return thousands(value);
  if (size >= 100) return fmt::format("{:.1f}", value);
  if (size >= 10) return fmt::format("{:.2f}", value);
  return fmt::format("{:.3f}", value);
}

std::string plain_table(const std::vector<std::vector<std::string>>& rows, size_t left_columns) {
  std::vector<std::vector<Cell>> cells;
  for (const auto& row : rows) {
    cells.emplace_back();
    for (const std::string& text : row) cells.back().push_back({text, ""});
  }
  return render(cells, left_columns, false);
}

std::string time_text(double seconds) {
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

std::string terminal_table(const Comparison& comparison, bool colour) {
  std::vector<std::vector<Cell>> rows(1);
  for (const char* title : {"", "variant", "format"}) rows[0].push_back({title, kBold});
  for (const Column& c : comparison.columns) {
    rows[0].push_back({c.unit == "%" ? c.title + " %" : c.title, kBold});
  }
  for (size_t i = 0; i < comparison.runs.size(); ++i) {
    const Run& run = comparison.runs[i];
    const bool baseline = run.variant == run.baseline;
    std::vector<Cell> row = {{mark_of(comparison.marks[i]), "\033[33m"},
                             {run.id + (baseline ? " (baseline)" : ""), baseline ? kBold : ""},
                             {run.results.empty() ? "" : run.results[0].format, kDim}};
    if (run.status == "failed") {
      row.push_back({"failed", colour_of("worse")});
    } else {
      for (const Column& c : comparison.columns) {
        row.push_back(cell_of(comparison.cell(i, c), c.quality));
      }
    }
    rows.push_back(std::move(row));
  }
  std::string legend = legend_of(comparison);
  if (colour && !legend.empty()) legend = kDim + legend + kReset;
  return render(rows, 3, colour) + legend + lines_of(comparison.unknown, "unknown ") +
         lines_of(left_out_of(comparison.runs), "") + lines_of(failures_of(comparison.runs), "");
}

std::string markdown_table(const Comparison& comparison) {
  std::string head = "| | variant | format |", rule = "|---|---|---|";
  for (const Column& c : comparison.columns) {
    head += fmt::format(" {} |", c.unit == "%" ? c.title + " %" : c.title);
    rule += "---:|";
  }
  std::string out = head + "\n" + rule + "\n";
  for (size_t i = 0; i < comparison.runs.size(); ++i) {
    const Run& run = comparison.runs[i];
    out += fmt::format("| {} | {} | {} |", mark_of(comparison.marks[i]), run.id,
                       run.results.empty() ? "" : "`" + run.results[0].format + "`");
    for (const Column& c : comparison.columns) {
      out += run.status != "failed" ? " " + cell_of(comparison.cell(i, c), c.quality).text + " |"
                                    : " failed |";
    }
    out += "\n";
  }
  const std::string notes = lines_of(comparison.unknown, "- unknown ") +
                            lines_of(left_out_of(comparison.runs), "- ") +
                            lines_of(failures_of(comparison.runs), "- ");
  return notes.empty() ? out : out + "\n" + notes;
}

std::string csv_rows(const std::vector<Run>& runs) {
  std::string out =
      "run,model,variant,format,task,metric,value,low,high,n,unit,better,baseline_delta,delta_low,"
      "delta_high,verdict,test,p_value,p_holm,decisive_n,convention,status,unknown\n";
  for (const Run& run : runs) {
    const std::string model = member_or(run.model, "path", "");
    if (run.status == "failed") {
      out += fmt::format("{},{},{},,,,,,,,,,,,,,,,,,,{},\n", csv_field(run.id), csv_field(model),
                         csv_field(run.variant), csv_field(run.status));
      continue;
    }
    for (const Measurement& m : run.results) {
      const auto reason = reason_unknown(m);
      out += fmt::format(
          "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n",
          csv_field(run.id), csv_field(model), csv_field(m.variant), csv_field(m.format), m.task,
          m.metric, reason ? "" : fmt::format("{}", m.value), csv_number(m.low), csv_number(m.high),
          m.n, m.unit, m.better, csv_number(m.baseline_delta), csv_number(m.delta_low),
          csv_number(m.delta_high), m.verdict, m.test, csv_number(m.p_value), csv_number(m.p_holm),
          m.decisive_n ? fmt::format("{}", *m.decisive_n) : "",
          member_or(m.extra, "convention", ""), run.status, csv_field(reason.value_or("")));
    }
  }
  return out;
}

std::string jsonl_rows(const std::vector<Run>& runs) {
  std::string out;
  for (const Run& run : runs) {
    nlohmann::json about = {{"run", run.id}, {"status", run.status}};
    if (run.model.is_object()) about["model"] = member_or(run.model, "path", "");
    if (!run.error.empty()) about["error"] = run.error;
    const auto add = [&](nlohmann::json row) {
      row.update(about);
      out += row.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    };
    if (run.status == "failed") add({{"variant", run.variant}});
    for (const Measurement& m : run.results) add(to_json(m));
  }
  return out;
}

std::string terminal_rows(const std::vector<Measurement>& measurements, bool colour) {
  std::vector<std::vector<Cell>> rows;
  rows.push_back({{"task", kBold},
                  {"metric", kBold},
                  {"value", kBold},
                  {"95 % interval", kBold},
                  {"unit", kBold},
                  {"n", kBold}});
  for (const Measurement& m : measurements) {
    const std::string convention = member_or(m.extra, "convention", "");
    const bool bytes = m.unit == "bytes";
    rows.push_back(
        {{m.task, ""},
         {convention.empty() ? m.metric : m.metric + " (" + convention + ")", ""},
         {value_text(m), ""},
         {m.low && m.high ? fmt::format("{} – {}", human(*m.low, m.unit), human(*m.high, m.unit))
                          : "",
          kDim},
         {bytes ? "" : m.unit, ""},
         {thousands(static_cast<double>(m.n)), kDim}});
  }
  std::vector<const Measurement*> all;
  for (const Measurement& m : measurements) all.push_back(&m);
  return render(rows, 2, colour) + lines_of(unknown_figures(all), "unknown ");
}

}  // namespace lathe
