#include "etcd_keys.h"

#include <fmt/format.h>

#include "base/text.h"

namespace pgdba::sim {

namespace {

using model::Key;
using model::Keyed;
using model::KeyKind;

template <class T>
struct OptionalSlot {
  std::optional<Keyed<T>>& slot;
  using Type = T;
  [[nodiscard]] Keyed<T>* get() const { return slot ? &*slot : nullptr; }
  Keyed<T>& make() { return slot ? *slot : slot.emplace(); }
  void erase() { slot.reset(); }
};

template <class K, class T>
struct MapSlot {
  std::map<K, Keyed<T>>& map;
  K key;
  using Type = T;
  [[nodiscard]] Keyed<T>* get() const {
    auto found = map.find(key);
    return found == map.end() ? nullptr : &found->second;
  }
  Keyed<T>& make() { return map[key]; }
  void erase() { map.erase(key); }
};

template <class F>
auto with_slot(model::ClusterView& v, const Key& key, F f) {
  switch (key.kind) {
    case KeyKind::initialize: return f(OptionalSlot<std::string>{v.initialize});
    case KeyKind::config: return f(OptionalSlot<model::DynamicConfig>{v.config});
    case KeyKind::leader: return f(OptionalSlot<std::string>{v.leader});
    case KeyKind::sync: return f(OptionalSlot<model::SyncState>{v.sync});
    case KeyKind::status: return f(OptionalSlot<model::Status>{v.status});
    case KeyKind::history: return f(OptionalSlot<std::vector<model::HistoryLine>>{v.history});
    case KeyKind::failover: return f(OptionalSlot<model::FailoverRequest>{v.failover});
    case KeyKind::member: return f(MapSlot<std::string, model::Member>{v.members, key.name});
    case KeyKind::term: return f(OptionalSlot<model::TermRecord>{v.term});
    case KeyKind::beat: return f(OptionalSlot<model::Beat>{v.beat});
    case KeyKind::released: return f(OptionalSlot<model::Released>{v.released});
    case KeyKind::switchover: return f(OptionalSlot<model::Switchover>{v.switchover});
    case KeyKind::timeline:
      return f(MapSlot<uint32_t, model::TimelineRecord>{v.timelines, static_cast<uint32_t>(parse_int(key.name).value_or(0))});
    case KeyKind::promise: return f(MapSlot<std::string, model::Promise>{v.promises, key.name});
    case KeyKind::suspect: return f(MapSlot<std::string, model::Suspicion>{v.suspects, key.name});
    case KeyKind::intent: return f(MapSlot<std::string, model::Intent>{v.intents, key.name});
    case KeyKind::pooler: break;
  }
  return f(MapSlot<std::string, model::PoolerRecord>{v.poolers, key.name});
}

// The value of a slot's type, or its default when the alternative does not fit (the caller's bug; shown by `fits`).
template <class T>
const T* pick(const ha::Value& value) {
  if constexpr (std::is_same_v<T, model::DynamicConfig> || std::is_same_v<T, model::PoolerRecord>) {
    return nullptr;
  } else {
    return std::get_if<T>(&value);
  }
}

template <class T>
Change store(const Key& key, Keyed<T> keyed, model::Revision revision) {
  return [key, keyed = std::move(keyed), revision](model::ClusterView& view) {
    with_slot(view, key, [&](auto slot) {
      if constexpr (std::is_same_v<typename decltype(slot)::Type, T>) slot.make() = keyed;
    });
    view.revision = revision;
  };
}

}  // namespace

KeyMeta meta_of(const model::ClusterView& view, const Key& key) {
  return with_slot(const_cast<model::ClusterView&>(view), key, [](auto slot) {
    KeyMeta meta;
    if (auto* found = slot.get()) meta = {found->mod, found->create, found->lease};
    return meta;
  });
}

Change make_put(const model::ClusterView& before, const Key& key, const ha::Value& value, model::LeaseId lease,
                model::Revision revision) {
  KeyMeta meta = meta_of(before, key);
  return with_slot(const_cast<model::ClusterView&>(before), key, [&](auto slot) -> Change {
    using T = typename decltype(slot)::Type;
    const T* fits = pick<T>(value);
    if (fits == nullptr) return [revision](model::ClusterView& view) { view.revision = revision; };
    return store<T>(key, Keyed<T>{*fits, revision, meta.create != 0 ? meta.create : revision, lease}, revision);
  });
}

Change make_config(const model::ClusterView& before, const model::DynamicConfig& config, model::Revision revision) {
  Key key{KeyKind::config, {}};
  KeyMeta meta = meta_of(before, key);
  return store<model::DynamicConfig>(key, {config, revision, meta.create != 0 ? meta.create : revision, 0}, revision);
}

Change make_pooler(const model::ClusterView& before, const std::string& id, const model::PoolerRecord& record, model::Revision revision,
                   model::LeaseId lease) {
  Key key{KeyKind::pooler, id};
  KeyMeta meta = meta_of(before, key);
  return store<model::PoolerRecord>(key, {record, revision, meta.create != 0 ? meta.create : revision, lease}, revision);
}

Change make_delete(const Key& key, model::Revision revision) {
  return [key, revision](model::ClusterView& view) {
    with_slot(view, key, [](auto slot) { slot.erase(); });
    view.revision = revision;
  };
}

std::vector<Key> keys_of_lease(const model::ClusterView& view, model::LeaseId lease) {
  std::vector<Key> keys;
  auto one = [&](KeyKind kind, const auto& slot) {
    if (slot && slot->lease == lease) keys.push_back({kind, {}});
  };
  auto many = [&](KeyKind kind, const auto& map) {
    for (const auto& [name, keyed] : map) {
      if (keyed.lease == lease) keys.push_back({kind, fmt::format("{}", name)});
    }
  };
  one(KeyKind::leader, view.leader);
  one(KeyKind::initialize, view.initialize);
  one(KeyKind::switchover, view.switchover);
  many(KeyKind::member, view.members);
  many(KeyKind::suspect, view.suspects);
  many(KeyKind::intent, view.intents);
  many(KeyKind::pooler, view.poolers);
  return keys;
}

std::string describe(const Key& key) {
  static constexpr std::string_view names[] = {"initialize", "config",  "leader",   "sync",       "status",
                                               "history",    "failover", "members",  "term",       "beat",
                                               "released",   "switchover", "timeline", "promise", "suspect",
                                               "intent",     "pooler"};
  std::string text(names[static_cast<size_t>(key.kind)]);
  if (!key.name.empty()) text += "/" + key.name;
  return text;
}

std::string describe(const model::SyncState& sync) {
  std::vector<std::string> names(sync.standbys.begin(), sync.standbys.end());
  return fmt::format("{{leader {}, quorum {}, {{{}}}}}", sync.leader, sync.quorum, join(names, " "));
}

std::string describe(const ha::Value& value) {
  struct Show {
    std::string operator()(const std::string& text) const { return text; }
    std::string operator()(const model::SyncState& sync) const { return describe(sync); }
    std::string operator()(const model::Status& status) const { return fmt::format("optime {}", format_lsn(status.optime)); }
    std::string operator()(const model::Member& m) const {
      return fmt::format("{{{} {}, term {}{}{}{}}}", to_string(m.role), to_string(m.state), m.term,
                         m.xlog_location ? " at " + format_lsn(*m.xlog_location) : "", m.leaving_sync ? ", leaving sync" : "",
                         m.ready_term != 0 ? fmt::format(", ready {}", m.ready_term) : "");
    }
    std::string operator()(const std::vector<model::HistoryLine>& lines) const { return fmt::format("{} lines", lines.size()); }
    std::string operator()(const model::FailoverRequest& f) const { return fmt::format("{{{} -> {}}}", f.leader, f.candidate); }
    std::string operator()(const model::TermRecord& t) const {
      return fmt::format("{{term {}, {}, from {}, {}, timeline {}}}", t.term, t.leader, t.from, t.cause, t.timeline);
    }
    std::string operator()(const model::Released& r) const { return fmt::format("{{term {}, {}}}", r.term, r.leader); }
    std::string operator()(const model::TimelineRecord& t) const { return fmt::format("{{term {}, {}, {}}}", t.term, t.node, t.nonce); }
    std::string operator()(const model::Promise& p) const {
      if (p.state == model::Promise::State::withdrawn) return "withdrawn";
      if (p.state == model::Promise::State::consumed) return "consumed";
      return fmt::format("active {{against {} of term {}, position {} of term {}}}", p.leader, p.term, format_lsn(p.position.lsn),
                         p.position.term);
    }
    std::string operator()(const model::Suspicion& s) const { return fmt::format("{{{} of term {}: {}}}", s.leader, s.term, s.evidence); }
    std::string operator()(const model::Intent& i) const { return i.kind == model::Intent::Kind::stop ? "stop" : "restart"; }
    std::string operator()(const model::Switchover& s) const {
      static constexpr std::string_view states[] = {"draining", "stopped", "done", "aborted"};
      return fmt::format("{{{}, {} -> {}, term {}{}}}", states[static_cast<size_t>(s.state)], s.from, s.to, s.term,
                         s.handover ? ", hand-over" : "");
    }
    std::string operator()(const model::Beat& b) const { return fmt::format("{{term {}, {}}}", b.term, b.count); }
  };
  return std::visit(Show{}, value);
}

}  // namespace pgdba::sim
