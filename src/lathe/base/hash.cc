#include "lathe/base/hash.h"

#include <openssl/evp.h>

#include "lathe/base/mapped_file.h"

namespace lathe {

struct Sha256::Impl {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~Impl() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : impl_(std::make_unique<Impl>()) {
  LATHE_CHECK(EVP_DigestInit_ex(impl_->context, EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const uint8_t> bytes) {
  EVP_DigestUpdate(impl_->context, bytes.data(), bytes.size());
}

void Sha256::update(std::string_view text) {
  EVP_DigestUpdate(impl_->context, text.data(), text.size());
}

std::string Sha256::hex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(impl_->context, digest, &size);
  std::string text;
  for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

std::string sha256_hex(std::string_view text) {
  Sha256 hash;
  hash.update(text);
  return hash.hex();
}

Result<std::string> sha256_of_file(const std::string& path) {
  LATHE_TRY(const Bytes bytes, map_file(path));
  Sha256 hash;
  constexpr size_t kChunk = size_t{4} << 20;
  for (size_t at = 0; at < bytes.size(); at += kChunk) {
    const Bytes part = bytes.slice(at, std::min(kChunk, bytes.size() - at));
    hash.update(part.span());
    release_pages(part);
  }
  return hash.hex();
}

}  // namespace lathe
