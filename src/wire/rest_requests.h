// Bodies of the requests that change something (patroni.md 2.6), and the answers whose texts tools compare.
//
// A parser gives the request, or the answer to send instead. Bodies come complete; the caller has limited their length
// (kMaxRequest) and knows whether there was a Content-Length.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "base/error.h"
#include "base/lsn.h"
#include "base/time.h"
#include "model/cluster.h"

namespace pgdba::wire {

inline constexpr size_t kMaxRequest = 1024 * 1024;

// `html`: a protocol-level error that Patroni answers with a small page (400, 409, 411, 501, 502, 503); `text` is then
// empty or our own explanation, used only in the JSON form.
struct RestAnswer {
  int code = 200;
  std::string text;
  bool html = false;
  std::string why = {};  // ours, behind `text`, in the JSON form only: tools compare the plain text
  bool operator==(const RestAnswer&) const = default;
};
template <class T>
using Parsed = tl::expected<T, RestAnswer>;

// How an answer leaves: {"message": "…"} when the client sent JSON, Patroni's plain text otherwise.
struct RestBody {
  std::string content_type;
  std::string body;
};
RestBody render_answer(const RestAnswer& answer, bool client_speaks_json);
std::string_view reason_phrase(int code);

// "Content-Type: application/json", with or without parameters, in any case.
bool is_json_content_type(std::string_view header);

struct SwitchoverRequest {
  bool switchover = true;  // false: a manual failover; one that names a leader is turned into a switchover
  std::string leader;
  std::string candidate;
  std::optional<WallTime> scheduled_at;
  bool operator==(const SwitchoverRequest&) const = default;
};
// The checks that need only the body, the clock and whether the cluster is paused: the first seven rows of 2.7.
// `switchover`: which of the two paths was asked.
Parsed<SwitchoverRequest> parse_switchover_request(bool switchover, std::optional<std::string_view> body, bool paused,
                                                   WallTime now);

struct RestartRequest {
  std::optional<WallTime> schedule;
  std::optional<model::Role> role;      // only if this node has that role
  std::optional<int> postgres_version;  // only if older than this (150002)
  std::optional<Duration> timeout;
  bool restart_pending = false;  // only if a restart is pending
  bool operator==(const RestartRequest&) const = default;
};
Parsed<RestartRequest> parse_restart_request(std::optional<std::string_view> body, bool paused, WallTime now);

struct ReinitializeRequest {
  bool force = false;
  bool from_leader = false;
  bool operator==(const ReinitializeRequest&) const = default;
};
Parsed<ReinitializeRequest> parse_reinitialize_request(std::optional<std::string_view> body);

// PATCH and PUT /config: the body as compact JSON, certain to be a filled object.
Parsed<std::string> parse_config_request(std::optional<std::string_view> body);

struct FailsafeRequest {
  std::string name;
  std::string conn_url;
  std::string api_url;
  std::map<std::string, Lsn> slots;
  bool operator==(const FailsafeRequest&) const = default;
};
Parsed<FailsafeRequest> parse_failsafe_request(std::optional<std::string_view> body);

// The client's side of these.
std::string format_switchover_request(const SwitchoverRequest& request);
std::string format_restart_request(const RestartRequest& request);
std::string format_reinitialize_request(const ReinitializeRequest& request);

// A moment in the forms that people use: RFC 3339, "YYYY-MM-DD HH:MM[:SS[.f]]" with a zone ("Z", "UTC", "GMT",
// ±HH[:MM]).
enum class ScheduleError { no_zone, in_the_past, unreadable };
tl::expected<WallTime, ScheduleError> parse_schedule(std::string_view text, WallTime now);
// The answer with Patroni's code and text; `action`: "restart", "switchover".
RestAnswer schedule_answer(ScheduleError error, std::string_view action);

// "15.2" as 150002, "9.6.5" as 90605. The error has Patroni's text; it wants the minor version, too.
Result<int> parse_postgres_version(std::string_view text);

}  // namespace pgdba::wire
