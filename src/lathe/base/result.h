// Result<T>: a value, or an Error that a user can act on (what went wrong, where, what to do).
// For files, configuration and capability. Our own bugs are LATHE_CHECK; kernels neither throw nor
// fail.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>
#include <variant>

#include "lathe/base/check.h"

namespace lathe {

enum class ErrorCode {
  kBadInput,     // malformed or unknown: exit code 2
  kNotFound,     // a file, tensor or key is missing: exit code 2
  kUnsupported,  // well-formed, but not something Lathe can do: exit code 2
  kNoRoom,       // would not fit into memory: exit code 3
  kFailed,       // anything else went wrong while working, a full disk too: exit code 1
};

struct Error {
  ErrorCode code = ErrorCode::kFailed;
  std::string message;  // what and where, outermost context first: "model/: config.json: …"
  std::string hint;     // what to do about it; may be empty

  // Adds the place where the error was met in front of the message.
  Error in(std::string_view where) && {
    message = fmt::format("{}: {}", where, message);
    return std::move(*this);
  }
  Error with_hint(std::string text) && {
    hint = std::move(text);
    return std::move(*this);
  }
};

template <typename... Args>
Error bad_input(fmt::format_string<Args...> f, Args&&... args) {
  return {ErrorCode::kBadInput, fmt::format(f, std::forward<Args>(args)...), {}};
}
template <typename... Args>
Error not_found(fmt::format_string<Args...> f, Args&&... args) {
  return {ErrorCode::kNotFound, fmt::format(f, std::forward<Args>(args)...), {}};
}
template <typename... Args>
Error unsupported(fmt::format_string<Args...> f, Args&&... args) {
  return {ErrorCode::kUnsupported, fmt::format(f, std::forward<Args>(args)...), {}};
}
template <typename... Args>
Error no_room(fmt::format_string<Args...> f, Args&&... args) {
  return {ErrorCode::kNoRoom, fmt::format(f, std::forward<Args>(args)...), {}};
}
template <typename... Args>
Error failed(fmt::format_string<Args...> f, Args&&... args) {
  return {ErrorCode::kFailed, fmt::format(f, std::forward<Args>(args)...), {}};
}

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return LATHE_CHECK(ok()), std::get<0>(state_); }
  const T& value() const& { return LATHE_CHECK(ok()), std::get<0>(state_); }
  // By value, so that a range-for over f().value() does not dangle.
  T value() && { return LATHE_CHECK(ok()), std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& { return LATHE_CHECK(!ok()), std::get<1>(state_); }
  Error&& error() && { return LATHE_CHECK(!ok()), std::get<1>(std::move(state_)); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}  // NOLINT

  bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }
  const Error& error() const& { return LATHE_CHECK(!ok_), error_; }
  Error&& error() && { return LATHE_CHECK(!ok_), std::move(error_); }

 private:
  Error error_;
  bool ok_ = true;
};

using Status = Result<void>;

}  // namespace lathe

#define LATHE_CONCAT_INNER(a, b) a##b
#define LATHE_CONCAT(a, b) LATHE_CONCAT_INNER(a, b)

// LATHE_TRY(auto x, f());  — returns the error from the enclosing function, or binds the value.
#define LATHE_TRY(declaration, expression)                     \
  auto LATHE_CONCAT(result_, __LINE__) = (expression);         \
  if (!LATHE_CONCAT(result_, __LINE__).ok())                   \
    return std::move(LATHE_CONCAT(result_, __LINE__)).error(); \
  declaration = std::move(LATHE_CONCAT(result_, __LINE__)).value()

// LATHE_OK(f());  — returns the error from the enclosing function, if there is one.
#define LATHE_OK(expression)                                                           \
  do {                                                                                 \
    if (auto status_ = (expression); !status_.ok()) return std::move(status_).error(); \
  } while (false)

// The same, with the place added in front of the message: LATHE_OK_IN(f(), path);
#define LATHE_OK_IN(expression, where)                                                           \
  do {                                                                                           \
    if (auto status_ = (expression); !status_.ok()) return std::move(status_).error().in(where); \
  } while (false)

#define LATHE_TRY_IN(declaration, expression, where)                     \
  auto LATHE_CONCAT(result_, __LINE__) = (expression);                   \
  if (!LATHE_CONCAT(result_, __LINE__).ok())                             \
    return std::move(LATHE_CONCAT(result_, __LINE__)).error().in(where); \
  declaration = std::move(LATHE_CONCAT(result_, __LINE__)).value()
