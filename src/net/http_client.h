// HTTP client: keep-alive connections, a deadline per call, streaming answers.
//
// Errors say what the caller can do, as in dcs/store.h:
//   unavailable  nothing was sent: not connected, or the kept connection was found closed before use
//   timeout      the request was (perhaps partly) sent and no complete answer came, for whatever reason: whether it
//                took effect is unknown
//   invalid      the answer was no HTTP, or beyond a limit (it may have taken effect)
// Any status code is an answer, not an error. Nothing is sent twice (but see HttpClient), redirects are not followed.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "base/time.h"
#include "net/http.h"
#include "net/loop.h"
#include "net/task.h"
#include "net/tls.h"

namespace pgdba::net {

struct HttpLimits {
  size_t header_bytes = 64 * 1024;
  size_t body_bytes = 16 * 1024 * 1024;
};

// One connection to one origin, one request at a time. After an error it is closed; connect() again.
class HttpConnection {
 public:
  // `tls` is needed for https origins only. `url` counts without its target.
  HttpConnection(Loop& loop, Url url, std::shared_ptr<TlsContext> tls = {}, HttpLimits limits = {});
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  // Resolves, connects (each address in turn), TLS handshake. unavailable on any failure, also past the deadline.
  Task<Result<void>> connect(BootTime deadline);
  // Connected, and neither closed nor readable out of turn: looks at the socket, so a keep-alive connection that
  // the server has meanwhile closed says false.
  bool usable() const;
  Task<Result<Response>> request(Request request, BootTime deadline);

  // Streaming: sends the request; the answer's status and headers come back, with the part of its body that came
  // along. Then next_chunk() as often as wanted; each returns what arrived, empty at the body's end. timeout: nothing
  // came, the stream goes on and may be asked again. unavailable: it broke. With `more_body` the request body is sent chunked and stays open for
  // send_more() (etcd's watch takes further requests on it); the server must read while it answers.
  Task<Result<Response>> start_stream(Request request, bool more_body, BootTime deadline);
  Task<Result<std::string>> next_chunk(BootTime deadline);
  Task<Result<void>> send_more(std::string chunk, BootTime deadline);

  void close();  // at once; a pending wait ends with an error
  const Url& url() const;

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

// A few kept connections per origin. For requests to many peers: the agents' REST calls and the CLI. GET, HEAD and
// OPTIONS are asked once more on a new connection when a kept one fails.
class HttpClient {
 public:
  explicit HttpClient(Loop& loop, std::shared_ptr<TlsContext> tls = {}, HttpLimits limits = {});
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // `url` gives origin and target, `request.target` is overwritten by it. Host, Content-Length are added.
  Task<Result<Response>> request(Url url, Request request, BootTime deadline);

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace pgdba::net
