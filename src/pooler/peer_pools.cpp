#include "pooler/peer_pools.h"

#include <utility>

namespace pgdba::pooler {

PeerPools::Verdict PeerPools::take(int peer, int most, Go go) {
  std::lock_guard lock(mutex_);
  Peer& to = peers_[peer];
  to.most = most;
  if (most <= 0 || (to.waiting.empty() && to.connecting + to.sent < most)) {
    ++to.connecting;
    return Verdict::go;
  }
  if (to.waiting.size() >= kMostWaiting) return Verdict::refused;
  to.waiting.push_back(std::move(go));
  return Verdict::wait;
}

void PeerPools::sent(int peer) {
  std::lock_guard lock(mutex_);
  --peers_[peer].connecting;
  ++peers_[peer].sent;
}

void PeerPools::give(int peer, bool was_sent) {
  std::deque<Go> next;  // more than one after a reload that raised the limit
  {
    std::lock_guard lock(mutex_);
    Peer& to = peers_[peer];
    --(was_sent ? to.sent : to.connecting);
    while (!to.waiting.empty() && (to.most <= 0 || to.connecting + to.sent < to.most)) {
      ++to.connecting;
      next.push_back(std::move(to.waiting.front()));
      to.waiting.pop_front();
    }
  }
  for (const Go& go : next) go();
}

PeerPools::Figures PeerPools::figures(int peer) const {
  std::lock_guard lock(mutex_);
  auto found = peers_.find(peer);
  if (found == peers_.end()) return {};
  return {static_cast<int>(found->second.waiting.size()), found->second.connecting, found->second.sent};
}

}  // namespace pgdba::pooler
