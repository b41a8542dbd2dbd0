// The kinds of checkpoint behind open_checkpoint(), and what they share.
#pragma once

#include <fmt/ranges.h>

#include <initializer_list>
#include <span>

#include "lathe/model/checkpoint.h"

namespace lathe {

Result<std::unique_ptr<const Checkpoint>> open_hf_checkpoint(const std::string& directory);
Result<std::unique_ptr<const Checkpoint>> open_gguf_checkpoint(const std::string& path);
// A directory written by `lathe compress` (see lathe_checkpoint.cc for its layout).
Result<std::unique_ptr<const Checkpoint>> open_lathe_checkpoint(const std::string& directory);

Status check_shape(const std::string& name, std::span<const int64_t> found,
                   std::initializer_list<int64_t> expected);

}  // namespace lathe
