#include "lathe/eval/overlap.h"

#include <algorithm>
#include <cctype>

#include "lathe/base/mapped_file.h"

namespace lathe {
namespace {

constexpr size_t kMostBytes = size_t{4} << 30;

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  // What lies outside ASCII belongs to words, as letters of other scripts do.
  const auto is = [](int (*kind)(int), char c) {
    return static_cast<unsigned char>(c) < 128 && kind(static_cast<unsigned char>(c)) != 0;
  };
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    while (end < text.size() && !is(std::isspace, text[end])) ++end;
    std::string_view word = text.substr(begin, end - begin);
    while (!word.empty() && is(std::ispunct, word.front())) word.remove_prefix(1);
    while (!word.empty() && is(std::ispunct, word.back())) word.remove_suffix(1);
    if (!word.empty()) {
      words.emplace_back(word);
      for (char& c : words.back()) {
        if (is(std::isupper, c)) c = static_cast<char>(std::tolower(c));
      }
    }
    begin = end + 1;
  }
  return words;
}

// Hashes of 64 bits stand for the runs: among a billion of them, chance makes hardly one equal
// pair.
void add_runs(std::string_view text, std::unordered_set<uint64_t>& out) {
  const auto words = words_of(text);
  for (size_t i = 0; i + kOverlapWords <= words.size(); ++i) {
    uint64_t hash = 14695981039346656037u;  // FNV-1a
    for (size_t w = i; w < i + kOverlapWords; ++w) {
      for (const char c : words[w]) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
      hash = (hash ^ ' ') * 1099511628211u;
    }
    out.insert(hash);
  }
}

void add_texts(const nlohmann::json& json, std::vector<std::string>& out) {
  if (json.is_string()) out.push_back(json.get<std::string>());
  if (!json.is_structured()) return;
  for (const auto& item : json) add_texts(item, out);
}

// A file that is no JSON counts as text; what is wrong with it, who reads it as data says.
std::vector<std::string> texts_of(const std::string& path, const std::string& content) {
  std::vector<std::string> texts;
  if (path.ends_with(".json")) {
    add_texts(nlohmann::json::parse(content, nullptr, false), texts);
  } else if (path.ends_with(".jsonl")) {
    for (size_t begin = 0; begin < content.size();) {
      const size_t end = std::min(content.find('\n', begin), content.size());
      const std::string_view line = std::string_view(content).substr(begin, end - begin);
      add_texts(nlohmann::json::parse(line, nullptr, false), texts);
      begin = end + 1;
    }
  } else {
    texts.push_back(content);
  }
  return texts;
}

}  // namespace

Overlap::Overlap(std::string_view calibration_text) { add_runs(calibration_text, seen_); }

Result<Overlap> Overlap::with(const std::string& calibration) {
  LATHE_TRY(const std::string content, read_text(calibration, kMostBytes));
  Overlap overlap("");
  for (const std::string& text : texts_of(calibration, content)) add_runs(text, overlap.seen_);
  return overlap;
}

Result<nlohmann::json> Overlap::of_files(const std::vector<std::string>& files) const {
  std::vector<std::string> texts;
  for (const std::string& file : files) {
    LATHE_TRY(const std::string content, read_text(file, kMostBytes));
    for (std::string& text : texts_of(file, content)) texts.push_back(std::move(text));
  }
  return of_texts(texts);
}

nlohmann::json Overlap::of_texts(const std::vector<std::string>& texts) const {
  std::unordered_set<uint64_t> test;
  for (const std::string& text : texts) add_runs(text, test);
  int64_t shared = 0;
  for (const uint64_t hash : test) shared += seen_.contains(hash) ? 1 : 0;
  nlohmann::json out = {{"words", kOverlapWords}, {"ngrams", test.size()}, {"shared", shared}};
  out["percent"] =
      test.empty()
          ? nlohmann::json()
          : nlohmann::json(100.0 * static_cast<double>(shared) / static_cast<double>(test.size()));
  return out;
}

void add_overlap(const nlohmann::json& overlap, nlohmann::json& preflight) {
  preflight["calibration_overlap"] = overlap;
  const auto& percent = overlap["percent"];
  if (!percent.is_number() || percent.get<double>() < kOverlapWarns) return;
  preflight["warnings"].push_back(fmt::format(
      "{:.1f} % of the test's {}-grams occur in the calibration text: scores may be too good",
      percent.get<double>(), kOverlapWords));
}

}  // namespace lathe
