#include "stream.h"

#include <algorithm>

#include "world.h"

namespace pgdba::sim {

bool Stream::all_arrived(int side) const {
  const auto self = static_cast<size_t>(side);
  return ends_[self].sent == ends_[1 - self].received;
}

void Stream::send(int side, std::string bytes) {
  if (open(side) && !bytes.empty()) transmit(side, {std::move(bytes), false});
}

void Stream::close(int side) {
  End& end = ends_[static_cast<size_t>(side)];
  if (!end.open) return;
  transmit(side, {{}, true});
  end.open = false;
  end.handler = {};
  end.early.clear();
}

void Stream::transmit(int side, Piece piece) {
  const uint64_t number = ends_[static_cast<size_t>(side)].sent++;
  world_.network.send(place(side), place(1 - side), [self = shared_from_this(), side, number, piece = std::move(piece)]() mutable {
    self->arrive(1 - side, number, std::move(piece));
  });
}

void Stream::listen(int side, Handler handler) {
  ends_[static_cast<size_t>(side)].handler = std::move(handler);
  world_.events.after(Duration{}, [self = shared_from_this(), side] { self->deliver(side); });
}

void Stream::arrive(int side, uint64_t number, Piece piece) {
  End& end = ends_[static_cast<size_t>(side)];
  if (!end.open) return;
  end.early.emplace(number, std::move(piece));
  deliver(side);
}

// What is next in order, to whoever listens. What the handler calls may close this end.
void Stream::deliver(int side) {
  End& end = ends_[static_cast<size_t>(side)];
  while (end.open && end.handler.closed) {
    auto next = end.early.find(end.received);
    if (next == end.early.end()) return;
    Piece piece = std::move(next->second);
    end.early.erase(next);
    ++end.received;
    Handler handler = end.handler;
    if (piece.fin) {
      handler.closed();
      continue;
    }
    // A reader sees the pieces that the network makes, not those that were written.
    const size_t cut = piece.bytes.size() > 1 && world_.pooled_random.chance(0.15) ? 1 + world_.pooled_random.below(piece.bytes.size() - 1) : 0;
    if (cut > 0) {
      handler.bytes(piece.bytes.substr(0, cut));
      if (end.open) handler.bytes(piece.bytes.substr(cut));
    } else {
      handler.bytes(std::move(piece.bytes));
    }
  }
}

void Stream::vanish(int side, std::function<bool()> back) {
  End& end = ends_[static_cast<size_t>(side)];
  if (!end.open) return;
  end.open = false;
  end.handler = {};
  end.early.clear();
  look_for(1 - side, std::move(back), 12);
}

void Stream::look_for(int side, std::function<bool()> back, int looks) {
  world_.events.after(1s, [self = shared_from_this(), side, back = std::move(back), looks]() mutable {
    End& end = self->ends_[static_cast<size_t>(side)];
    if (!end.open) return;
    if (!end.handler.closed || (looks > 0 && !back())) return self->look_for(side, std::move(back), std::max(looks - 1, 0));
    Handler handler = end.handler;
    handler.closed();
  });
}

}  // namespace pgdba::sim
