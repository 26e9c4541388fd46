// One non-blocking socket of a worker: what is to leave, and whether bytes that arrived are wanted.
//
// Registered with epoll once, edge-triggered, and hardly ever touched again: "not wanted now" is a flag, so that queueing a
// client or pausing a sender costs no system call; that there is room to send is asked for when something first does not fit.
// Invariants: bytes leave in order; when `out` is empty everything has been given to the kernel; when it is not, epoll will
// tell of room. With TLS, `out` holds what is encrypted already.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "conf/ip_range.h"
#include "pool/host.h"
#include "pooler/loop/tls_stream.h"

namespace pgdba::pooler {

enum class Kind : uint8_t { listener, client, server, canceller, wakeup, http };

// What a server says to the request for TLS.
enum class TlsAnswer : uint8_t { none_yet, yes, no, closed, garbage };

struct Socket {
  explicit Socket(Kind socket_kind, int descriptor) : kind(socket_kind), fd(descriptor) {}
  ~Socket();
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  // False: `out` holds what the kernel did not take.
  bool send(std::span<const pool::Slice> slices);
  bool flush();
  // Up to `size` bytes. `closed` also for an error.
  Read receive(char* into, size_t size, size_t& got);
  // After receive() gave `got` of at most `size` bytes: the kernel had no more.
  bool took_all(size_t got, size_t size) const { return tls == nullptr ? got < size : tls->took_all(); }

  TlsAnswer tls_answer();
  TlsStream::Step shake_hands();
  void say_goodbye();  // TLS's own last word
  // As the console shows it; empty without TLS.
  [[nodiscard]] std::string tls_text() const { return tls == nullptr || handshake ? std::string() : tls->text(); }

  const Kind kind;
  const int fd;
  int epoll = -1;             // where it is registered; -1: not yet
  bool room_awaited = false;  // epoll tells when there is room to send
  bool wanted = true;      // its bytes are to be read
  bool readable = false;   // bytes may have arrived that nobody wanted then
  bool queued = false;     // in the worker's list of sockets to look at again
  bool connecting = false;
  bool handshake = false;  // TLS, not ready yet: nothing that is sent leaves
  bool asking = false;     // the first part of it: a server has been asked for TLS
  bool closing = false;    // only `out` still leaves
  bool dead = false;
  bool leaving = false;    // goes to another worker at the end of the round
  bool hung_up = false;    // the peer sends no more
  bool broken = false;     // an error, or the peer takes no more
  bool tcp = false;        // a listener: not the unix socket
  bool shared = false;     // a listener: its clients go to all workers in turn
  uint16_t peer_port = 0;  // of a client; 0: a unix socket
  int64_t deadline = 0;    // of closing or connecting, in microseconds; 0: none
  pool::Conn* conn = nullptr;
  std::unique_ptr<TlsStream> tls;
  conf::IpAddress peer;    // of a client; size 0: a unix socket
  std::string out;
  size_t out_at = 0;       // what of `out` has left

 private:
  bool await_room();
  bool hold_back(std::span<const pool::Slice> slices, size_t skip);
  bool send_encrypted(std::span<const pool::Slice> slices);
  bool push(std::string& bytes);
};

}  // namespace pgdba::pooler
