// Links between members, etcd, clients and poolers. Each direction can be cut alone; delays vary, so that independent
// messages overtake each other. A message that meets a cut waits (TCP sends it again) and arrives after the cut ends,
// perhaps long after its sender gave up.
#pragma once

#include <cstdint>
#include <vector>

#include "events.h"
#include "plan.h"

namespace pgdba::sim {

class Network {
 public:
  // Places: the members are 0 … members - 1, then etcd, the clients, the poolers.
  Network(Events& events, Random& random, const Plan& plan);
  [[nodiscard]] int etcd() const { return members_; }
  [[nodiscard]] int clients() const { return members_ + 1; }
  [[nodiscard]] int pooler(int i) const { return members_ + 2 + i; }

  [[nodiscard]] Duration latency();
  // Calls `fn` when the message has arrived.
  void send(int from, int to, Events::Fn fn) { send_in(latency(), from, to, std::move(fn)); }
  void send_in(Duration delay, int from, int to, Events::Fn fn);
  // Each cut is undone by one join.
  void cut(int from, int to);
  void join(int from, int to);
  [[nodiscard]] bool cut_now(int from, int to) const { return link(from, to).cuts > 0; }
  [[nodiscard]] bool both_ways(int a, int b) const { return !cut_now(a, b) && !cut_now(b, a); }
  // A cut that answers with a reset: whoever asks is told at once that nobody listens (a firewall's REJECT, W12).
  void reject(int from, int to) { ++link(from, to).rejects; }
  void accept(int from, int to);
  [[nodiscard]] bool rejected(int from, int to) const { return link(from, to).rejects > 0; }
  void heal();

 private:
  struct Link {
    int cuts = 0;
    int rejects = 0;
    std::vector<Events::Fn> held;
  };
  Link& link(int from, int to) { return links_[static_cast<size_t>(from * places_ + to)]; }
  [[nodiscard]] const Link& link(int from, int to) const { return links_[static_cast<size_t>(from * places_ + to)]; }
  void release(int from, int to);

  Events& events_;
  Random& random_;
  const Plan& plan_;
  int members_;
  int places_;
  std::vector<Link> links_;
};

}  // namespace pgdba::sim
