// SHA-256 of bytes and files, as lower-case hex.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "lathe/base/result.h"

namespace lathe {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(std::span<const uint8_t> bytes);
  void update(std::string_view text);
  std::string hex();  // ends the computation

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

std::string sha256_hex(std::string_view text);
Result<std::string> sha256_of_file(const std::string& path);

}  // namespace lathe
