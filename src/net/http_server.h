// HTTP server that a hostile or slow client cannot use against anybody else on the loop.
//
// One task per connection. Everything a client may do slowly has a deadline, everything it may send has a limit, and
// when all places are taken the connection that has been without a complete request for longest is closed: a
// thousand idle sockets lock nobody out. The handler runs on the loop and must not block.
//
//   net::HttpServer server(loop, options, [&](const net::Request& r, const net::PeerAddress& p) { return api.answer(r, p); });
//   if (auto listening = co_await server.listen("127.0.0.1", 8008, deadline); !listening) …
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "net/http.h"
#include "net/loop.h"
#include "net/task.h"
#include "net/tls.h"

namespace pgdba::net {

struct PeerAddress {
  std::string ip;  // "127.0.0.1", "::1"; IPv4 behind a dual-stack socket is shown as IPv4
  uint16_t port = 0;
  bool tls = false;
  bool certificate_verified = false;  // it presented a client certificate that our CA signed
};

// The request outlives the handler's task.
using HttpHandler = std::function<Task<Response>(const Request&, const PeerAddress&)>;
// Asked once the header is there and the body is not: an answer refuses the request before its body takes memory.
using HttpDoorkeeper = std::function<std::optional<Response>(const Request& without_body, const PeerAddress&)>;

struct HttpServerOptions {
  size_t header_bytes = 16 * 1024;
  size_t body_bytes = 1024 * 1024;
  Duration header_deadline = 10s;  // from the first byte of a request (from accept for the first one) to its empty line
  Duration body_deadline = 10s;
  Duration idle_deadline = 30s;    // between requests
  Duration write_deadline = 10s;
  size_t max_connections = 512;
  int backlog = 1024;  // a flood must not make honest clients wait for a repeated SYN
  std::string server_name = "pgdba";  // Server header; empty: none
  Headers extra_headers;              // on every response that is not bare
  std::optional<TlsServerOptions> tls;
  size_t max_handshakes = 8;  // TLS costs milliseconds of the loop each; further clients wait for their turn
  HttpDoorkeeper doorkeeper;  // none: every body is read
};

class HttpServer {
 public:
  HttpServer(Loop& loop, HttpServerOptions options, HttpHandler handler);
  ~HttpServer();  // closes everything
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Resolves `host` ("", "*": all addresses, dual stack where possible), binds and accepts. Port 0 picks a free one.
  // May be called for several addresses. Errors: unavailable (address in use; the text names address and port),
  // invalid (TLS files), not_found (name).
  Task<Result<void>> listen(std::string host, uint16_t port, BootTime deadline);
  uint16_t port() const;  // of the first listen

  // Reads the certificate files again; new connections use them. On an error the old ones stay.
  Result<void> reload_tls();
  Result<void> reload_tls(TlsServerOptions options);

  void close();  // stops listening and drops all connections

  struct Counters {
    uint64_t accepted = 0, evicted = 0, rejected = 0, requests = 0;
    size_t open = 0;
  };
  Counters counters() const;

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace pgdba::net
