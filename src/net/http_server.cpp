#include "net/http_server.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <list>

#include "net/asio_util.h"
#include "net/http_parse.h"
#include "net/log.h"
#include "net/port.h"
#include "net/stream.h"

namespace pgdba::net {
namespace {

using Tcp = asio::ip::tcp;

constexpr Duration farewell = 500ms;

struct Connection {
  Connection(Loop& loop, int fd, bool ipv6) : stream(loop, fd, ipv6) {}
  Stream stream;
  PeerAddress peer;
  BootTime waiting_since = boot_now();  // without a complete request
  bool serving = false;                 // the handler has it
};

// A small page as Python's http.server sends it, which is what Patroni's clients know.
Response error_page(int status, std::string_view explanation) {
  Response out;
  out.status = status;
  out.close = true;
  out.headers = {{"Content-Type", "text/html;charset=utf-8"}};
  out.body = fmt::format(
      "<!DOCTYPE HTML>\n<html lang=\"en\"><head><title>Error response</title></head>\n<body><h1>Error response</h1>\n"
      "<p>Error code: {0}</p>\n<p>Message: {1}.</p>\n<p>Error code explanation: {0} - {2}.</p>\n</body></html>\n",
      status, default_reason(status), explanation);
  return out;
}

}  // namespace

struct HttpServer::Impl {
  using Connections = std::list<std::shared_ptr<Connection>>;

  Impl(Loop& l, HttpServerOptions o, HttpHandler h) : loop(l), options(std::move(o)), handler(std::move(h)) {}

  Loop& loop;
  HttpServerOptions options;
  HttpHandler handler;
  std::shared_ptr<TlsContext> tls;
  std::vector<std::shared_ptr<Tcp::acceptor>> acceptors;
  Connections connections;
  Counters counters;
  size_t handshakes = 0;
  bool closed = false;

  // Makes room when all places are taken: who has waited longest goes. False when every place is at work.
  bool make_room() {
    if (connections.size() < options.max_connections) return true;
    Connection* oldest = nullptr;
    for (const auto& connection : connections) {
      if (!connection->serving && connection->stream.is_open() &&
          (oldest == nullptr || connection->waiting_since < oldest->waiting_since)) {
        oldest = connection.get();
      }
    }
    if (oldest == nullptr) return false;
    oldest->stream.close();
    ++counters.evicted;
    return true;
  }

  static Task<void> accept_all(std::shared_ptr<Impl> self, std::shared_ptr<Tcp::acceptor> acceptor) {
    while (!self->closed) {
      Tcp::endpoint from;
      auto [ec, socket] = co_await acceptor->async_accept(from, as_result);
      co_await checkpoint();
      if (self->closed) break;
      if (ec) {
        // Out of descriptors, most likely: a place is made, and the rest of the program gets a moment.
        log::warning("http", "cannot accept problem={}", log::quoted(ec.message()));
        (void)self->make_room();
        co_await self->loop.sleep_for(100ms);
        continue;
      }
      if (!self->make_room()) {
        ++self->counters.rejected;
        continue;
      }
      ++self->counters.accepted;
      error_code released;
      int fd = socket.release(released);
      auto connection = std::make_shared<Connection>(self->loop, fd, from.address().is_v6());
      asio::ip::address address = from.address();
      if (address.is_v6() && address.to_v6().is_v4_mapped()) {
        address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
      }
      connection->peer.ip = address.to_string();
      connection->peer.port = from.port();
      self->connections.push_back(connection);
      self->loop.spawn(serve(self, connection), "http connection");
    }
  }

  struct Place {
    explicit Place(size_t& n) : taken(n) { ++taken; }
    ~Place() { --taken; }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    size_t& taken;
  };

  // Takes the connection off the list, however its task ends.
  struct Listed {
    std::shared_ptr<Impl> impl;
    std::shared_ptr<Connection> connection;
    ~Listed() {
      connection->stream.close();
      impl->connections.remove(connection);
    }
  };

  static Task<void> serve(std::shared_ptr<Impl> self, std::shared_ptr<Connection> connection) {
    Listed listed{self, connection};
    BootTime header_deadline = boot_now() + self->options.header_deadline;
    if (std::shared_ptr<TlsContext> context = self->tls) {
      // A place is taken by who has begun to talk, and for a second: what costs is arithmetic, not waiting.
      if (!co_await connection->stream.readable(header_deadline)) co_return;
      while (self->handshakes >= self->options.max_handshakes) {
        co_await self->loop.sleep_for(5ms);
        if (self->closed || !connection->stream.is_open() || boot_now() >= header_deadline) co_return;
      }
      Place place(self->handshakes);
      if (!co_await connection->stream.tls_server(context, std::min(header_deadline, boot_now() + 1s))) co_return;
      connection->peer.tls = true;
      connection->peer.certificate_verified = connection->stream.peer_certificate_verified();
    }
    std::string buffer;
    bool go_on = true;
    while (go_on && !self->closed && connection->stream.is_open()) {
      go_on = co_await serve_one(*self, *connection, buffer, header_deadline);
      connection->serving = false;
      connection->waiting_since = boot_now();
      header_deadline = BootTime::max();  // counts from the first byte of the next request
    }
    if (connection->stream.is_open()) co_await connection->stream.finish(boot_now() + farewell);
  }

  // False: nothing more on this connection.
  static Task<bool> serve_one(Impl& self, Connection& connection, std::string& buffer, BootTime header_deadline) {
    const HttpServerOptions& options = self.options;
    RequestParser parser(options.header_bytes, options.body_bytes);
    std::array<char, 8192> chunk;
    BootTime idle_deadline = boot_now() + options.idle_deadline;
    BootTime body_deadline = BootTime::max();
    bool continued = false;
    while (true) {
      if (!buffer.empty() && header_deadline == BootTime::max()) {
        header_deadline = boot_now() + options.header_deadline;
      }
      auto done = parser.feed(buffer);
      if (!done) {
        co_await answer(self, connection, nullptr, error_page(parser.status(), done.error().text));
        co_return false;
      }
      if (*done) break;
      if (parser.header_done() && body_deadline == BootTime::max()) {
        body_deadline = boot_now() + options.body_deadline;
        auto refusal = options.doorkeeper ? options.doorkeeper(parser.head(), connection.peer) : std::nullopt;
        if (refusal) {
          refusal->close = true;
          Request head = parser.head();
          co_await answer(self, connection, &head, std::move(*refusal));
          co_return false;
        }
      }
      if (parser.expects_continue() && !std::exchange(continued, true)) {
        auto sent = co_await connection.stream.write_all("HTTP/1.1 100 Continue\r\n\r\n", body_deadline);
        if (!sent) co_return false;
      }
      BootTime deadline = parser.header_done() ? body_deadline : std::min(header_deadline, idle_deadline);
      auto size = co_await connection.stream.read_some(chunk.data(), chunk.size(), deadline);
      if (!size || *size == 0) co_return false;
      if (!parser.header_done()) idle_deadline = BootTime::max();
      buffer.append(chunk.data(), *size);
    }
    connection.serving = true;
    ++self.counters.requests;
    bool keep_alive = parser.keep_alive() && !parser.http10();
    Request request = parser.take();
    Response response = co_await self.handler(request, connection.peer);
    response.close = response.close || response.bare || !keep_alive;
    bool close = response.close;
    // A client that does not read its answer has no better claim to the place than one that sends nothing.
    connection.serving = false;
    connection.waiting_since = boot_now();
    co_return co_await answer(self, connection, &request, std::move(response)) && !close;
  }

  static Task<bool> answer(Impl& self, Connection& connection, const Request* request, Response response) {
    std::string reason = response.reason.empty() ? std::string(default_reason(response.status)) : response.reason;
    // HTTP/1.0 as Patroni answers; 1.1 only where the connection stays open, which needs it.
    std::string start = fmt::format("HTTP/1.{} {} {}", response.close ? 0 : 1, response.status, reason);
    Headers headers;
    if (!response.bare) {
      auto add = [&](const char* name, std::string value) {
        if (!find_header(response.headers, name)) headers.emplace_back(name, std::move(value));
      };
      if (!self.options.server_name.empty()) add("Server", self.options.server_name);
      add("Date", fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(std::time(nullptr))));
      for (const auto& header : self.options.extra_headers) add(header.first.c_str(), header.second);
      for (auto& header : response.headers) headers.push_back(std::move(header));
      if (!find_header(headers, "Content-Length") && response.status != 204 && response.status != 304) {
        headers.emplace_back("Content-Length", std::to_string(response.body.size()));
      }
      if (response.close && !find_header(headers, "Connection") && response.status >= 400 && request == nullptr) {
        headers.emplace_back("Connection", "close");
      }
    }
    std::string bytes = format_head(start, headers);
    if (!response.bare && (request == nullptr || request->method != "HEAD")) bytes += response.body;
    auto sent = co_await connection.stream.write_all(bytes, boot_now() + self.options.write_deadline);
    co_return sent.has_value();
  }
};

HttpServer::HttpServer(Loop& loop, HttpServerOptions options, HttpHandler handler)
    : impl_(std::make_shared<Impl>(loop, std::move(options), std::move(handler))) {}

HttpServer::~HttpServer() { close(); }

void HttpServer::close() {
  impl_->closed = true;
  for (const auto& acceptor : impl_->acceptors) {
    error_code ignored;
    acceptor->close(ignored);
  }
  for (const auto& connection : impl_->connections) connection->stream.close();
}

HttpServer::Counters HttpServer::counters() const {
  Counters out = impl_->counters;
  out.open = impl_->connections.size();
  return out;
}

uint16_t HttpServer::port() const {
  if (impl_->acceptors.empty()) return 0;
  error_code ec;
  return impl_->acceptors.front()->local_endpoint(ec).port();
}

Result<void> HttpServer::reload_tls() {
  if (!impl_->options.tls) return {};
  auto context = TlsContext::server(*impl_->options.tls);
  if (!context) return tl::unexpected(context.error());
  impl_->tls = std::move(*context);
  return {};
}

Result<void> HttpServer::reload_tls(TlsServerOptions options) {
  auto context = TlsContext::server(options);
  if (!context) return tl::unexpected(context.error());
  impl_->options.tls = std::move(options);
  impl_->tls = std::move(*context);
  return {};
}

Task<Result<void>> HttpServer::listen(std::string host, uint16_t port, BootTime deadline) {
  std::shared_ptr<Impl> impl = impl_;
  if (impl->options.tls && !impl->tls) {
    auto context = TlsContext::server(*impl->options.tls);
    if (!context) co_return tl::unexpected(context.error());
    impl->tls = std::move(*context);
  }
  std::vector<std::string> addresses{"::"};
  bool any = host.empty() || host == "*";
  if (!any) {
    auto resolved = co_await resolve(impl->loop, host, deadline);
    if (!resolved) co_return tl::unexpected(resolved.error());
    addresses = std::move(*resolved);
  }
  std::vector<std::shared_ptr<Tcp::acceptor>> opened;
  for (size_t i = 0; i < addresses.size(); ++i) {
    Tcp::endpoint endpoint(asio::ip::make_address(addresses[i]), port);
    auto acceptor = std::make_shared<Tcp::acceptor>(impl->loop.context());
    error_code ec;
    acceptor->open(endpoint.protocol(), ec);
    if (!ec) acceptor->set_option(Tcp::acceptor::reuse_address(true), ec);
    if (!ec && endpoint.address().is_v6()) acceptor->set_option(asio::ip::v6_only(!any), ec);
    if (!ec) acceptor->bind(endpoint, ec);
    if (!ec) acceptor->listen(impl->options.backlog, ec);
    if (ec && any && addresses[i] == "::" && ec != asio::error::address_in_use) {
      addresses.emplace_back("0.0.0.0");  // a host without IPv6
      continue;
    }
    if (ec) {
      co_return fail(Errc::unavailable, fmt::format("cannot listen on {} port {}: {}", addresses[i], port, ec.message()));
    }
    if (port == 0) port = acceptor->local_endpoint().port();
    opened.push_back(std::move(acceptor));
  }
  for (auto& acceptor : opened) {
    impl->acceptors.push_back(acceptor);
    impl->loop.spawn(Impl::accept_all(impl, acceptor), "http accept");
  }
  co_return Result<void>();
}

}  // namespace pgdba::net
