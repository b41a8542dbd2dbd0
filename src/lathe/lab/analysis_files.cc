#include "lathe/lab/analysis_files.h"

#include <cmath>
#include <filesystem>
#include <fstream>

#include "lathe/base/mapped_file.h"
#include "lathe/io/atomic_file.h"

namespace lathe {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostBytes = size_t{256} << 20;

// Fields of one object, all of which must be there; the first mistake is kept.
class Reader {
 public:
  explicit Reader(const Json& json) : json_(json) {}
  double number(const char* key) {
    if (json_.is_object() && json_.contains(key) && json_[key].is_number()) {
      const double value = json_[key].get<double>();
      if (std::isfinite(value)) return value;
    }
    return wrong(key, "a number"), 0;
  }
  int64_t whole(const char* key) {
    if (json_.is_object() && json_.contains(key) && json_[key].is_number_integer()) {
      const auto value = json_[key].get<int64_t>();
      if (value >= -1) return value;
    }
    return wrong(key, "a whole number"), 0;
  }
  std::string text(const char* key) {
    if (json_.is_object() && json_.contains(key) && json_[key].is_string()) {
      return json_[key].get<std::string>();
    }
    return wrong(key, "a text"), std::string();
  }
  bool flag(const char* key) {
    if (json_.is_object() && json_.contains(key) && json_[key].is_boolean()) return json_[key];
    return wrong(key, "true or false"), false;
  }
  Status status() const {
    if (mistake_.empty()) return {};
    return bad_input("{}", mistake_);
  }

 private:
  void wrong(const char* key, const char* expected) {
    if (mistake_.empty()) mistake_ = fmt::format("'{}' is missing, or not {}", key, expected);
  }
  const Json& json_;
  std::string mistake_;
};

Result<SensitivityRow> row_from(const Json& json) {
  Reader read(json);
  SensitivityRow row;
  row.matrix = read.text("matrix");
  const std::string candidate = read.text("candidate");
  row.bytes = read.whole("bytes");
  row.weight_mse = read.number("weight_mse");
  row.weight_error = read.number("weight_error");
  row.output_mse = read.number("output_mse");
  row.output_error = read.number("output_error");
  row.cosine = read.number("cosine");
  row.kl = read.number("kl");
  row.top1 = read.number("top1");
  row.ppl_change = read.number("ppl_change");
  row.note = read.text("note");
  LATHE_OK(read.status());
  LATHE_TRY(row.candidate, parse_candidate(candidate));
  return row;
}

Result<KernelTime> time_from(const Json& json) {
  Reader read(json);
  KernelTime time{read.whole("rows"), read.whole("cols"), read.text("candidate"),
                  static_cast<int>(read.whole("threads")), read.number("seconds")};
  LATHE_OK(read.status());
  return time;
}

Status header_into(const Json& json, Analysis& out) {
  Reader read(json);
  if (read.whole("lathe_analysis") != 1) {
    LATHE_OK(read.status());
    return bad_input("this Lathe reads version 1, not {}", json["lathe_analysis"].dump());
  }
  out.vector_bytes = read.whole("vector_bytes");
  out.parameters = read.whole("parameters");
  out.base_ppl = read.number("base_ppl");
  out.tied = read.flag("tied");
  LATHE_OK(read.status());
  if (!json.contains("matrices") || !json["matrices"].is_array()) {
    return bad_input("'matrices' is missing, or not a list");
  }
  for (const Json& entry : json["matrices"]) {
    Reader one(entry);
    Analysis::Matrix matrix{{one.text("name"), one.whole("rows"), one.whole("cols"),
                             one.whole("layer"), one.flag("linear")},
                            one.text("format"),
                            one.whole("bytes")};
    LATHE_OK(one.status());
    out.matrices.push_back(std::move(matrix));
  }
  out.header = json;
  return {};
}

}  // namespace

Result<std::vector<Json>> read_lines(const std::string& path) {
  std::vector<Json> out;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return out;
  LATHE_TRY(std::string text, read_text(path, kMostBytes));
  const size_t end = text.rfind('\n');
  const size_t whole = end == std::string::npos ? 0 : end + 1;
  if (whole < text.size()) {
    text.resize(whole);
    LATHE_OK(write_atomically(path, text));
  }
  for (size_t begin = 0; begin < text.size();) {
    const size_t stop = text.find('\n', begin);
    const std::string_view line(text.data() + begin, stop - begin);
    Json json = Json::parse(line, nullptr, false);
    if (!json.is_object()) return bad_input("{}:{}: not an object", path, out.size() + 1);
    out.push_back(std::move(json));
    begin = stop + 1;
  }
  return out;
}

Status append_line(const std::string& path, const Json& line) {
  std::ofstream file(path, std::ios::binary | std::ios::app);
  file << line.dump() + "\n" << std::flush;
  if (!file) return failed("{}: cannot be written", path).with_hint("is the disk full?");
  return {};
}

Json to_json(const SensitivityRow& row) {
  return {{"matrix", row.matrix},
          {"candidate", row.candidate.text()},
          {"format", row.candidate.format},
          {"sparsity", row.candidate.sparsity},
          {"bytes", row.bytes},
          {"weight_mse", row.weight_mse},
          {"weight_error", row.weight_error},
          {"output_mse", row.output_mse},
          {"output_error", row.output_error},
          {"cosine", row.cosine},
          {"kl", row.kl},
          {"top1", row.top1},
          {"ppl_change", row.ppl_change},
          {"note", row.note}};
}

Json to_json(const KernelTime& time) {
  return {{"rows", time.rows},
          {"cols", time.cols},
          {"candidate", time.candidate},
          {"threads", time.threads},
          {"seconds", time.seconds}};
}

Result<Analysis> load_analysis(const std::string& folder) {
  Analysis out;
  out.folder = folder;
  const std::string header = folder + "/analysis.json";
  LATHE_TRY(const std::string text, read_text(header, kMostBytes));
  LATHE_OK_IN(header_into(Json::parse(text, nullptr, false), out), header);
  LATHE_TRY(const auto rows, read_lines(folder + "/rows.jsonl"));
  for (const Json& json : rows) {
    LATHE_TRY_IN(SensitivityRow row, row_from(json), folder + "/rows.jsonl");
    out.rows.push_back(std::move(row));
  }
  LATHE_TRY(const auto times, read_lines(folder + "/times.jsonl"));
  for (const Json& json : times) {
    LATHE_TRY_IN(KernelTime time, time_from(json), folder + "/times.jsonl");
    out.times.push_back(std::move(time));
  }
  return out;
}

std::vector<const SensitivityRow*> Analysis::rows_of(const std::string& matrix) const {
  std::vector<const SensitivityRow*> out;
  for (const SensitivityRow& row : rows) {
    if (row.matrix == matrix) out.push_back(&row);
  }
  return out;
}

bool Analysis::in_a_step(const MatrixInfo& info) const {
  return info.linear || (tied && info.name == "model.embed_tokens");
}

std::string Analysis::timed_name(const Matrix& matrix, const Candidate& candidate) {
  Candidate named = candidate;
  if (named.format == "keep") named.format = matrix.format;
  return named.text();
}

std::optional<double> Analysis::seconds(const Matrix& matrix, const Candidate& candidate,
                                        int threads) const {
  if (!in_a_step(matrix.info)) return 0;
  const std::string name = timed_name(matrix, candidate);
  std::optional<double> found;
  for (const KernelTime& time : times) {
    if (time.rows == matrix.info.rows && time.cols == matrix.info.cols && time.threads == threads &&
        time.candidate == name) {
      found = time.seconds;
    }
  }
  return found;
}

std::optional<double> Analysis::other_seconds(int threads) const {
  std::optional<double> found;
  for (const KernelTime& time : times) {
    if (time.rows == 0 && time.threads == threads) found = time.seconds;
  }
  return found;
}

std::optional<double> Analysis::step_seconds(const std::string& recipe_hash, int threads) const {
  std::optional<double> found;
  for (const KernelTime& time : times) {
    if (time.rows == -1 && time.threads == threads && time.candidate == recipe_hash) {
      found = time.seconds;
    }
  }
  return found;
}

}  // namespace lathe
