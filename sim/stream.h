// One TCP connection of the made-up world: bytes in order, each once, whatever the links do with the messages under them.
//
// Side 0 opened it, side 1 is the other end. What was sent before an end closed still arrives, and then the other end hears
// of the close. An end whose machine vanishes says nothing: the other one hears of it by a keepalive, or when the machine is
// back and resets what it does not know. Handlers run as events of their own; a closed end hears nothing any more.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "events.h"

namespace pgdba::sim {

class World;

class Stream : public std::enable_shared_from_this<Stream> {
 public:
  struct Handler {
    std::function<void(std::string)> bytes;
    std::function<void()> closed;
  };
  Stream(World& world, int opener, int other) : world_(world), places_{opener, other} {}

  // What arrived before is kept, as a kernel does.
  void listen(int side, Handler handler);
  void send(int side, std::string bytes);
  void close(int side);
  // The machine of this end is gone; `back` says whether it is there again.
  void vanish(int side, std::function<bool()> back);
  [[nodiscard]] bool open(int side) const { return ends_[static_cast<size_t>(side)].open; }
  // Nothing that this side has sent is still under way.
  [[nodiscard]] bool all_arrived(int side) const;
  [[nodiscard]] int place(int side) const { return places_[static_cast<size_t>(side)]; }

 private:
  struct Piece {
    std::string bytes;
    bool fin = false;
  };
  struct End {
    Handler handler;
    bool open = true;
    uint64_t sent = 0;      // pieces, by this end
    uint64_t received = 0;  // pieces, by this end, in order
    std::map<uint64_t, Piece> early;  // not yet their turn, or nobody listens yet
  };
  void transmit(int side, Piece piece);
  void arrive(int side, uint64_t number, Piece piece);
  void deliver(int side);
  void look_for(int side, std::function<bool()> back, int looks);

  World& world_;
  std::array<int, 2> places_;
  std::array<End, 2> ends_;
};

}  // namespace pgdba::sim
