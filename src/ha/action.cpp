#include "ha/action.h"

#include <fmt/format.h>

namespace pgdba::ha {

namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;  // clang 16 needs it

std::string key_text(const model::Key& key) {
  static constexpr std::string_view names[] = {"initialize", "config", "leader", "sync",     "status",  "history", "failover", "members/", "term",
                                               "beat",       "released", "switchover", "timeline/", "promise/", "suspect/", "intent/", "pooler/"};
  return std::string(names[static_cast<size_t>(key.kind)]) + key.name;
}

std::string txn_text(const Txn& txn) {
  std::string out = "if";
  for (const Compare& c : txn.compares) {
    const char* what = c.what == Compare::What::mod ? "mod" : c.what == Compare::What::create ? "create" : "lease";
    out += fmt::format(" {}({})={}", what, key_text(c.key), c.value);
  }
  out += " put";
  for (const Write& w : txn.puts) out += " " + key_text(w.key);
  for (const model::Key& key : txn.deletes) out += " -" + key_text(key);
  return out;
}

std::string config_text(const model::PgConfig& c) {
  using U = model::PgConfig::Upstream;
  std::string upstream = c.upstream == U::frozen ? "frozen " + c.freeze_nonce : c.upstream == U::none ? "none" : c.upstream_member;
  return fmt::format("upstream={} ssn={}({}) gate={} term={}", upstream, c.sync_names.count, fmt::join(c.sync_names.names, ","),
                     c.gate_closed ? "closed" : "open", c.term);
}

}  // namespace

Lane lane_of(const Body& body) {
  return std::visit(
      Overloaded{
          [](const GrantLease&) { return Lane::lease; },
          [](const KeepAlive&) { return Lane::lease; },
          [](const ProveLock&) { return Lane::lease; },
          [](const Txn&) { return Lane::dcs; },
          [](const RevokeLease&) { return Lane::dcs; },
          [](const ReadCluster&) { return Lane::dcs; },
          [](const SetDeadline&) { return Lane::memory; },
          [](const CancelJob&) { return Lane::memory; },
          [](const Answer&) { return Lane::memory; },
          [](const Exit&) { return Lane::memory; },
          [](const ProbePeer&) { return Lane::probe; },
          [](const FetchHistory&) { return Lane::probe; },
          [](const Checkpoint&) { return Lane::probe; },  // takes as long as the disk wants: nothing waits behind it
          [](const auto&) { return Lane::local; },
      },
      body);
}

std::string_view name_of(const Body& body) {
  static constexpr std::string_view names[] = {
      "grant_lease", "keep_alive",   "prove_lock",      "txn",    "revoke_lease",    "read_cluster",   "write_freeze_record", "clear_freeze_record",
      "apply_config", "start_pg",    "stop_pg",         "promote", "checkpoint",     "measure_wal",    "init_db",             "create_users",
      "ensure_pooler_auth", "clone", "rewind",          "record_timeline", "skip_timelines", "mark_novote", "clear_novote",   "probe_sync",
      "write_wal",   "end_walsender", "sync_slots",     "set_deadline", "cancel_job", "answer",        "exit",                "probe_peer",
      "fetch_history"};
  static_assert(std::size(names) == std::variant_size_v<Body>);
  return names[body.index()];
}

std::string describe(const Action& action) {
  std::string arguments = std::visit(
      Overloaded{
          [](const Txn& a) { return txn_text(a); },
          [](const ApplyConfig& a) { return config_text(a.config); },
          [](const StartPg& a) { return std::string(a.as_primary ? "as primary" : "as standby"); },
          [](const StopPg& a) { return std::string(a.mode == StopPg::Mode::fast ? "fast" : "immediate"); },
          [](const Clone& a) { return "from " + a.from; },
          [](const Rewind& a) { return "from " + a.from; },
          [](const ProbePeer& a) { return a.name; },
          [](const FetchHistory& a) { return a.from; },
          [](const EndWalsender& a) { return fmt::format("pid {} {}", a.pid, a.why); },
          [](const RecordTimeline& a) { return fmt::format("{} {}", a.timeline, a.nonce); },
          [](const SyncSlots& a) { return fmt::format("{}", fmt::join(a.members, ",")); },
          [](const Answer& a) { return fmt::format("{} {}", a.request, a.text); },
          [](const auto&) { return std::string(); },
      },
      action.body);
  return fmt::format("{}{}{}: {}", name_of(action.body), arguments.empty() ? "" : " ", arguments, action.reason);
}

}  // namespace pgdba::ha
