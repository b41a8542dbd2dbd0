#include "lathe/report/analysis_page.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "lathe/base/parse_json.h"
#include "lathe/base/version.h"
#include "lathe/report/table.h"

namespace lathe {
namespace {

struct Measure {
  const char* id;
  const char* title;
  const char* help;
  double (*value)(const SensitivityRow& row);
};

const std::vector<Measure>& measures() {
  static const std::vector<Measure> list = {
      {"kl", "KL divergence", "end to end, nats a token, with this matrix alone changed",
       [](const SensitivityRow& r) { return r.kl; }},
      {"ppl", "Perplexity change", "end to end, against the unchanged model",
       [](const SensitivityRow& r) { return r.ppl_change; }},
      {"output", "Output error",
       "‖Ŷ − Y‖ / ‖Y‖ on the calibration inputs; of tables and the head: the logits'",
       [](const SensitivityRow& r) { return r.output_error; }},
      {"output-mse", "Output MSE", "mean (ŷ − y)² on the same inputs",
       [](const SensitivityRow& r) { return r.output_mse; }},
      {"cosine", "1 − cosine of the outputs", "of all outputs together",
       [](const SensitivityRow& r) { return 1 - r.cosine; }},
      {"weight-mse", "Weight MSE", "mean (ŵ − w)²",
       [](const SensitivityRow& r) { return r.weight_mse; }},
      {"bytes", "Bytes", "as stored",
       [](const SensitivityRow& r) { return static_cast<double>(r.bytes); }},
  };
  return list;
}

// Columns: the candidates in the order of their bytes over all matrices.
std::vector<Candidate> columns_of(const Analysis& analysis) {
  std::vector<std::pair<double, Candidate>> found;  // bytes per weight
  for (const SensitivityRow& row : analysis.rows) {
    const bool there = std::any_of(found.begin(), found.end(), [&](const auto& entry) {
      return entry.second == row.candidate;
    });
    if (there) continue;
    double bytes = 0, weights = 0;
    for (const Analysis::Matrix& matrix : analysis.matrices) {
      for (const SensitivityRow* other : analysis.rows_of(matrix.info.name)) {
        if (other->candidate != row.candidate) continue;
        bytes += static_cast<double>(other->bytes);
        weights += static_cast<double>(matrix.info.rows * matrix.info.cols);
      }
    }
    found.emplace_back(bytes / weights, row.candidate);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<Candidate> out;
  for (auto& entry : found) out.push_back(std::move(entry.second));
  return out;
}

const SensitivityRow* cell_of(const Analysis& analysis, const std::string& matrix,
                              const Candidate& candidate) {
  for (const SensitivityRow* row : analysis.rows_of(matrix)) {
    if (row->candidate == candidate) return row;
  }
  return nullptr;
}

std::string number(double value) {
  if (value == 0) return "0";
  if (std::abs(value) >= 1e4) return human(value, "");
  if (std::abs(value) >= 1e-3) return fmt::format("{:.2g}", value);
  // 7.1e-06 takes a digit more than it needs.
  const std::string text = fmt::format("{:.1e}", value);
  const size_t e = text.find('e');
  return fmt::format("{}e{}", text.substr(0, e), std::stoi(text.substr(e + 1)));
}

// "model.layers.3.mlp.up_proj" as "3 mlp.up_proj"; the whole name stands in the tooltip.
std::string short_name(const MatrixInfo& info) {
  const std::string block = fmt::format("model.layers.{}.", info.layer);
  if (info.layer >= 0 && info.name.starts_with(block)) {
    return fmt::format("{} {}", info.layer, info.name.substr(block.size()));
  }
  return info.name.starts_with("model.") ? info.name.substr(6) : info.name;
}

// The last part of the model's path.
std::string name_of(const Analysis& analysis) {
  const std::filesystem::path path(member_or(analysis.header["model"], "path", ""));
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

// The columns are as narrow as their numbers, so that many stand side by side: a candidate's name
// may be broken where its parts end.
std::string broken(const std::string& candidate) {
  std::string out;
  for (const char c : candidate) {
    if (c == '@') out += "<wbr>";
    out += c;
    if (c == ':' || c == ',') out += "<wbr>";
  }
  return out;
}

constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--page:#fff;--text:#1a1a1a;--soft:#555;--line:#d5d5d5;--low:#f3f6fb;--high:#f0915a}
@media(prefers-color-scheme:dark){:root{--page:#16181c;--text:#f0f0f0;--soft:#b5b5b5;--line:#3a3d44;--low:#1d2127;--high:#8f3d10}}
body{margin:1.5rem;background:var(--page);color:var(--text);font:14px/1.4 system-ui,sans-serif}
h1{font-size:1.4rem;margin:0 0 .3rem}p,label{color:var(--soft)}
.scroll{overflow:auto;max-height:calc(100vh - 12.5rem);min-height:14rem;border:1px solid var(--line);width:fit-content;max-width:100%}
table{border-collapse:separate;border-spacing:0;font-variant-numeric:tabular-nums;font-size:12.5px}
th,td{padding:.15rem .4rem;border:solid var(--line);border-width:0 1px 1px 0;text-align:right;white-space:nowrap}
th{font-weight:600;background:var(--page)}thead th{position:sticky;top:0;z-index:1;white-space:normal;vertical-align:bottom;border-bottom-width:2px}
thead th:first-child{left:0;z-index:2}tbody th,thead th:first-child{text-align:left}tbody th{position:sticky;left:0;font-weight:400;white-space:nowrap}
tr.first td,tr.first th{border-top:1px solid var(--soft)}
.scale{display:inline-block;width:9rem;height:.7rem;border:1px solid var(--line);margin:0 .4rem;background:linear-gradient(90deg,var(--low),var(--high))}
td{background:color-mix(in srgb,var(--low),var(--high) calc(var(--h)*1%))}td.none{background:none;color:var(--soft)}
input[name=m]{position:absolute;opacity:0}label{display:inline-block;padding:.25rem .7rem;border:1px solid var(--line);border-radius:.4rem;margin:.2rem .1rem;cursor:pointer}
section{display:none}input[name=m]:checked+label{color:var(--text);border-color:var(--text);font-weight:600}input[name=m]:focus-visible+label{outline:2px solid var(--high)}
)";

}  // namespace

std::string analysis_html(const Analysis& analysis) {
  const std::vector<Candidate> columns = columns_of(analysis);
  const std::string model = name_of(analysis);
  std::string style = kStyle, inputs, sections;
  for (size_t m = 0; m < measures().size(); ++m) {
    const Measure& measure = measures()[m];
    style += fmt::format("body:has(#m-{0}:checked) #s-{0}{{display:block}}\n", measure.id);
    inputs +=
        fmt::format("<input type=radio name=m id=\"m-{0}\"{1}><label for=\"m-{0}\">{2}</label>\n",
                    measure.id, m == 0 ? " checked" : "", measure.title);
    double least = INFINITY, most = 0;
    for (const SensitivityRow& row : analysis.rows) {
      const double value = measure.value(row);
      if (value > 0) {
        least = std::min(least, value);
        most = std::max(most, value);
      }
    }
    sections += fmt::format("<section id=\"s-{}\"><p>{}", measure.id, measure.help);
    if (most > least) {
      sections += fmt::format(" · {}<span class=scale></span>{}", number(least), number(most));
    }
    sections += "</p><div class=scroll tabindex=0><table><thead><tr><th scope=col>matrix</th>";
    for (const Candidate& column : columns) {
      sections += fmt::format("<th scope=col>{}</th>", broken(escaped(column.text())));
    }
    sections += "</tr></thead><tbody>\n";
    int64_t layer = -1;
    for (const Analysis::Matrix& matrix : analysis.matrices) {
      const bool begins = std::exchange(layer, matrix.info.layer) != matrix.info.layer;
      sections +=
          fmt::format("<tr{}><th scope=row title=\"{}\">{}</th>", begins ? " class=first" : "",
                      escaped(matrix.info.name), escaped(short_name(matrix.info)));
      for (const Candidate& column : columns) {
        const SensitivityRow* row = cell_of(analysis, matrix.info.name, column);
        if (!row) {
          sections += "<td class=none>–</td>";
          continue;
        }
        const double value = measure.value(*row);
        const double span = std::log(most / least);
        const double heat = value > 0 && span > 0
                                ? std::clamp(100 * std::log(value / least) / span, 0.0, 100.0)
                                : 0;
        sections += fmt::format("<td style=\"--h:{:.0f}\">{}</td>", heat, number(value));
      }
      sections += "</tr>\n";
    }
    sections += "</tbody></table></div></section>\n";
  }
  return fmt::format(
      "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\n"
      "<meta name=viewport content=\"width=device-width\">\n"
      "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src "
      "'unsafe-inline'\">\n<title>Sensitivity of {0}</title><style>{1}</style></head><body>\n"
      "<h1>Sensitivity of {0}</h1>\n<p>{2} matrices, {3} candidates, method {4}, {5} tokens; "
      "perplexity unchanged {6:.4f}. The colour goes with the logarithm of the figure. "
      "Lathe {7}.</p>\n{8}{9}</body></html>\n",
      escaped(model), style, analysis.matrices.size(), columns.size(),
      escaped(member_or(analysis.header["key"], "method", "")),
      member_or(analysis.header, "tokens", int64_t{0}), analysis.base_ppl, kVersion, inputs,
      sections);
}

std::string analysis_markdown(const Analysis& analysis) {
  const std::vector<Candidate> columns = columns_of(analysis);
  std::string out = fmt::format("# Sensitivity of {}\n\nPerplexity unchanged {:.4f}.\n",
                                name_of(analysis), analysis.base_ppl);
  for (const Measure& measure : measures()) {
    out += fmt::format("\n## {}\n\n{}\n\n| matrix |", measure.title, measure.help);
    std::string rule = "|---|";
    for (const Candidate& column : columns) {
      out += fmt::format(" `{}` |", column.text());
      rule += "---:|";
    }
    out += "\n" + rule + "\n";
    for (const Analysis::Matrix& matrix : analysis.matrices) {
      out += fmt::format("| {} |", matrix.info.name);
      for (const Candidate& column : columns) {
        const SensitivityRow* row = cell_of(analysis, matrix.info.name, column);
        out += row ? fmt::format(" {} |", number(measure.value(*row))) : " – |";
      }
      out += "\n";
    }
  }
  return out;
}

}  // namespace lathe
