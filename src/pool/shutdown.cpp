// Ends: a pause of the whole process, the end of all clients, of a server, of a pool.
#include <algorithm>

#include "pool/core.h"

namespace pgdba::pool {

// Servers that are lent stay so until they are released; idle ones are closed by the next tick.
void Core::pause_all(bool paused) {
  paused_ = paused;
  if (paused) return;
  for (size_t i = 0; i < pools_.size(); ++i) {  // a pool may be added meanwhile
    serve_queue(*pools_[i]);
    open_servers(*pools_[i]);
  }
}

void Core::close_waiting(const Farewell& farewell) {
  for (size_t i = 0; i < pools_.size(); ++i) {
    for (ClientQueue* queue : {&pools_[i]->waiting, &pools_[i]->newcomers}) {
      while (!queue->empty()) close_client(queue->front(), farewell);
    }
  }
}

void Core::close_all_clients(const Farewell& farewell) {
  paused_ = true;  // what they give back is not lent again
  while (!clients_.empty()) close_client(clients_.front(), farewell);
}

bool Core::drop_pool(Pool& pool) {
  if (pool.clients != 0 || pool.servers != 0 || pool.asked || pool.paused || !pool.waiting.empty() || !pool.newcomers.empty()) return false;
  publish(pool);
  if (pool.share != nullptr) ledger_.drop_share(pool);
  std::erase_if(pools_, [&](const auto& each) { return each.get() == &pool; });
  return true;
}

void Core::retire(Server& server, std::string_view why) {
  if (server.dead) return;
  if (server.client == nullptr && server.state != ServerState::busy) {
    close_server(server, why);
    return;
  }
  server.close_when_free = true;
  server.close_reason = why;
}

}  // namespace pgdba::pool
