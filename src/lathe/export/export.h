// Writing a model in a file format that other programs load: GGUF for llama.cpp, directories for
// transformers. What the other format can hold as it stands is moved there bit by bit; everything
// else is encoded anew, and the report says so per class of matrix.
#pragma once

#include <string>
#include <vector>

#include "lathe/base/threads.h"
#include "lathe/model/checkpoint.h"

namespace lathe {

struct ExportOptions {
  // Format spec for the linear layers of the blocks where they are stored as floats, or in a format
  // that the target does not have. Empty: floats stay what they are, the rest becomes f16.
  std::string format;
  // The same for the embedding table and the head; empty: floats stay, the rest becomes f16.
  std::string embedding_format;
};

// All matrices that play the same part ("mlp.up_proj") and went the same way.
struct ExportedClass {
  std::string name, from, to;  // format specs
  int64_t matrices = 0, weights = 0, bytes = 0;
  bool exact = true;          // every decoded weight is the same number as before
  double largest_change = 0;  // max |Δw| / max |w|, of the worst matrix
};

struct ExportReport {
  std::vector<ExportedClass> classes;
  std::vector<std::string> notes;  // what the target cannot say, and what was done about it
  int64_t bytes = 0;               // of all files written
  bool exact() const;
  void add(const std::string& matrix, const std::string& from, const std::string& to,
           int64_t weights, int64_t bytes, bool exact, double change);
};

struct ExportTarget {
  std::string name, description;
  // `out` does not exist; it appears whole or not at all.
  Result<ExportReport> (*write)(const Checkpoint& source, const std::string& out,
                                const ExportOptions& options, ThreadPool& pool);
};

// The one list of targets. Adding one: its file, and a line in registry.cc.
const std::vector<ExportTarget>& export_targets();
Result<const ExportTarget*> find_export_target(const std::string& name);

}  // namespace lathe
