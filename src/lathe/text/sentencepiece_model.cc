// The protobuf of tokenizer.model, read by hand: wire format of protobuf, field numbers of
// sentencepiece_model.proto.
#include <cstring>

#include "lathe/text/sentencepiece.h"

namespace lathe::text {
namespace {

struct Field {
  uint32_t number = 0;
  uint32_t wire = 0;
  uint64_t value = 0;      // wire types 0 (varint), 1 (64 bits) and 5 (32 bits)
  std::string_view bytes;  // wire type 2
};

class Message {
 public:
  explicit Message(std::string_view bytes) : rest_(bytes) {}
  bool at_end() const { return rest_.empty(); }

  Result<Field> next() {
    Field f;
    LATHE_TRY(const uint64_t tag, varint());
    f.number = static_cast<uint32_t>(tag >> 3);
    f.wire = tag & 7;
    if (tag >> 35 || f.number == 0) return bad_input("field number {}", tag >> 3);
    if (f.wire == 0) {
      LATHE_TRY(f.value, varint());
    } else if (f.wire == 2) {
      LATHE_TRY(const uint64_t size, varint());
      LATHE_TRY(f.bytes, take(size));
    } else if (f.wire == 5 || f.wire == 1) {
      LATHE_TRY(const std::string_view raw, take(f.wire == 5 ? 4 : 8));
      std::memcpy(&f.value, raw.data(), raw.size());
    } else {
      return bad_input("wire type {}", f.wire);
    }
    return f;
  }

 private:
  Result<std::string_view> take(uint64_t size) {
    if (size > rest_.size())
      return bad_input("a field of {} bytes where {} are left", size, rest_.size());
    const std::string_view out = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return out;
  }
  Result<uint64_t> varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) return bad_input("the file ends inside a number");
      const auto byte = static_cast<uint8_t>(rest_[0]);
      rest_.remove_prefix(1);
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
    return bad_input("a number of more than 64 bits");
  }
  std::string_view rest_;
};

// Calls f(field) for each field of a message.
template <typename F>
Status each_field(std::string_view bytes, F&& f) {
  Message message(bytes);
  while (!message.at_end()) {
    LATHE_TRY(const Field field, message.next());
    LATHE_OK(f(field));
  }
  return {};
}

Status read_piece(std::string_view bytes, SentencePieces& out) {
  using Type = Bpe::PieceType;
  std::string piece;
  float score = 0;
  Type type = Type::kNormal;
  LATHE_OK(each_field(bytes, [&](const Field& f) -> Status {
    if (f.number == 1 && f.wire == 2) piece = std::string(f.bytes);
    if (f.number == 2 && f.wire == 5) {
      const auto bits = static_cast<uint32_t>(f.value);
      std::memcpy(&score, &bits, 4);
    }
    if (f.number == 3 && f.wire == 0) {
      switch (f.value) {
        case 1:
          type = Type::kNormal;
          break;
        case 2:
          type = Type::kUnknown;
          break;
        case 3:
          type = Type::kControl;
          break;
        case 4:
          type = Type::kUserDefined;
          break;
        case 5:
          type = Type::kUnused;
          break;
        case 6:
          type = Type::kByte;
          break;
        default:
          return unsupported("piece type {}", f.value);
      }
    }
    return {};
  }));
  if (type == Type::kUnknown) out.unk = static_cast<TokenId>(out.pieces.size());
  out.pieces.push_back(std::move(piece));
  out.scores.push_back(score);
  out.types.push_back(type);
  return {};
}

Status read_trainer(std::string_view bytes, SentencePieces& out) {
  return each_field(bytes, [&](const Field& f) -> Status {
    if (f.wire != 0) return {};
    switch (f.number) {
      case 3:
        if (f.value != 1 && f.value != 2)
          return unsupported("a SentencePiece model of type {} (Unigram and BPE are supported)",
                             f.value == 3 ? "word" : "char");
        out.rules.unigram = f.value == 1;
        break;
      case 24:
        out.rules.whitespace_as_suffix = f.value != 0;
        break;
      case 35:
        out.rules.byte_fallback = f.value != 0;
        break;
      case 41:
        out.bos = static_cast<TokenId>(f.value);
        break;
      case 42:
        out.eos = static_cast<TokenId>(f.value);
        break;
      default:
        break;
    }
    return {};
  });
}

Status read_normalizer(std::string_view bytes, SentencePieces& out) {
  return each_field(bytes, [&](const Field& f) -> Status {
    if (f.number == 2 && f.wire == 2) out.rules.charsmap = std::string(f.bytes);
    if (f.number == 3 && f.wire == 0) out.rules.add_dummy_prefix = f.value != 0;
    if (f.number == 4 && f.wire == 0) out.rules.remove_extra_whitespaces = f.value != 0;
    if (f.number == 5 && f.wire == 0) out.rules.escape_whitespaces = f.value != 0;
    return {};
  });
}

}  // namespace

Result<SentencePieces> read_sentencepiece_model(std::string_view bytes) {
  SentencePieces out;
  out.rules.unigram = true;  // the message's defaults
  out.bos = 1;
  out.eos = 2;
  LATHE_OK(each_field(bytes, [&](const Field& f) -> Status {
    if (f.wire != 2) return {};
    if (f.number == 1)
      LATHE_OK_IN(read_piece(f.bytes, out), fmt::format("piece {}", out.pieces.size()));
    if (f.number == 2) LATHE_OK_IN(read_trainer(f.bytes, out), "trainer_spec");
    if (f.number == 3) LATHE_OK_IN(read_normalizer(f.bytes, out), "normalizer_spec");
    return {};
  }));
  if (out.pieces.empty()) return bad_input("no pieces: not a SentencePiece model");
  const auto inside = [&](TokenId id) {
    return id >= 0 && id < static_cast<TokenId>(out.pieces.size());
  };
  if (!inside(out.bos)) out.bos = -1;
  if (!inside(out.eos)) out.eos = -1;
  return out;
}

}  // namespace lathe::text
