// Idle servers on their way from one worker to another.
#include <algorithm>
#include <sys/epoll.h>

#include "pooler/directory.h"
#include "pooler/limits.h"
#include "pooler/worker.h"

namespace pgdba::pooler {

void Worker::ask_worker(pool::Pool& pool, size_t worker) {
  // Pools live as long as their worker. The names are copied: the other worker reads them while we go on.
  colleagues_[worker]->post([this, other = colleagues_[worker].get(), &pool, database = pool.database->name, user = pool.user] {
    if (auto transfer = other->core_.give_away(database, user)) {
      other->give_to_worker(number_, std::move(*transfer));
    } else {
      post([this, &pool] { core_.refused(pool); });
    }
  });
}

void Worker::give_to_worker(size_t worker, pool::Transfer transfer) {
  Socket* socket = socket_of(*transfer.server);
  socket->leaving = true;
  departures_.push_back({colleagues_[worker].get(), socket, std::move(transfer)});
}

void Worker::depart() {
  for (Departure& each : departures_) {
    Socket* socket = each.socket;
    ::epoll_ctl(epoll_, EPOLL_CTL_DEL, socket->fd, nullptr);
    sockets_.erase(socket);
    if (socket->queued) std::erase(again_, socket);
    socket->queued = false;
    each.to->post([to = each.to, socket, transfer = std::move(each.transfer)]() mutable { to->take_over(std::move(transfer), socket); });
  }
  departures_.clear();
}

void Worker::take_over(pool::Transfer transfer, Socket* socket) {
  pool::Pool* pool = directory_.pool_of(transfer.database, transfer.user);
  socket->leaving = false;
  if (pool == nullptr) {  // its database has left the file meanwhile
    limits_.give_server(transfer.database, transfer.user);
    delete transfer.server;
    delete socket;
    return;
  }
  socket->wanted = true;
  if (!directory_.is_current(*transfer.server, *pool)) {  // the other worker has not heard of the reload yet
    transfer.server->close_when_free = true;
    transfer.server->close_reason = "database configuration changed";
  }
  add(*socket);  // reports at once what came meanwhile
  if (socket->readable) look_again(*socket);  // what TLS has read already, it does not
  core_.adopt(std::move(transfer), *pool);
}

}  // namespace pgdba::pooler
