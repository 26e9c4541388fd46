#include "pooler/loop/socket.h"

#include <array>
#include <cerrno>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace pgdba::pooler {

namespace {

// The C library's own wrappers are cancellation points, which in a program with threads cost more than the rest of them: about
// 50 instructions each, four times in a transaction. Nobody cancels a thread here.
ssize_t quick_send(int fd, const char* data, size_t size) {
  return ::syscall(SYS_sendto, fd, data, size, MSG_NOSIGNAL, nullptr, 0);
}
ssize_t quick_receive(int fd, char* into, size_t size) { return ::syscall(SYS_recvfrom, fd, into, size, 0, nullptr, nullptr); }

constexpr size_t kPieces = 64;  // what a Batch holds
ssize_t send_pieces(int fd, std::span<const pool::Slice> slices) {
  std::array<iovec, kPieces> pieces;
  msghdr message{};
  message.msg_iov = pieces.data();
  for (const pool::Slice& slice : slices.first(std::min(slices.size(), kPieces))) {
    pieces[message.msg_iovlen++] = {const_cast<char*>(slice.data), slice.size};
  }
  return ::syscall(SYS_sendmsg, fd, &message, MSG_NOSIGNAL);
}

constexpr size_t kKept = 1 << 18;  // a thread keeps this much room for what it encrypts

// Empty between two calls.
std::string& encrypted() {
  thread_local std::string bytes;
  return bytes;
}

}  // namespace

Socket::~Socket() { ::close(fd); }

bool Socket::send(std::span<const pool::Slice> slices) {
  if (broken) return true;  // nobody will read it; the event that says so is on its way
  if (tls != nullptr) return send_encrypted(slices);
  if (!out.empty() || connecting) return hold_back(slices, 0);
  // One piece, as nearly always, costs no list.
  const ssize_t sent = slices.size() == 1 ? quick_send(fd, slices[0].data, slices[0].size) : send_pieces(fd, slices);
  if (slices.size() == 1 && sent == static_cast<ssize_t>(slices[0].size)) return true;
  if (sent < 0 && errno != EAGAIN && errno != EINTR) {
    broken = true;
    return true;
  }
  return hold_back(slices, sent > 0 ? static_cast<size_t>(sent) : 0);
}

// Keeps what follows the first `skip` bytes, which have left. True: nothing does.
bool Socket::hold_back(std::span<const pool::Slice> slices, size_t skip) {
  for (const pool::Slice& slice : slices) {
    if (skip >= slice.size) {
      skip -= slice.size;
      continue;
    }
    out.append(slice.data + skip, slice.size - skip);
    skip = 0;
  }
  return await_room();
}

// After something was added to `out`. True: there is nothing to wait for.
bool Socket::await_room() {
  if (out.empty()) return true;
  if (!room_awaited && epoll >= 0) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLRDHUP | EPOLLOUT | EPOLLET;
    event.data.ptr = this;
    ::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);  // reports at once what is there by now
    room_awaited = true;
  }
  return false;
}

bool Socket::flush() {
  while (out_at < out.size() && !broken) {
    const ssize_t sent = ::send(fd, out.data() + out_at, out.size() - out_at, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return false;
      broken = true;
      break;
    }
    out_at += static_cast<size_t>(sent);
  }
  std::string().swap(out);
  out_at = 0;
  return true;
}

Read Socket::receive(char* into, size_t size, size_t& got) {
  got = 0;
  if (tls != nullptr) {
    const Read result = tls->decrypt(into, size, got, encrypted());
    if (!encrypted().empty()) push(encrypted());  // an alert, say
    return result;
  }
  for (;;) {
    const ssize_t result = quick_receive(fd, into, size);
    if (result > 0) {
      got = static_cast<size_t>(result);
      return Read::data;
    }
    if (result == 0) return Read::closed;
    if (errno == EINTR) continue;
    return errno == EAGAIN ? Read::nothing : Read::closed;
  }
}

bool Socket::send_encrypted(std::span<const pool::Slice> slices) {
  if (handshake) return true;  // a farewell, and nobody is there yet who could read it
  std::string& bytes = encrypted();
  if (!tls->encrypt(slices, bytes)) {
    broken = true;
    bytes.clear();
    return true;
  }
  return push(bytes);
}

// Bytes that are encrypted already. False: not all have left.
bool Socket::push(std::string& bytes) {
  size_t left = 0;
  if (out.empty() && !broken) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) broken = true;
    left = sent > 0 ? static_cast<size_t>(sent) : 0;
  }
  if (!broken) out.append(bytes, left);
  if (bytes.capacity() > kKept) std::string().swap(bytes);
  else bytes.clear();
  return broken || await_room();
}

TlsAnswer Socket::tls_answer() {
  // More than one byte cannot be TLS's, which we begin; it would be somebody's who sits in between.
  std::array<char, 2> bytes;
  ssize_t got = 0;
  do got = ::recv(fd, bytes.data(), bytes.size(), 0);
  while (got < 0 && errno == EINTR);
  if (got < 0) return errno == EAGAIN ? TlsAnswer::none_yet : TlsAnswer::closed;
  if (got == 0) return TlsAnswer::closed;
  if (got == 1 && bytes[0] == 'S') return TlsAnswer::yes;
  return got == 1 && bytes[0] == 'N' ? TlsAnswer::no : TlsAnswer::garbage;
}

TlsStream::Step Socket::shake_hands() {
  const TlsStream::Step step = tls->handshake(encrypted());
  if (!encrypted().empty()) push(encrypted());
  return step;
}

void Socket::say_goodbye() {
  if (tls == nullptr || handshake || broken) return;
  tls->say_goodbye(encrypted());
  if (!encrypted().empty()) push(encrypted());
}

}  // namespace pgdba::pooler
