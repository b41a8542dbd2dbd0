// The verdicts of a whole sweep. A run alone is compared with its baseline as if there were no
// other; a table of them makes many comparisons, and the more it makes, the more differences it
// shows that are chance.
#pragma once

#include <vector>

#include "lathe/track/run_store.h"

namespace lathe {

// Corrects the verdicts by Holm's procedure, as holm_correct() does. A family is one metric of one
// task (and convention) over all variants and models of an experiment: the comparisons of several
// systems with one control (Demšar 2006, section 3.2.2), which is what a column of the table shows.
// Runs as they are read from run.json go in; runs that were corrected already stay as they are.
void correct_verdicts(std::vector<Run>& runs);

}  // namespace lathe
