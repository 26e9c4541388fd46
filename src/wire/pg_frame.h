// The frame of PostgreSQL's messages (protocol 3): a type byte, a length that counts itself, a body.
//
// The pooler's hot path: header only, no allocation, no exception. Bytes are std::string_view. Invariant: nothing is
// read beyond the view, whatever the bytes say. A relay calls read_head() and looks only at the messages that matter to
// it; who needs a whole body calls read_message() and then a function of pg_parse.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace pgdba::wire {

namespace frontend {
inline constexpr char bind = 'B';
inline constexpr char close = 'C';
inline constexpr char copy_data = 'd';
inline constexpr char copy_done = 'c';
inline constexpr char copy_fail = 'f';
inline constexpr char describe = 'D';
inline constexpr char execute = 'E';
inline constexpr char flush = 'H';
inline constexpr char function_call = 'F';
inline constexpr char parse = 'P';
inline constexpr char password = 'p';  // and every other answer of an authentication
inline constexpr char query = 'Q';
inline constexpr char sync = 'S';
inline constexpr char terminate = 'X';
}  // namespace frontend

namespace backend {
inline constexpr char authentication = 'R';
inline constexpr char backend_key_data = 'K';
inline constexpr char bind_complete = '2';
inline constexpr char close_complete = '3';
inline constexpr char command_complete = 'C';
inline constexpr char copy_both_response = 'W';
inline constexpr char copy_data = 'd';
inline constexpr char copy_done = 'c';
inline constexpr char copy_in_response = 'G';
inline constexpr char copy_out_response = 'H';
inline constexpr char data_row = 'D';
inline constexpr char empty_query_response = 'I';
inline constexpr char error_response = 'E';
inline constexpr char function_call_response = 'V';
inline constexpr char negotiate_protocol_version = 'v';
inline constexpr char no_data = 'n';
inline constexpr char notice_response = 'N';
inline constexpr char notification_response = 'A';
inline constexpr char parameter_description = 't';
inline constexpr char parameter_status = 'S';
inline constexpr char parse_complete = '1';
inline constexpr char portal_suspended = 's';
inline constexpr char ready_for_query = 'Z';
inline constexpr char row_description = 'T';
}  // namespace backend

// Limits on a length as it stands in the frame. The general one is PgBouncer's default of max_packet_size; the others
// are what PostgreSQL itself accepts from a client.
inline constexpr uint32_t kMaxMessage = 0x7fffffff;
inline constexpr uint32_t kMaxLongMessage = 0x3ffffffe;  // Query, Parse, Bind, FunctionCall, CopyData
inline constexpr uint32_t kMaxShortMessage = 10000;      // all others
inline constexpr uint32_t kMaxAuthMessage = 65535;       // before the login is done

inline constexpr size_t kHeadSize = 5;
inline constexpr uint32_t kMinLength = 4;

namespace detail {
inline constexpr auto message_kinds = [] {
  std::array<uint8_t, 256> kinds{};  // 1: frontend, 2: backend, 4: a frontend message that may be long
  for (char type : std::string_view("BCdcfDEHFPpQSX")) kinds[static_cast<unsigned char>(type)] |= 1;
  for (char type : std::string_view("RK23CWdcGHDIEVvnNAtS1sZT")) kinds[static_cast<unsigned char>(type)] |= 2;
  for (char type : std::string_view("QPBFd")) kinds[static_cast<unsigned char>(type)] |= 4;
  return kinds;
}();
}  // namespace detail

constexpr bool is_frontend_type(char type) {
  return (detail::message_kinds[static_cast<unsigned char>(type)] & 1) != 0;
}
constexpr bool is_backend_type(char type) {
  return (detail::message_kinds[static_cast<unsigned char>(type)] & 2) != 0;
}
// The limit for a client's message after the login.
constexpr uint32_t frontend_limit(char type) {
  return (detail::message_kinds[static_cast<unsigned char>(type)] & 4) != 0 ? kMaxLongMessage : kMaxShortMessage;
}

inline uint16_t load_u16(const char* at) {
  return static_cast<uint16_t>(static_cast<unsigned char>(at[0]) << 8 | static_cast<unsigned char>(at[1]));
}
inline uint32_t load_u32(const char* at) {
  return static_cast<uint32_t>(load_u16(at)) << 16 | load_u16(at + 2);
}
inline void store_u32(char* at, uint32_t value) {
  for (int i = 0; i < 4; ++i) at[i] = static_cast<char>(value >> (24 - 8 * i) & 255);
}

enum class Scan : uint8_t {
  complete,
  incomplete,  // so far right; more bytes may complete it
  invalid,     // no further bytes make it right: the connection is lost
};

struct MessageHead {
  char type = 0;
  uint32_t length = 0;  // at least 4: it counts itself, not the type

  [[nodiscard]] size_t size() const { return size_t{length} + 1; }  // of the whole message
  [[nodiscard]] size_t body_size() const { return size_t{length} - kMinLength; }
};

// The head alone; the body may be missing. `head` has a meaning only when complete. Types are not judged here.
inline Scan read_head(std::string_view bytes, MessageHead& head, uint32_t max_length = kMaxMessage) {
  if (bytes.size() < kHeadSize) return Scan::incomplete;
  head.type = bytes[0];
  head.length = load_u32(bytes.data() + 1);
  return head.length >= kMinLength && head.length <= max_length ? Scan::complete : Scan::invalid;
}

struct Message {
  char type = 0;
  std::string_view body;

  [[nodiscard]] size_t size() const { return kHeadSize + body.size(); }
};

// The first whole message; the next one begins at message.size().
inline Scan read_message(std::string_view bytes, Message& message, uint32_t max_length = kMaxMessage) {
  MessageHead head;
  Scan scan = read_head(bytes, head, max_length);
  if (scan != Scan::complete) return scan;
  if (bytes.size() < head.size()) return Scan::incomplete;
  message.type = head.type;
  message.body = bytes.substr(kHeadSize, head.body_size());
  return Scan::complete;
}

// Reads a body from front to back. After the first read that does not fit, ok() is false for good and every read gives
// zero or nothing, so that one check at the end is enough.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  uint8_t u8() {
    std::string_view at = take(1);
    return ok_ ? static_cast<uint8_t>(at[0]) : uint8_t{0};
  }
  uint16_t u16() {
    std::string_view at = take(2);
    return ok_ ? load_u16(at.data()) : uint16_t{0};
  }
  uint32_t u32() {
    std::string_view at = take(4);
    return ok_ ? load_u32(at.data()) : 0U;
  }
  int32_t i32() { return static_cast<int32_t>(u32()); }
  std::string_view take(size_t count) {
    if (!ok_ || count > rest_.size()) return failed();
    std::string_view found = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return found;
  }
  // Up to a NUL, which is consumed and not part of the text.
  std::string_view text() {
    const void* end = ok_ && !rest_.empty() ? std::memchr(rest_.data(), 0, rest_.size()) : nullptr;
    if (end == nullptr) return failed();
    std::string_view found = rest_.substr(0, static_cast<size_t>(static_cast<const char*>(end) - rest_.data()));
    rest_.remove_prefix(found.size() + 1);
    return found;
  }
  std::string_view take_rest() { return take(rest_.size()); }

  [[nodiscard]] size_t left() const { return rest_.size(); }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool done() const { return ok_ && rest_.empty(); }  // everything fitted and nothing is left

 private:
  std::string_view failed() {
    ok_ = false;
    rest_ = {};
    return {};
  }

  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace pgdba::wire
