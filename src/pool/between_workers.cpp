// One pool over several workers: idle servers go where clients wait.
#include <limits>

#include "pool/core.h"
#include "pool/server_login.h"

namespace pgdba::pool {

namespace {

// A client of another worker goes before ours when it has waited more than twice as long, and this much more: the queue is
// first come, first served over all workers but for that, or servers would wander with every transaction.
constexpr Moment kMuchLonger = 10'000;
constexpr Moment kOldestStep = 1000;  // how exactly the others know

}  // namespace

void Core::publish_change(Pool& pool) {
  PoolShare::Side& side = pool.share->sides[worker_];
  if (const bool idle = !pool.idle.empty() && may_lend(pool); idle != pool.shown_idle) {
    side.idle.store(idle ? 1 : 0);
    pool.shown_idle = idle;
  }
  const Client* first = !pool.waiting.empty() ? &pool.waiting.front() : !pool.newcomers.empty() ? &pool.newcomers.front() : nullptr;
  const Moment oldest = first == nullptr ? 0 : first->request_at;
  if (oldest == 0 ? pool.shown_oldest != 0 : (pool.shown_oldest == 0 || oldest - pool.shown_oldest > kOldestStep)) {
    side.oldest.store(oldest);
    pool.shown_oldest = oldest;
  }
  if (const bool waits = first != nullptr; waits != pool.shown_waiting) {
    side.waiting.store(waits ? 1 : 0);
    pool.share->sides_waiting.fetch_add(waits ? 1 : -1);
    pool.shown_waiting = waits;
  }
}

// The server at the head of the idle ones goes to another worker, if somebody there should have it rather than we.
bool Core::hand_over(Pool& pool) {
  if (pool.share == nullptr || pool.idle.empty()) return false;
  if (pool.share->sides_waiting.load() == (pool.shown_waiting ? 1 : 0)) return false;  // nobody there
  const Moment before = pool.waiting.empty() ? std::numeric_limits<Moment>::max() : pool.waiting.front().request_at - (now_ - pool.waiting.front().request_at) - kMuchLonger;
  const size_t other = pool.share->longest_waiting_beside(worker_, before);
  if (other == worker_ || !may_lend(pool)) return false;
  host_.give_to_worker(other, take_out(pool.idle.front()));
  publish(pool);
  return true;
}

// True: another worker has been asked, and will answer.
bool Core::ask_others(Pool& pool) {
  if (pool.share == nullptr) return false;
  if (pool.asked) return true;
  const size_t other = pool.share->idle_beside(worker_);
  if (other == worker_) return false;
  pool.asked = true;
  host_.ask_worker(pool, other);
  return true;
}

std::optional<Transfer> Core::give_away(std::string_view database, std::string_view user) {
  Pool* pool = find_pool(database, user);
  // Our own clients come first, and a paused pool keeps what it has.
  if (pool == nullptr || pool->idle.empty() || !pool->waiting.empty() || !may_lend(*pool)) return std::nullopt;
  Transfer transfer = take_out(pool->idle.front());
  publish(*pool);
  return transfer;
}

Transfer Core::take_out(Server& server) {
  Pool& pool = *server.pool;
  server.list.unlink();
  --pool.servers;
  Transfer transfer{&server, pool.database->name, pool.user, pool.welcome, server.parameters->values};
  server.parameters = nullptr;
  server.pool = nullptr;
  return transfer;
}

void Core::adopt(Transfer transfer, Pool& pool) {
  Server& server = *transfer.server;
  pool.asked = false;
  server.pool = &pool;
  server.parameters = parameters_.intern({std::move(transfer.parameters)});
  ++pool.servers;
  if (!pool.welcomed) {
    pool.welcome = std::move(transfer.welcome);
    // What a server says at login: by now its last client may have set something else.
    pool.defaults = parameters_.empty();
    for (const auto& [name, value] : pool.welcome) {
      if (auto index = parameters_.index_of(name)) pool.defaults = parameters_.with(pool.defaults, *index, value);
    }
    pool.welcomed = true;
    welcome_newcomers(pool);
  }
  if (server.term < route(pool.database->route).term) {
    close_server(server, "the primary has moved");
    return;
  }
  // An order that came while it was on its way.
  if (pool.paused || paused_ || server.connected_at <= pool.reconnected_at) {
    close_server(server, "an administrator wants new connections");
    return;
  }
  if (server.close_when_free) {
    close_server(server, server.close_reason);
    return;
  }
  now_free(server);
  if (!pool.waiting.empty()) open_servers(pool);
}

// The other worker that was asked has none any more.
void Core::refused(Pool& pool) {
  pool.asked = false;
  open_servers(pool, false);
}

}  // namespace pgdba::pool
