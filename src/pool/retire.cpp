// Servers that a route leads to no longer.
#include "pool/core.h"

namespace pgdba::pool {

void Core::retire(Route which, const std::function<bool(const Server&)>& keep, std::string_view why) {
  for (size_t i = 0; i < pools_.size(); ++i) {  // a pool may be added meanwhile
    Pool& pool = *pools_[i];
    if (pool.database->route != which) continue;
    std::vector<Server*> idle;
    for (Server& server : pool.idle) {
      if (!keep(server)) idle.push_back(&server);
    }
    for (ServerList* list : {&pool.lent, &pool.busy}) {
      for (Server& server : *list) {
        if (server.close_when_free || keep(server)) continue;
        server.close_when_free = true;
        server.close_reason = why;
      }
    }
    for (Server* server : idle) close_server(*server, why);
  }
}

}  // namespace pgdba::pool
