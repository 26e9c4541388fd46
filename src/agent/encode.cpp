#include "agent/encode.h"

#include <fmt/format.h>

#include "base/text.h"
#include "wire/cluster_json.h"
#include "wire/keys.h"

namespace pgdba::agent {

namespace {

using model::KeyKind;

// The text of a value if it is of the type that keys of this kind hold.
struct Format {
  KeyKind kind;

  template <class T>
  Result<std::string> checked(KeyKind wanted, const T& value, std::string (*format)(const T&)) const {
    if (kind != wanted) return fail(Errc::bug, "a value of another kind of key");
    return format(value);
  }
  Result<std::string> operator()(const std::string& text) const {
    if (kind != KeyKind::leader && kind != KeyKind::initialize) return fail(Errc::bug, "plain text for a key that holds JSON");
    return text;
  }
  Result<std::string> operator()(const model::SyncState& v) const { return checked(KeyKind::sync, v, wire::format_sync); }
  Result<std::string> operator()(const model::Status& v) const { return checked(KeyKind::status, v, wire::format_status); }
  Result<std::string> operator()(const model::Member& v) const { return checked(KeyKind::member, v, wire::format_member); }
  Result<std::string> operator()(const std::vector<model::HistoryLine>& v) const { return checked(KeyKind::history, v, wire::format_history); }
  Result<std::string> operator()(const model::FailoverRequest& v) const { return checked(KeyKind::failover, v, wire::format_failover); }
  Result<std::string> operator()(const model::TermRecord& v) const { return checked(KeyKind::term, v, wire::format_term); }
  Result<std::string> operator()(const model::Released& v) const { return checked(KeyKind::released, v, wire::format_released); }
  Result<std::string> operator()(const model::TimelineRecord& v) const { return checked(KeyKind::timeline, v, wire::format_timeline); }
  Result<std::string> operator()(const model::Promise& v) const { return checked(KeyKind::promise, v, wire::format_promise); }
  Result<std::string> operator()(const model::Suspicion& v) const { return checked(KeyKind::suspect, v, wire::format_suspicion); }
  Result<std::string> operator()(const model::Intent& v) const { return checked(KeyKind::intent, v, wire::format_intent); }
  Result<std::string> operator()(const model::Switchover& v) const { return checked(KeyKind::switchover, v, wire::format_switchover); }
  Result<std::string> operator()(const model::Beat& v) const { return checked(KeyKind::beat, v, wire::format_beat); }
};

dcs::Compare::Target target_of(ha::Compare::What what) {
  switch (what) {
    case ha::Compare::What::create: return dcs::Compare::Target::create;
    case ha::Compare::What::lease: return dcs::Compare::Target::lease;
    case ha::Compare::What::mod: break;
  }
  return dcs::Compare::Target::mod;
}

std::string path(std::string_view prefix, const model::Key& key) { return std::string(prefix) + relative_key(key); }

}  // namespace

std::string relative_key(const model::Key& key) {
  namespace keys = wire::keys;
  switch (key.kind) {
    case KeyKind::initialize: return std::string(keys::initialize);
    case KeyKind::config: return std::string(keys::config);
    case KeyKind::leader: return std::string(keys::leader);
    case KeyKind::sync: return std::string(keys::sync);
    case KeyKind::status: return std::string(keys::status);
    case KeyKind::history: return std::string(keys::history);
    case KeyKind::failover: return std::string(keys::failover);
    case KeyKind::member: return keys::member(key.name);
    case KeyKind::term: return std::string(keys::term);
    case KeyKind::beat: return std::string(keys::beat);
    case KeyKind::released: return std::string(keys::released);
    case KeyKind::switchover: return std::string(keys::switchover);
    case KeyKind::timeline: return keys::timeline(static_cast<uint32_t>(parse_int(key.name).value_or(0)));
    case KeyKind::promise: return keys::promise(key.name);
    case KeyKind::suspect: return keys::suspect(key.name);
    case KeyKind::intent: return keys::intent(key.name);
    case KeyKind::pooler: return keys::pooler(key.name);
  }
  return {};
}

Result<dcs::Txn> encode(const ha::Txn& txn, std::string_view prefix, std::string_view bootstrap_config) {
  dcs::Txn out;
  for (const ha::Compare& compare : txn.compares) {
    out.compares.push_back({path(prefix, compare.key), target_of(compare.what), dcs::Compare::Relation::equal, compare.value, {}});
  }
  for (const ha::Write& write : txn.puts) {
    Result<std::string> text;
    if (const auto* value = std::get_if<ha::Value>(&write.value)) {
      text = std::visit(Format{write.key.kind}, *value);
    } else if (write.key.kind == KeyKind::config) {
      text = std::string(bootstrap_config);
    } else {
      text = fail(Errc::bug, "the bootstrap configuration for another key than config");
    }
    if (!text) return tl::unexpected(std::move(text.error()).context("while writing " + relative_key(write.key)));
    out.then_ops.push_back(dcs::Op::put(path(prefix, write.key), std::move(*text), write.lease));
  }
  for (const model::Key& key : txn.deletes) out.then_ops.push_back(dcs::Op::remove(path(prefix, key)));
  if (out.then_ops.empty()) return fail(Errc::bug, "a transaction that writes nothing proves nothing");
  return out;
}

dcs::Txn encode(const ha::ProveLock& proof, std::string_view prefix) {
  const std::string leader = std::string(prefix) + std::string(wire::keys::leader);
  dcs::Txn out;
  out.compares.push_back(dcs::Compare::mod_is(leader, proof.leader_mod));
  out.compares.push_back(dcs::Compare::lease_is(leader, proof.lease));
  out.then_ops.push_back(dcs::Op::put(std::string(prefix) + std::string(wire::keys::beat), wire::format_beat(proof.beat)));
  return out;
}

}  // namespace pgdba::agent
