// Our own keys, below pgdba/. They decide elections, so they are read strictly: a wrong type is an error, not a
// default.
#include "wire/cluster_json.h"
#include "wire/json_tools.h"

namespace pgdba::wire {

namespace {

constexpr std::string_view kPromiseStates[] = {"active", "withdrawn", "consumed"};
constexpr std::string_view kIntentKinds[] = {"stop", "restart"};
constexpr std::string_view kSwitchoverStates[] = {"draining", "stopped", "done", "aborted"};
constexpr std::string_view kPoolerStates[] = {"open", "holding", "drained"};

template <class Enum, size_t N>
std::string_view word(const std::string_view (&words)[N], Enum value) {
  return words[static_cast<size_t>(value)];
}

// Reads one object with `read(Fields&)`.
template <class Read>
auto parse_fields(std::string_view text, Read read) -> Result<decltype(read(std::declval<Fields&>()))> {
  auto object = parse_json_object(text, kMaxValue);
  if (!object) return tl::unexpected(object.error());
  Fields fields(*object);
  return fields.result(read(fields));
}

uint32_t timeline(Fields& f, std::string_view name) {
  return static_cast<uint32_t>(f.integer(name, 0, UINT32_MAX));
}

}  // namespace

Result<model::TermRecord> parse_term(std::string_view text) {
  return parse_fields(text, [](Fields& f) {
    model::TermRecord r;
    r.term = f.integer("term");
    r.leader = f.text("leader");
    r.from = f.text("from");
    r.cause = f.text("cause");
    r.timeline = timeline(f, "timeline");
    return r;
  });
}

std::string format_term(const model::TermRecord& r) {
  JsonWriter w;
  w.begin_object().integer("term", r.term).text("leader", r.leader).text("from", r.from).text("cause", r.cause);
  w.unsigned_integer("timeline", r.timeline).end_object();
  return w.take();
}

Result<model::Beat> parse_beat(std::string_view text) {
  return parse_fields(text, [](Fields& f) {
    model::Beat beat;
    beat.term = f.integer("term");
    beat.count = f.integer("count");
    return beat;
  });
}

std::string format_beat(const model::Beat& beat) {
  JsonWriter w;
  w.begin_object().integer("term", beat.term).integer("count", beat.count).end_object();
  return w.take();
}

Result<model::Released> parse_released(std::string_view text) {
  return parse_fields(text, [](Fields& f) {
    model::Released r;
    r.term = f.integer("term");
    r.leader = f.text("leader");
    return r;
  });
}

std::string format_released(const model::Released& r) {
  JsonWriter w;
  w.begin_object().integer("term", r.term).text("leader", r.leader).end_object();
  return w.take();
}

Result<model::TimelineRecord> parse_timeline(std::string_view text) {
  return parse_fields(text, [](Fields& f) {
    model::TimelineRecord r;
    r.term = f.integer("term");
    r.node = f.text("node");
    r.nonce = f.text("nonce");
    r.parent = timeline(f, "parent");
    r.begins = f.lsn("begins").value_or(Lsn{});
    return r;
  });
}

std::string format_timeline(const model::TimelineRecord& r) {
  JsonWriter w;
  w.begin_object().integer("term", r.term).text("node", r.node).text("nonce", r.nonce);
  if (r.parent != 0) w.unsigned_integer("parent", r.parent).text("begins", format_lsn(r.begins));
  w.end_object();
  return w.take();
}

Result<model::Promise> parse_promise(std::string_view text) {
  return parse_fields(text, [](Fields& f) {
    model::Promise p;
    p.state = static_cast<model::Promise::State>(f.word("state", kPromiseStates));
    p.term = f.integer("term");
    p.leader = f.text("leader");
    if (const js::object* object = f.object("position")) {
      Fields position(*object);
      p.position.term = position.integer("term");
      p.position.timeline = timeline(position, "tli");
      p.position.lsn = position.lsn("lsn").value_or(Lsn{});
      if (auto read = position.result(true); !read) f.wrong("position", read.error().text);
    }
    p.may_lead = f.boolean("may_lead");
    p.run_id = f.text("run_id");
    return p;
  });
}

std::string format_promise(const model::Promise& p) {
  JsonWriter w;
  w.begin_object().text("state", word(kPromiseStates, p.state)).integer("term", p.term).text("leader", p.leader);
  w.key("position").begin_object().integer("term", p.position.term).unsigned_integer("tli", p.position.timeline);
  w.text("lsn", format_lsn(p.position.lsn)).end_object();
  w.boolean("may_lead", p.may_lead).text("run_id", p.run_id).end_object();
  return w.take();
}

Result<model::Suspicion> parse_suspicion(std::string_view text) {
  return parse_fields(text, [](Fields& f) {
    model::Suspicion s;
    s.term = f.integer("term");
    s.leader = f.text("leader");
    s.evidence = f.text("evidence");
    return s;
  });
}

std::string format_suspicion(const model::Suspicion& s) {
  JsonWriter w;
  w.begin_object().integer("term", s.term).text("leader", s.leader).text("evidence", s.evidence).end_object();
  return w.take();
}

Result<model::Intent> parse_intent(std::string_view text) {
  return parse_fields(text, [](Fields& f) {
    model::Intent intent;
    intent.kind = static_cast<model::Intent::Kind>(f.word("kind", kIntentKinds));
    intent.until_unix_ms = f.integer("until_unix_ms");
    return intent;
  });
}

std::string format_intent(const model::Intent& intent) {
  JsonWriter w;
  w.begin_object()
      .text("kind", word(kIntentKinds, intent.kind))
      .integer("until_unix_ms", intent.until_unix_ms)
      .end_object();
  return w.take();
}

Result<model::Switchover> parse_switchover(std::string_view text) {
  return parse_fields(text, [](Fields& f) {
    model::Switchover s;
    s.state = static_cast<model::Switchover::State>(f.word("state", kSwitchoverStates));
    s.from = f.text("from");
    s.to = f.text("to");
    s.term = f.integer("term");
    s.handover = f.boolean("handover");
    s.refused = f.boolean("refused");
    s.hold_ms = f.integer("hold_ms");
    s.shutdown_lsn = f.lsn("shutdown_lsn");
    s.reason = f.text("reason");
    return s;
  });
}

std::string format_switchover(const model::Switchover& s) {
  JsonWriter w;
  w.begin_object().text("state", word(kSwitchoverStates, s.state)).text("from", s.from).text("to", s.to);
  w.integer("term", s.term);
  if (s.handover) w.boolean("handover", true);
  if (s.refused) w.boolean("refused", true);
  w.integer("hold_ms", s.hold_ms);
  if (s.shutdown_lsn) w.text("shutdown_lsn", format_lsn(*s.shutdown_lsn));
  if (!s.reason.empty()) w.text("reason", s.reason);
  w.end_object();
  return w.take();
}

Result<model::PoolerRecord> parse_pooler(std::string_view text) {
  return parse_fields(text, [](Fields& f) {
    model::PoolerRecord r;
    r.state = static_cast<model::PoolerRecord::State>(f.word("state", kPoolerStates));
    r.term = f.integer("term");
    r.held = f.integer("held");
    r.in_flight = f.integer("in_flight");
    return r;
  });
}

std::string format_pooler(const model::PoolerRecord& r) {
  JsonWriter w;
  w.begin_object().text("state", word(kPoolerStates, r.state)).integer("term", r.term);
  w.integer("held", r.held).integer("in_flight", r.in_flight).end_object();
  return w.take();
}

}  // namespace pgdba::wire
