#include "wire/cluster_view.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "wire/cluster_json.h"
#include "wire/config_json.h"
#include "wire/keys.h"

namespace pgdba::wire {

namespace {

using model::ClusterView;
using model::Keyed;

template <class T>
Keyed<T> keyed(T value, const KeyValue& kv) {
  return {std::move(value), kv.mod, kv.create, kv.lease};
}

// The Keyed behind an optional field or a map's slot is replaced when the value can be read. False when it cannot.
template <class T>
bool put(std::optional<Keyed<T>>& field, const KeyValue& kv, Result<T> value) {
  if (value) field = keyed(std::move(*value), kv);
  return value.has_value();
}

template <class Key, class T>
bool put(std::map<Key, Keyed<T>>& map, Key name, const KeyValue& kv, Result<T> value) {
  if (value) map.insert_or_assign(std::move(name), keyed(std::move(*value), kv));
  return value.has_value();
}

Result<std::string> short_text(const KeyValue& kv) {
  if (kv.value.size() > 4096) return fail(Errc::invalid, "too long");
  return kv.value;
}

bool put_config(ClusterView& view, const KeyValue& kv) {
  auto reading = parse_dynamic_config(kv.value, view.config ? view.config->value : model::DynamicConfig{});
  if (!reading) return false;
  view.config = keyed(std::move(reading->config), kv);
  view.config_json = kv.value;
  return true;
}

// classify_key() has made sure that it is one.
uint32_t timeline_number(std::string_view name) {
  return static_cast<uint32_t>(std::stoul(std::string(name)));
}

bool put_value(ClusterView& view, const KeyName& key, const KeyValue& kv) {
  std::string name(key.name);
  switch (key.kind) {
    case KeyKind::initialize: return put(view.initialize, kv, short_text(kv));
    case KeyKind::leader: return put(view.leader, kv, short_text(kv));
    case KeyKind::config: return put_config(view, kv);
    case KeyKind::sync: return put(view.sync, kv, parse_sync(kv.value));
    case KeyKind::status: return put(view.status, kv, parse_status(kv.value));
    case KeyKind::history: return put(view.history, kv, parse_history(kv.value));
    case KeyKind::failover: return put(view.failover, kv, parse_failover(kv.value));
    case KeyKind::failsafe: return put(view.failsafe, kv, parse_failsafe(kv.value));
    case KeyKind::member: return put(view.members, name, kv, parse_member(kv.value));
    case KeyKind::term: return put(view.term, kv, parse_term(kv.value));
    case KeyKind::beat: return put(view.beat, kv, parse_beat(kv.value));
    case KeyKind::released: return put(view.released, kv, parse_released(kv.value));
    case KeyKind::switchover: return put(view.switchover, kv, parse_switchover(kv.value));
    case KeyKind::promise: return put(view.promises, name, kv, parse_promise(kv.value));
    case KeyKind::suspect: return put(view.suspects, name, kv, parse_suspicion(kv.value));
    case KeyKind::intent: return put(view.intents, name, kv, parse_intent(kv.value));
    case KeyKind::pooler: return put(view.poolers, name, kv, parse_pooler(kv.value));
    case KeyKind::timeline: return put(view.timelines, timeline_number(key.name), kv, parse_timeline(kv.value));
    case KeyKind::optime_leader:
    case KeyKind::unknown: return true;
  }
  return true;
}

void remove_value(ClusterView& view, const KeyName& key) {
  std::string name(key.name);
  switch (key.kind) {
    case KeyKind::initialize: view.initialize.reset(); break;
    case KeyKind::leader: view.leader.reset(); break;
    case KeyKind::config:
      view.config.reset();
      view.config_json.clear();
      break;
    case KeyKind::sync: view.sync.reset(); break;
    case KeyKind::status: view.status.reset(); break;
    case KeyKind::history: view.history.reset(); break;
    case KeyKind::failover: view.failover.reset(); break;
    case KeyKind::failsafe: view.failsafe.reset(); break;
    case KeyKind::member: view.members.erase(name); break;
    case KeyKind::term: view.term.reset(); break;
    case KeyKind::beat: view.beat.reset(); break;
    case KeyKind::released: view.released.reset(); break;
    case KeyKind::switchover: view.switchover.reset(); break;
    case KeyKind::promise: view.promises.erase(name); break;
    case KeyKind::suspect: view.suspects.erase(name); break;
    case KeyKind::intent: view.intents.erase(name); break;
    case KeyKind::pooler: view.poolers.erase(name); break;
    case KeyKind::timeline: view.timelines.erase(timeline_number(key.name)); break;
    case KeyKind::optime_leader:
    case KeyKind::unknown: break;
  }
}

bool known(KeyKind kind) {
  return kind != KeyKind::unknown && kind != KeyKind::optime_leader;
}

void store(ClusterView& view, std::string_view relative, const KeyName& key, const KeyValue& kv) {
  if (put_value(view, key, kv)) {
    view.unreadable.erase(std::string(relative));
  } else {
    view.unreadable[std::string(relative)] = kv.mod;
  }
}

}  // namespace

ClusterView build_cluster_view(std::string_view prefix, const std::vector<KeyValue>& kvs, const ReadHeader& header) {
  ClusterView view;
  view.revision = header.revision;
  view.cluster_id = header.cluster_id;
  view.raft_term = header.raft_term;
  view.as_of = header.as_of;
  for (const KeyValue& kv : kvs) {
    if (!kv.key.starts_with(prefix)) continue;
    std::string_view relative = std::string_view(kv.key).substr(prefix.size());
    KeyName key = classify_key(relative);
    if (known(key.kind)) store(view, relative, key, kv);
  }
  return view;
}

bool apply_event(ClusterView& view, std::string_view prefix, const KeyEvent& event) {
  if (event.kv.mod < view.revision || !event.kv.key.starts_with(prefix)) return false;
  view.revision = event.kv.mod;
  std::string_view relative = std::string_view(event.kv.key).substr(prefix.size());
  KeyName key = classify_key(relative);
  if (!known(key.kind)) return false;
  if (event.kind == KeyEvent::Kind::put) {
    store(view, relative, key, event.kv);
  } else {
    remove_value(view, key);
    view.unreadable.erase(std::string(relative));
  }
  return true;
}

}  // namespace pgdba::wire
