#include "pooler/loop/socket.h"

#include <array>
#include <cerrno>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace pgdba::pooler {

namespace {

constexpr size_t kPieces = 64;  // what a Batch holds

}  // namespace

Socket::~Socket() {
  if (tls != nullptr) SSL_free(tls);
  ::close(fd);
}

bool Socket::send(std::span<const pool::Slice> slices) {
  if (broken) return true;  // nobody will read it; the event that says so is on its way
  size_t skip = 0;          // bytes that have left
  if (out.empty() && !handshake && !connecting) {
    if (tls == nullptr) {
      std::array<iovec, kPieces> pieces;
      size_t count = 0;
      for (const pool::Slice& slice : slices.first(std::min(slices.size(), kPieces))) {
        pieces[count++] = {const_cast<char*>(slice.data), slice.size};
      }
      ssize_t sent = 0;
      if (count == 1) {
        sent = ::send(fd, slices[0].data, slices[0].size, MSG_NOSIGNAL);
      } else {
        msghdr message{};
        message.msg_iov = pieces.data();
        message.msg_iovlen = count;
        sent = ::sendmsg(fd, &message, MSG_NOSIGNAL);
      }
      if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        broken = true;
        return true;
      }
      skip = sent > 0 ? static_cast<size_t>(sent) : 0;
    }
  }
  for (const pool::Slice& slice : slices) {
    if (skip >= slice.size) {
      skip -= slice.size;
      continue;
    }
    out.append(slice.data + skip, slice.size - skip);
    skip = 0;
  }
  // TLS makes one record of what the pieces are together.
  return out.empty() || (tls != nullptr && !handshake && flush());
}

bool Socket::flush() {
  while (out_at < out.size() && !broken) {
    const char* data = out.data() + out_at;
    const size_t size = out.size() - out_at;
    ssize_t sent = 0;
    if (tls != nullptr) {
      ERR_clear_error();
      const int result = SSL_write(tls, data, static_cast<int>(std::min<size_t>(size, 1 << 20)));
      if (result <= 0) {
        const int why = SSL_get_error(tls, result);
        if (why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_READ) return false;
        broken = true;
        break;
      }
      sent = result;
    } else {
      sent = ::send(fd, data, size, MSG_NOSIGNAL);
      if (sent < 0) {
        if (errno == EINTR) continue;
        if (errno == EAGAIN) return false;
        broken = true;
        break;
      }
    }
    out_at += static_cast<size_t>(sent);
  }
  std::string().swap(out);
  out_at = 0;
  return true;
}

Read Socket::receive(char* into, size_t size, size_t& got) {
  got = 0;
  for (;;) {
    if (tls != nullptr) {
      ERR_clear_error();
      const int result = SSL_read(tls, into, static_cast<int>(size));
      if (result > 0) {
        got = static_cast<size_t>(result);
        return Read::data;
      }
      const int why = SSL_get_error(tls, result);
      return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? Read::nothing : Read::closed;
    }
    const ssize_t result = ::recv(fd, into, size, 0);
    if (result > 0) {
      got = static_cast<size_t>(result);
      return Read::data;
    }
    if (result == 0) return Read::closed;
    if (errno == EINTR) continue;
    return errno == EAGAIN ? Read::nothing : Read::closed;
  }
}

}  // namespace pgdba::pooler
