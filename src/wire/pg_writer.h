// Writes one message behind what a string already holds: type, place for the length, body, then the length.
//
// Invariant: after finish() the string holds one more well-framed message, or, when something did not fit its field,
// exactly what it held before. A NUL within a text() ends it, so no text can break the frame.
#pragma once

#include <string>
#include <string_view>

#include "wire/pg_frame.h"

namespace pgdba::wire {

class MessageWriter {
 public:
  // Type 0: a first packet, which has none.
  MessageWriter(std::string& out, char type) : out_(out), start_(out.size()), typed_(type != 0) {
    if (typed_) out_.push_back(type);
    out_.append(4, '\0');
  }

  MessageWriter& u8(char value) {
    out_.push_back(value);
    return *this;
  }
  MessageWriter& u16(uint16_t value) {
    out_.push_back(static_cast<char>(value >> 8));
    out_.push_back(static_cast<char>(value & 255));
    return *this;
  }
  MessageWriter& u32(uint32_t value) {
    char bytes[4];
    store_u32(bytes, value);
    out_.append(bytes, sizeof bytes);
    return *this;
  }
  MessageWriter& text(std::string_view value) {
    out_.append(value.substr(0, value.find('\0')));
    out_.push_back('\0');
    return *this;
  }
  MessageWriter& bytes(std::string_view value) {
    out_.append(value);
    return *this;
  }
  // The number of items that follow, in two bytes.
  MessageWriter& count(size_t items) {
    fits_ = fits_ && items <= 0xffff;
    return u16(static_cast<uint16_t>(items));
  }
  // A length in four bytes and that many bytes.
  MessageWriter& counted(std::string_view value) {
    fits_ = fits_ && value.size() <= kMaxMessage;
    return u32(static_cast<uint32_t>(value.size())).bytes(value);
  }

  // `more`: bytes of the body that the caller sends behind these, from elsewhere.
  bool finish(size_t more = 0, size_t max_length = kMaxMessage) {
    size_t length_at = start_ + (typed_ ? 1 : 0);
    size_t length = out_.size() - length_at;
    if (!fits_ || more > max_length || length > max_length - more) {
      out_.resize(start_);
      return false;
    }
    store_u32(out_.data() + length_at, static_cast<uint32_t>(length + more));
    return true;
  }

 private:
  std::string& out_;
  size_t start_;
  bool typed_;
  bool fits_ = true;
};

}  // namespace pgdba::wire
