// Asks other members: what their agent says over REST, and whether their two ports answer at all.
//
// A closed port says more than a silent one: `refused` comes from a living host without the process, a timeout says
// nothing. So both ports are tried beside the REST call, and each answer stands for itself.
#pragma once

#include <memory>
#include <string>

#include "conf/agent_settings.h"
#include "ha/view.h"
#include "net/http_client.h"
#include "net/loop.h"
#include "wire/patroni_rest.h"

namespace pgdba::agent {

class Peers {
 public:
  Peers(net::Loop& loop, const conf::AgentSettings& settings, std::shared_ptr<net::TlsContext> tls);

  // Never fails: what could not be learnt stays at its default.
  Task<ha::Peer> probe(std::string conn_url, std::string api_url, BootTime deadline);
  // GET /patroni.
  Task<Result<wire::NodeStatus>> status(std::string api_url, BootTime deadline);
  // True when anything at all answers HTTP at that member's /liveness.
  Task<bool> alive(std::string api_url, BootTime deadline);

 private:
  Task<Result<net::Response>> get(std::string api_url, std::string path, BootTime deadline);

  net::Loop& loop_;
  net::HttpClient client_;
  std::string authorization_;  // empty: none
};

// What a status answer means to an election.
void note_status(const wire::NodeStatus& status, ha::Peer& peer);

}  // namespace pgdba::agent
