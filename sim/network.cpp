#include "network.h"

namespace pgdba::sim {

Network::Network(Events& events, Random& random, const Plan& plan)
    : events_(events), random_(random), plan_(plan), members_(plan.members), places_(plan.members + 2 + plan.poolers),
      links_(static_cast<size_t>(places_ * places_)) {}

Duration Network::latency() {
  if (random_.chance(plan_.slow_message)) return draw_skewed(random_, plan_.latency_high, plan_.slow_message_max);
  return draw(random_, plan_.latency_low, plan_.latency_high);
}

void Network::send_in(Duration delay, int from, int to, Events::Fn fn) {
  events_.after(delay, [this, from, to, fn = std::move(fn)]() mutable {
    Link& here = link(from, to);
    if (here.cuts > 0) {
      here.held.push_back(std::move(fn));
      return;
    }
    fn();
  });
}

void Network::cut(int from, int to) {
  if (from != to) ++link(from, to).cuts;
}

void Network::join(int from, int to) {
  Link& here = link(from, to);
  if (here.cuts > 0 && --here.cuts == 0) release(from, to);
}

void Network::accept(int from, int to) {
  Link& here = link(from, to);
  if (here.rejects > 0) --here.rejects;
}

void Network::release(int from, int to) {
  std::vector<Events::Fn> held = std::move(link(from, to).held);
  link(from, to).held.clear();
  // In order: a stream does not overtake itself.
  Duration delay = latency();
  for (Events::Fn& fn : held) {
    delay += 10us;
    send_in(delay, from, to, std::move(fn));
  }
}

void Network::heal() {
  for (int a = 0; a < places_; ++a) {
    for (int b = 0; b < places_; ++b) {
      link(a, b).cuts = 0;
      link(a, b).rejects = 0;
      release(a, b);
    }
  }
}

}  // namespace pgdba::sim
