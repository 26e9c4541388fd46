#include "agent/hands.h"

#include <fmt/format.h>

#include <algorithm>

#include "agent/encode.h"
#include "net/log.h"

namespace pgdba::agent {

namespace {

using Outcome = ha::Completion::Outcome;

ha::Completion broken(const Error& error, bool may_have_landed) {
  ha::Completion completion;
  completion.outcome = may_have_landed && error.code == Errc::timeout ? Outcome::unknown : Outcome::failed;
  completion.text = error.text;
  return completion;
}

}  // namespace

void AgentHands::start(const ha::Action& action, Finished finished) {
  it_.loop.spawn(run(action, std::move(finished)), std::string(name_of(action.body)));
}

Task<void> AgentHands::run(ha::Action action, Finished finished) {
  auto result = std::make_shared<std::optional<ha::Completion>>();
  const ha::ActionId id = action.id;
  const BootTime begun = it_.loop.now();
  net::Job job = it_.loop.start(perform(std::move(action), result), "action");
  running_[id] = &job;
  if (cancelled_.erase(id) != 0) job.cancel();
  co_await job.join();
  running_.erase(id);
  ha::Completion completion;
  if (*result) {
    completion = std::move(**result);
  } else {
    completion.outcome = Outcome::failed;
    completion.text = "broken off";
    completion.sent_at = begun;
    completion.answered_at = it_.loop.now();
    it_.local.observe_now();
  }
  finished(std::move(completion));
}

void AgentHands::cancel(ha::ActionId id) {
  if (auto found = running_.find(id); found != running_.end()) {
    found->second->cancel();
  } else {
    cancelled_.insert(id);  // its task has not begun yet
  }
}

void AgentHands::at_once(const ha::Action& action) {
  if (const auto* set = std::get_if<ha::SetDeadline>(&action.body)) {
    it_.local.set_deadline(*set);
  } else if (const auto* answer = std::get_if<ha::Answer>(&action.body)) {
    on_answer(*answer);
  } else if (const auto* exit = std::get_if<ha::Exit>(&action.body)) {
    on_exit(exit->code);
  }
}

Task<void> AgentHands::perform(ha::Action action, std::shared_ptr<std::optional<ha::Completion>> result) {
  const BootTime sent = it_.loop.now();
  ha::Completion completion;
  switch (lane_of(action.body)) {
    case ha::Lane::lease:
    case ha::Lane::dcs:
      completion = co_await lease_or_dcs(std::move(action.body));
      break;
    case ha::Lane::local:
      if (action.id >= kOwnActions) {
        completion = co_await it_.local.render_again();
      } else {
        completion = co_await it_.local.carry_out(std::move(action.body));
      }
      break;
    case ha::Lane::probe:
      completion = co_await probe(std::move(action.body));
      break;
    case ha::Lane::memory:
      break;
  }
  if (completion.sent_at == BootTime{}) completion.sent_at = sent;
  if (completion.answered_at == BootTime{}) completion.answered_at = it_.loop.now();
  *result = std::move(completion);
}

Task<ha::Completion> AgentHands::write(dcs::Txn txn, BootTime deadline) {
  const BootTime sent = it_.loop.now();
  auto answer = co_await it_.store.txn(std::move(txn), deadline);
  if (!answer) co_return broken(answer.error(), true);
  ha::Completion completion;
  completion.sent_at = sent;
  completion.answered_at = it_.loop.now();
  completion.succeeded = answer->succeeded;
  completion.revision = answer->header.revision;
  completion.era = {answer->header.cluster_id, answer->header.raft_term};
  it_.watch.wrote(sent, answer->header.revision);
  co_return completion;
}

Task<ha::Completion> AgentHands::lease_or_dcs(ha::Body body) {
  const BootTime now = it_.loop.now();
  // A renewal that hangs must leave time for another one; a write that hangs is cleared up by the core.
  const BootTime renewal_deadline = now + std::clamp<Duration>(ttl_ / 4, 500ms, 5s);
  const BootTime deadline = now + std::clamp<Duration>(ttl_ / 3, 1s, 10s);
  ha::Completion completion;
  if (const auto* a = std::get_if<ha::GrantLease>(&body)) {
    auto granted = co_await it_.store.lease_grant(std::chrono::ceil<std::chrono::seconds>(a->ttl), deadline);
    if (!granted) co_return broken(granted.error(), false);
    completion.sent_at = now;
    completion.lease = granted->id;
    completion.ttl = granted->ttl;
    completion.era = {granted->header.cluster_id, granted->header.raft_term};
  } else if (const auto* keep = std::get_if<ha::KeepAlive>(&body)) {
    auto kept = co_await it_.store.lease_keepalive(keep->lease, renewal_deadline);
    if (!kept) co_return broken(kept.error(), false);
    completion.sent_at = kept->sent_at;
    completion.ttl = kept->ttl;
    completion.era = {kept->header.cluster_id, kept->header.raft_term};
  } else if (const auto* prove = std::get_if<ha::ProveLock>(&body)) {
    co_return co_await write(encode(*prove, it_.prefix), renewal_deadline);
  } else if (const auto* txn = std::get_if<ha::Txn>(&body)) {
    auto encoded = encode(*txn, it_.prefix, it_.dynamic.json());
    if (!encoded) co_return broken(encoded.error(), false);
    co_return co_await write(std::move(*encoded), deadline);
  } else if (const auto* revoke = std::get_if<ha::RevokeLease>(&body)) {
    auto revoked = co_await it_.store.lease_revoke(revoke->lease, deadline);
    if (!revoked && revoked.error().code != Errc::not_found) co_return broken(revoked.error(), true);
  } else {
    auto read = co_await it_.watch.read(deadline);
    if (!read) co_return broken(read.error(), false);
  }
  co_return completion;
}

Task<ha::Completion> AgentHands::probe(ha::Body body) {
  ha::Completion completion;
  if (const auto* ask = std::get_if<ha::ProbePeer>(&body)) {
    // Patroni's 2 s; shorter when the lease is.
    const BootTime deadline = it_.loop.now() + std::clamp<Duration>(ttl_ / 3, 500ms, 2s);
    const std::string name = ask->name;
    peers[name] = co_await it_.peers.probe(ask->conn_url, ask->api_url, deadline);
  } else if (const auto* fetch = std::get_if<ha::FetchHistory>(&body)) {
    auto history = co_await it_.local.fetch_history(fetch->from, fetch->conn_url, it_.loop.after(2s));
    if (!history) co_return broken(history.error(), false);
    upstream = std::move(*history);
  } else if (std::holds_alternative<ha::Checkpoint>(body)) {
    if (auto done = co_await it_.local.checkpoint(); !done) co_return broken(done.error(), false);
  } else {
    co_return broken(Error{Errc::bug, "no action of the probe lane"}, false);
  }
  co_return completion;
}

}  // namespace pgdba::agent
