// Renderings of an analysis: a heat map as one self-contained HTML page without a script, and
// Markdown.
#pragma once

#include <string>

#include "lathe/lab/analysis.h"

namespace lathe {

// One table per measure, matrices down, candidates across. A cell's colour goes with the logarithm
// of its value, from the table's least to its largest. Follows the reader's light or dark setting.
std::string analysis_html(const Analysis& analysis);
std::string analysis_markdown(const Analysis& analysis);

}  // namespace lathe
