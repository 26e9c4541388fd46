// A client's first packet, which has a length but no type byte: a login, a request for encryption, or a cancel.
//
// parse_first_packet() is called again as bytes arrive until it gives a packet or an error. Everything is copied out of
// the bytes (a packet has at most kMaxStartup of them). Invariant: parse(format(x)) == x, for texts without NUL.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pgdba::wire {

inline constexpr size_t kMaxStartup = 10000;  // PostgreSQL's limit
inline constexpr size_t kMinCancelKey = 4;    // protocol 3.0 has 4 bytes, 3.2 up to 256
inline constexpr size_t kMaxCancelKey = 256;

struct StartupParameter {
  std::string name;
  std::string value;
  bool operator==(const StartupParameter&) const = default;
};

// What BackendKeyData gave and CancelRequest brings back.
struct CancelKey {
  uint32_t pid = 0;
  std::string secret;
  bool operator==(const CancelKey&) const = default;
};

enum class FirstKind {
  startup,  // protocol 3
  ssl_request,
  gssenc_request,
  cancel_request,
  protocol_2,  // to be refused in words; nothing of it is read
  tls_hello,   // TLS without an SSLRequest (libpq's sslnegotiation=direct); size is 0: the bytes are TLS's
};

struct FirstPacket {
  FirstKind kind = FirstKind::startup;
  size_t size = 0;  // bytes it takes
  // startup only
  uint16_t minor = 0;
  std::vector<StartupParameter> parameters;        // in the client's order, repetitions kept: the last one counts
  std::vector<StartupParameter> protocol_options;  // those whose name begins with "_pq_."
  // cancel_request only
  CancelKey cancel;

  // The last value given; null when there is none.
  [[nodiscard]] const std::string* find(std::string_view name) const;
};

// None: incomplete. An error: invalid, with PostgreSQL's words where it has some.
Result<std::optional<FirstPacket>> parse_first_packet(std::string_view bytes);

// All of these append one packet to `out`, or nothing and give false when it would be longer than the limits.
bool append_startup(std::string& out, uint16_t minor, const std::vector<StartupParameter>& parameters,
                    const std::vector<StartupParameter>& protocol_options = {});
bool append_ssl_request(std::string& out);
bool append_gssenc_request(std::string& out);
bool append_cancel_request(std::string& out, const CancelKey& key);

// The key "options": `-c k=v`, `-ck=v` and `--k=v`, separated by white space; a backslash takes the next character as
// it is. As in PostgreSQL a `-` in a name means `_`. Anything else is an error.
Result<std::vector<StartupParameter>> parse_options(std::string_view text);
// One `-c k=v` each, escaped: parse_options() gives the same list, for names without '=', '-' and NUL.
std::string format_options(const std::vector<StartupParameter>& options);

}  // namespace pgdba::wire
