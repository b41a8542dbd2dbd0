// The kinds of trackers, each in a file of its own.
#pragma once

#include "lathe/track/tracker.h"

namespace lathe {

TrackerKind mlflow_kind();
TrackerKind mlflow_files_kind();
TrackerKind tensorboard_kind();

}  // namespace lathe
