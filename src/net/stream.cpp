#include "net/stream.h"

#include <netinet/tcp.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <array>
#include <cerrno>
#include <optional>

#include "net/asio_util.h"
#include "net/port.h"
#include "net/tls_impl.h"

namespace pgdba::net {
namespace {

namespace ssl = asio::ssl;
using Tcp = asio::ip::tcp;

// What an operation that runs under Loop::run_until left behind.
struct Outcome {
  error_code ec = asio::error::timed_out;
  size_t size = 0;
};

void set_options(Tcp::socket& socket) {
  int fd = socket.native_handle();
  auto set = [fd](int level, int name, int value) { setsockopt(fd, level, name, &value, sizeof value); };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  // A peer whose host vanished is noticed also when we only listen.
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 5);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 2);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 10'000);
}

}  // namespace

struct Stream::Impl {
  explicit Impl(Loop& l) : loop(l), socket(l.context()) {}

  Loop& loop;
  Tcp::socket socket;
  std::shared_ptr<TlsContext> context;  // outlives tls
  std::optional<ssl::stream<Tcp::socket&>> tls;

  void close() {
    error_code ignored;
    socket.close(ignored);
  }

  static Task<void> connect(std::shared_ptr<Impl> self, Tcp::endpoint endpoint, Outcome& out) {
    auto [ec] = co_await self->socket.async_connect(endpoint, as_result);
    out.ec = ec;
  }
  static Task<void> handshake(std::shared_ptr<Impl> self, ssl::stream_base::handshake_type type, Outcome& out) {
    auto [ec] = co_await self->tls->async_handshake(type, as_result);
    out.ec = ec;
  }
  static Task<void> read(std::shared_ptr<Impl> self, asio::mutable_buffer buffer, Outcome& out) {
    if (self->tls) {
      auto [ec, size] = co_await self->tls->async_read_some(buffer, as_result);
      out = {ec, size};
    } else {
      auto [ec, size] = co_await self->socket.async_read_some(buffer, as_result);
      out = {ec, size};
    }
  }
  static Task<void> wait_readable(std::shared_ptr<Impl> self, Outcome& out) {
    auto [ec] = co_await self->socket.async_wait(Tcp::socket::wait_read, as_result);
    out.ec = ec;
  }
  static Task<void> write(std::shared_ptr<Impl> self, asio::const_buffer buffer, Outcome& out) {
    if (self->tls) {
      auto [ec, size] = co_await asio::async_write(*self->tls, buffer, as_result);
      out = {ec, size};
    } else {
      auto [ec, size] = co_await asio::async_write(self->socket, buffer, as_result);
      out = {ec, size};
    }
  }

  static Task<void> end(std::shared_ptr<Impl> self) {
    if (self->tls) co_await self->tls->async_shutdown(as_result);
    error_code ec;
    self->socket.shutdown(Tcp::socket::shutdown_send, ec);
    std::array<char, 4096> sink;
    for (size_t left = 256 * 1024; !ec && left > 0;) {
      auto [read_ec, size] = co_await self->socket.async_read_some(asio::buffer(sink), as_result);
      ec = read_ec;
      left -= std::min(left, size);
    }
  }

  // Closes the socket when a wait on it is unwound by cancelling, or ended badly.
  struct CloseUnlessKept {
    Impl& impl;
    bool keep = false;
    ~CloseUnlessKept() {
      if (!keep) impl.close();
    }
  };

  static Task<Result<void>> shake_hands(std::shared_ptr<Impl> self, ssl::stream_base::handshake_type type,
                                        BootTime deadline) {
    CloseUnlessKept guard{*self};
    Outcome out;
    co_await self->loop.run_until(handshake(self, type, out), deadline);
    if (out.ec) co_return tl::unexpected(error_from(out.ec, Errc::unavailable, "TLS handshake"));
    guard.keep = true;
    co_return Result<void>();
  }
};

Stream::Stream(Loop& loop) : impl_(std::make_shared<Impl>(loop)) {}
Stream::Stream(Loop& loop, int accepted_fd, bool ipv6) : Stream(loop) {
  error_code ignored;
  impl_->socket.assign(ipv6 ? Tcp::v6() : Tcp::v4(), accepted_fd, ignored);
  set_options(impl_->socket);
}
Stream::~Stream() {
  if (impl_) impl_->close();
}
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&&) noexcept = default;

Task<Result<void>> Stream::connect(std::string host, uint16_t port, BootTime deadline) {
  std::shared_ptr<Impl> impl = impl_;
  auto addresses = co_await resolve(impl->loop, host, deadline);
  if (!addresses) co_return fail(Errc::unavailable, addresses.error().text);
  Impl::CloseUnlessKept guard{*impl};
  error_code last = asio::error::timed_out;
  for (size_t i = 0; i < addresses->size(); ++i) {
    BootTime now = boot_now();
    if (now >= deadline) break;
    impl->close();
    error_code bad;
    Tcp::endpoint endpoint(asio::ip::make_address((*addresses)[i], bad), port);
    impl->socket.open(endpoint.protocol(), last);
    if (bad || last) continue;
    set_options(impl->socket);
    Outcome out;
    // A silent address leaves the later ones their share of the time.
    BootTime limit = now + (deadline - now) / static_cast<int64_t>(addresses->size() - i);
    co_await impl->loop.run_until(Impl::connect(impl, endpoint, out), limit);
    last = out.ec;
    if (!last) {
      guard.keep = true;
      co_return Result<void>();
    }
  }
  co_return tl::unexpected(error_from(last, Errc::unavailable, fmt::format("connecting to {} port {}", host, port)));
}

Task<Result<void>> Stream::tls_client(std::shared_ptr<TlsContext> context, std::string host, BootTime deadline) {
  std::shared_ptr<Impl> impl = impl_;
  impl->context = std::move(context);
  impl->tls.emplace(impl->socket, impl->context->impl().context);
  if (impl->context->impl().verify) impl->tls->set_verify_callback(ssl::host_name_verification(host));
  error_code not_an_address;
  asio::ip::make_address(host, not_an_address);
  if (not_an_address) SSL_set_tlsext_host_name(impl->tls->native_handle(), host.c_str());
  return Impl::shake_hands(std::move(impl), ssl::stream_base::client, deadline);
}

Task<Result<void>> Stream::tls_server(std::shared_ptr<TlsContext> context, BootTime deadline) {
  std::shared_ptr<Impl> impl = impl_;
  impl->context = std::move(context);
  impl->tls.emplace(impl->socket, impl->context->impl().context);
  return Impl::shake_hands(std::move(impl), ssl::stream_base::server, deadline);
}

Task<bool> Stream::readable(BootTime deadline) {
  std::shared_ptr<Impl> impl = impl_;
  Outcome out;
  co_await impl->loop.run_until(Impl::wait_readable(impl, out), deadline);
  co_return !out.ec;
}

Task<Result<size_t>> Stream::read_some(char* data, size_t size, BootTime deadline) {
  std::shared_ptr<Impl> impl = impl_;
  Outcome out;
  co_await impl->loop.run_until(Impl::read(impl, asio::buffer(data, size), out), deadline);
  if (!out.ec) co_return out.size;
  if (out.ec == asio::error::timed_out || out.ec == asio::error::operation_aborted) {
    if (impl->socket.is_open()) co_return fail(Errc::timeout, "nothing came within the deadline");
    co_return fail(Errc::unavailable, "the connection was closed");
  }
  // Many servers end TLS without a close_notify; HTTP's own framing tells whether something is missing.
  bool end = out.ec == asio::error::eof || out.ec == ssl::error::stream_truncated;
  impl->close();
  if (end) co_return size_t{0};
  co_return tl::unexpected(error_from(out.ec, Errc::unavailable, "reading"));
}

Task<Result<void>> Stream::write_all(std::string_view data, BootTime deadline) {
  std::shared_ptr<Impl> impl = impl_;
  Impl::CloseUnlessKept guard{*impl};
  Outcome out;
  co_await impl->loop.run_until(Impl::write(impl, asio::buffer(data.data(), data.size()), out), deadline);
  if (out.ec == asio::error::operation_aborted) out.ec = asio::error::timed_out;
  if (out.ec) {
    Errc code = out.ec == asio::error::timed_out ? Errc::timeout : Errc::unavailable;
    co_return tl::unexpected(error_from(out.ec, code, "writing"));
  }
  guard.keep = true;
  co_return Result<void>();
}

Task<void> Stream::finish(BootTime deadline) {
  std::shared_ptr<Impl> impl = impl_;
  Impl::CloseUnlessKept guard{*impl};
  co_await impl->loop.run_until(Impl::end(impl), deadline);
}

bool Stream::is_open() const { return impl_->socket.is_open(); }

bool Stream::quiet() const {
  if (!impl_->socket.is_open()) return false;
  char byte = 0;
  ssize_t got = recv(impl_->socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

bool Stream::peer_certificate_verified() const {
  if (!impl_->tls) return false;
  SSL* handle = impl_->tls->native_handle();
  X509* certificate = SSL_get1_peer_certificate(handle);
  if (certificate == nullptr) return false;
  X509_free(certificate);
  return SSL_get_verify_result(handle) == X509_V_OK && SSL_get_verify_mode(handle) != SSL_VERIFY_NONE;
}

void Stream::close() { impl_->close(); }

}  // namespace pgdba::net
