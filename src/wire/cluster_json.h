// The value of every key of model/cluster.h: text to struct and back.
//
// Patroni's keys are written byte for byte as Patroni 4.1 writes them (patroni.md 1.2 and 1.3: order of fields, no
// blanks, beyond ASCII escaped) and read as tolerantly as Patroni reads them; ours are small JSON objects. Invariant:
// parse(format(x)) == x for every x whose texts are UTF-8. No input throws; a value longer than kMaxValue is refused.
//
// `initialize` and `leader` hold raw text and need nothing here. An error says what is wrong with the value, without
// naming the key: the caller knows it and adds it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "model/cluster.h"

namespace pgdba::wire {

inline constexpr size_t kMaxValue = 1536 * 1024;  // etcd's own limit of a request

// Also reads the very old form "postgres://…?application_name=<api_url>". Text that is neither is an error.
Result<model::Member> parse_member(std::string_view text);
std::string format_member(const model::Member& member);

// Empty text, "{}" and a null leader are all read as "synchronous mode is not active" (an empty leader).
// Names keep their spelling; compare them with iequals, as Patroni does. Without a leader the rest says nothing and is
// not kept.
Result<model::SyncState> parse_sync(std::string_view text);
std::string format_sync(const model::SyncState& sync);

// Also reads a bare integer, and text in place of the inner objects.
Result<model::Status> parse_status(std::string_view text);
std::string format_status(const model::Status& status);

// Also reads "leader:candidate". "{}", "" and anything without names mean that there is no request.
Result<model::FailoverRequest> parse_failover(std::string_view text);
std::string format_failover(const model::FailoverRequest& request);

// Lines of three to five elements; a line that is none is an error.
Result<std::vector<model::HistoryLine>> parse_history(std::string_view text);
std::string format_history(const std::vector<model::HistoryLine>& lines);

// Member name to api_url.
Result<std::map<std::string, std::string>> parse_failsafe(std::string_view text);
std::string format_failsafe(const std::map<std::string, std::string>& members);

// A published `initialize` value counts when it is at least ten digits and nothing else.
bool is_system_identifier(std::string_view text);

// Ours. A missing field has its default; a field of a wrong type, a negative number where none can be, or an unknown
// word of an enum is an error: these values decide elections, so nothing is guessed.
Result<model::TermRecord> parse_term(std::string_view text);
std::string format_term(const model::TermRecord& record);
Result<model::Beat> parse_beat(std::string_view text);
std::string format_beat(const model::Beat& beat);
Result<model::Released> parse_released(std::string_view text);
std::string format_released(const model::Released& record);
Result<model::TimelineRecord> parse_timeline(std::string_view text);
std::string format_timeline(const model::TimelineRecord& record);
Result<model::Promise> parse_promise(std::string_view text);
std::string format_promise(const model::Promise& promise);
Result<model::Suspicion> parse_suspicion(std::string_view text);
std::string format_suspicion(const model::Suspicion& suspicion);
Result<model::Intent> parse_intent(std::string_view text);
std::string format_intent(const model::Intent& intent);
Result<model::Switchover> parse_switchover(std::string_view text);
std::string format_switchover(const model::Switchover& switchover);
Result<model::PoolerRecord> parse_pooler(std::string_view text);
std::string format_pooler(const model::PoolerRecord& record);

}  // namespace pgdba::wire
