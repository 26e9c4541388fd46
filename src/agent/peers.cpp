#include "agent/peers.h"

#include "net/http.h"
#include "net/port.h"

namespace pgdba::agent {

namespace {

ha::Peer::Port port_word(net::Probe probe) {
  switch (probe) {
    case net::Probe::accepted: return ha::Peer::Port::accepted;
    case net::Probe::refused: return ha::Peer::Port::refused;
    case net::Probe::unreachable: return ha::Peer::Port::unreachable;
    case net::Probe::timeout: break;
  }
  return ha::Peer::Port::timeout;
}

}  // namespace

void note_status(const wire::NodeStatus& status, ha::Peer& peer) {
  peer.api_answered = true;
  peer.running = status.state == model::PgState::running;
  peer.is_primary = (status.primary && status.role == model::Role::primary) || (status.pgdba && status.pgdba->lock_ms.value_or(0) > 0);
  peer.timeline = status.timeline.value_or(0);
  peer.may_lead = status.tags.may_lead();
  peer.no_data = status.pgdba && status.pgdba->no_data && !status.pgdba->position;
  if (status.pgdba) {
    // Our own agents say outright whether they have a position (W4, R1).
    if (status.pgdba->position) {
      peer.position = status.pgdba->position->lsn;
      peer.timeline = status.pgdba->position->timeline;
    }
  } else {
    peer.position = status.wal_position();
  }
}

Peers::Peers(net::Loop& loop, const conf::AgentSettings& settings, std::shared_ptr<net::TlsContext> tls) : loop_(loop), client_(loop, std::move(tls)) {
  const bool own = !settings.ctl.username.empty();
  const std::string& user = own ? settings.ctl.username : settings.restapi.username;
  if (!user.empty()) authorization_ = net::basic_auth(user, own ? settings.ctl.password : settings.restapi.password);
}

Task<Result<net::Response>> Peers::get(std::string api_url, std::string path, BootTime deadline) {
  auto url = net::parse_url(api_url);
  if (!url) co_return tl::unexpected(std::move(url.error()));
  url->target = std::move(path);
  net::Request request;
  if (!authorization_.empty()) request.headers.emplace_back("Authorization", authorization_);
  co_return co_await client_.request(std::move(*url), std::move(request), deadline);
}

Task<Result<wire::NodeStatus>> Peers::status(std::string api_url, BootTime deadline) {
  auto response = co_await get(std::move(api_url), "/patroni", deadline);
  if (!response) co_return tl::unexpected(std::move(response.error()));
  co_return wire::parse_status_answer(response->body);
}

Task<bool> Peers::alive(std::string api_url, BootTime deadline) {
  auto response = co_await get(std::move(api_url), "/liveness", deadline);
  co_return response.has_value();
}

Task<ha::Peer> Peers::probe(std::string conn_url, std::string api_url, BootTime deadline) {
  ha::Peer peer;
  peer.asked_at = loop_.now();
  auto pg = wire::parse_conn_url(conn_url);
  auto api = net::parse_url(api_url);
  auto ask_pg = [](net::Loop& loop, std::optional<wire::HostPort> at, BootTime until, ha::Peer& into) -> Task<void> {
    if (at) into.pg_port = port_word(co_await net::probe_tcp(loop, at->host, at->port, until));
  };
  auto ask_api_port = [](net::Loop& loop, Result<net::Url> at, BootTime until, ha::Peer& into) -> Task<void> {
    if (at) into.api_port = port_word(co_await net::probe_tcp(loop, at->host, at->port, until));
  };
  auto ask_status = [](Peers& self, std::string url, BootTime until, ha::Peer& into) -> Task<void> {
    auto status = co_await self.status(std::move(url), until);
    if (status) note_status(*status, into);
  };
  std::vector<Task<void>> questions;
  questions.push_back(ask_pg(loop_, pg, deadline, peer));
  questions.push_back(ask_api_port(loop_, api, deadline, peer));
  questions.push_back(ask_status(*this, std::move(api_url), deadline, peer));
  co_await loop_.all(std::move(questions));
  peer.answered_at = loop_.now();
  co_return peer;
}

}  // namespace pgdba::agent
