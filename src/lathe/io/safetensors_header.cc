#include "lathe/io/safetensors_header.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <set>

namespace lathe {
namespace {

// Follows the JSON as a stream, so that repeated keys are seen and no tree is built.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  SafetensorsHeader take() { return std::move(header_); }
  Error error() const { return error_; }

  bool start_object(std::size_t) override {
    switch (state_) {
      case State::kOutside:
        state_ = State::kNames;
        return true;
      case State::kTensorOrMetadata:
        if (key_ == "__metadata__") {
          state_ = State::kMetadata;
        } else {
          state_ = State::kFields;
          seen_ = 0;
          entry_ = {};
          entry_.name = key_;
        }
        return true;
      default:
        return unexpected("an object");
    }
  }

  bool key(std::string& text) override {
    if (state_ == State::kNames) {
      if (!names_.insert(text).second) return refuse("the name '{}' comes twice", text);
      key_ = text;
      state_ = State::kTensorOrMetadata;
      return true;
    }
    if (state_ == State::kMetadata) {
      if (header_.metadata.count(text)) {
        return refuse("the metadata key '{}' comes twice", text);
      }
      key_ = text;
      state_ = State::kMetadataValue;
      return true;
    }
    return field(text);
  }

  bool end_object() override {
    if (state_ == State::kFields) {
      if (seen_ != 7) {
        return refuse("tensor '{}' lacks {}", entry_.name,
                      !(seen_ & 1)   ? "dtype"
                      : !(seen_ & 2) ? "shape"
                                     : "data_offsets");
      }
      header_.entries.push_back(std::move(entry_));
      state_ = State::kNames;
    } else if (state_ == State::kMetadata) {
      state_ = State::kNames;
    } else {
      state_ = State::kDone;
    }
    return true;
  }

  bool start_array(std::size_t) override {
    if (state_ == State::kShapeValue) {
      state_ = State::kShape;
    } else if (state_ == State::kOffsetsValue) {
      state_ = State::kOffsets;
      offsets_ = 0;
    } else {
      return unexpected("an array");
    }
    return true;
  }

  bool end_array() override {
    if (state_ == State::kOffsets && offsets_ != 2) {
      return refuse("tensor '{}': data_offsets must be two numbers", entry_.name);
    }
    state_ = State::kFields;
    return true;
  }

  bool string(std::string& text) override {
    if (state_ == State::kMetadataValue) {
      header_.metadata.emplace(key_, text);
      state_ = State::kMetadata;
    } else if (state_ == State::kDtypeValue) {
      entry_.dtype = text;
      state_ = State::kFields;
    } else {
      return unexpected("a string");
    }
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return unexpected("a number above 2^63");
    }
    const auto number = static_cast<int64_t>(value);
    if (state_ == State::kShape) {
      entry_.shape.push_back(number);
    } else if (state_ == State::kOffsets && offsets_ < 2) {
      (offsets_++ == 0 ? entry_.begin : entry_.end) = number;
    } else {
      return unexpected("a number");
    }
    return true;
  }

  bool number_integer(number_integer_t) override { return unexpected("a negative number"); }
  bool number_float(number_float_t, const std::string&) override {
    return unexpected("a number that is not whole");
  }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool null() override { return unexpected("null"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    error_ = bad_input("the header is not valid JSON (at byte {} of it)", position);
    return false;
  }

 private:
  enum class State {
    kOutside,
    kNames,
    kTensorOrMetadata,
    kFields,
    kDtypeValue,
    kShapeValue,
    kShape,
    kOffsetsValue,
    kOffsets,
    kMetadata,
    kMetadataValue,
    kDone,
  };

  template <typename... Args>
  bool refuse(fmt::format_string<Args...> f, Args&&... args) {
    error_ = bad_input(f, std::forward<Args>(args)...);
    return false;
  }

  bool unexpected(std::string_view what) {
    return key_.empty() ? refuse("the header has {} where none belongs", what)
                        : refuse("the header has {} where none belongs, at '{}'", what, key_);
  }

  bool field(const std::string& text) {
    unsigned bit = 0;
    if (text == "dtype") {
      bit = 1;
      state_ = State::kDtypeValue;
    } else if (text == "shape") {
      bit = 2;
      state_ = State::kShapeValue;
    } else if (text == "data_offsets") {
      bit = 4;
      state_ = State::kOffsetsValue;
    } else {
      return refuse("tensor '{}' has the unknown key '{}'", entry_.name, text);
    }
    if (seen_ & bit) return refuse("tensor '{}' has {} twice", entry_.name, text);
    seen_ |= bit;
    return true;
  }

  SafetensorsHeader header_;
  SafetensorsEntry entry_;
  std::set<std::string> names_;
  std::string key_;
  unsigned seen_ = 0;  // bits: dtype 1, shape 2, data_offsets 4
  int offsets_ = 0;
  State state_ = State::kOutside;
  Error error_;
};

}  // namespace

Result<SafetensorsHeader> parse_safetensors_header(std::string_view json) {
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &reader)) return reader.error();
  return reader.take();
}

}  // namespace lathe
