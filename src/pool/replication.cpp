// Replication connections: each client has a server of its own, which is made with the client's own startup parameters,
// is never lent to anybody else, and ends with the client. It counts in all limits, and an idle server makes room for
// it.
#include "pool/client_login.h"
#include "pool/core.h"
#include "pool/server_login.h"
#include "wire/pg_build.h"

namespace pgdba::pool {

void Core::admit_replication(Client& client, Pool& pool) {
  client.pool = &pool;
  client.request_at = now_;
  ++pool.clients;
  ++pool.stats.logins;
  if (fails_fast(pool)) return fail_fast(client);
  client.state = ClientState::welcome;  // its login stays: the server's startup packet is made of it
  want_input(client, false);
  pool.replicas.push_back(client);
  open_replication(pool);
}

void Core::open_replication(Pool& pool) {
  while (!pool.replicas.empty() && may_lend(pool) && !too_early(pool)) {
    Client& client = pool.replicas.front();
    pool.replicas.pop_front();  // to make room may lead here again
    if (launch(pool, pool_size(pool), Evict::ours_too, &client) == Ledger::Verdict::taken) continue;
    pool.replicas.push_front(client);
    return;
  }
}

// The server is ready: what it has said is for this client alone.
void Core::replication_accepted(Server& server) {
  Client& client = *server.client;
  Pool& pool = *server.pool;
  client.parameters = server.parameters;
  client.welcome_version = pool.welcome_version;
  std::string bytes;
  for (const auto& [name, value] : server.login->welcome) wire::append_parameter_status(bytes, name, value);
  server.login.reset();
  client.login.reset();
  client.state = ClientState::active;
  move(server, ServerState::active, pool.lent);
  ++pool.stats.assignments;
  pool.stats.wait_us += static_cast<uint64_t>(now_ - client.request_at);
  host_.log(LogLevel::info, &server, "new replication connection to server " + server.address);
  say_welcome(client, std::move(bytes));
}

}  // namespace pgdba::pool
