#include "net/http_client.h"

#include <fmt/format.h>

#include <array>
#include <map>
#include <optional>

#include "base/text.h"
#include "net/http_parse.h"
#include "net/stream.h"

namespace pgdba::net {
namespace {

std::string format_request(const Url& url, const Request& request, bool open_body) {
  Headers headers;
  bool v6 = url.host.find(':') != std::string::npos;
  if (!find_header(request.headers, "Host")) {
    headers.emplace_back("Host", fmt::format("{}{}{}:{}", v6 ? "[" : "", url.host, v6 ? "]" : "", url.port));
  }
  for (const auto& header : request.headers) headers.push_back(header);
  if (open_body) {
    // Go's HTTP/1 server reads on while it answers only when it knows that the connection ends with this request.
    headers.emplace_back("Connection", "close");
    headers.emplace_back("Transfer-Encoding", "chunked");
  } else if (!request.body.empty() || (request.method != "GET" && request.method != "HEAD")) {
    headers.emplace_back("Content-Length", std::to_string(request.body.size()));
  }
  return format_head(fmt::format("{} {} HTTP/1.1", request.method, request.target), headers);
}

std::string as_chunk(std::string_view data) { return fmt::format("{:x}\r\n{}\r\n", data.size(), data); }

}  // namespace

struct HttpConnection::Impl {
  Impl(Loop& l, Url u, std::shared_ptr<TlsContext> t, HttpLimits lim)
      : loop(l), url(std::move(u)), tls(std::move(t)), limits(lim), stream(l) {}

  Loop& loop;
  Url url;
  std::shared_ptr<TlsContext> tls;
  HttpLimits limits;
  Stream stream;
  bool busy = false;      // a request is under way: not usable for another one
  bool fresh = false;     // connected and not used yet: what waits to be read can only be TLS's own (session tickets)
  bool ended = false;     // the last answer was not keep-alive
  std::string buffer;     // received, not yet parsed
  std::optional<ResponseParser> parser;

  // Whoever leaves a request unfinished, by an error or by being cancelled, leaves the connection closed.
  struct Exchange {
    explicit Exchange(Impl& i) : impl(i) {
      impl.busy = true;
      impl.fresh = false;
    }
    ~Exchange() {
      if (!complete) impl.stream.close();
      impl.busy = false;
    }
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;
    Impl& impl;
    bool complete = false;
  };

  Task<Result<void>> send(const Request& request, bool open_body, BootTime deadline) {
    std::string bytes = format_request(url, request, open_body);
    bytes += open_body ? as_chunk(request.body) : request.body;
    auto sent = co_await stream.write_all(bytes, deadline);
    if (!sent) co_return fail(Errc::timeout, "the request may not have arrived: " + sent.error().text);
    co_return Result<void>();
  }

  Task<Result<void>> read_until_head_or_end(bool only_head, BootTime deadline) {
    std::array<char, 16384> chunk;
    while (true) {
      auto done = parser->feed(buffer);
      if (!done) co_return tl::unexpected(done.error());
      if (*done || (only_head && parser->header_done())) co_return Result<void>();
      auto size = co_await stream.read_some(chunk.data(), chunk.size(), deadline);
      if (!size) co_return fail(Errc::timeout, "no complete answer: " + size.error().text);
      if (*size == 0) {
        auto complete = parser->feed_end();
        if (complete && *complete) co_return Result<void>();
        co_return fail(Errc::timeout, "the connection was closed before the answer was complete");
      }
      buffer.append(chunk.data(), *size);
    }
  }
};

HttpConnection::HttpConnection(Loop& loop, Url url, std::shared_ptr<TlsContext> tls, HttpLimits limits)
    : impl_(std::make_unique<Impl>(loop, std::move(url), std::move(tls), limits)) {}
HttpConnection::~HttpConnection() = default;

const Url& HttpConnection::url() const { return impl_->url; }
void HttpConnection::close() { impl_->stream.close(); }
bool HttpConnection::usable() const {
  if (impl_->busy || impl_->ended) return false;
  return impl_->fresh ? impl_->stream.is_open() : impl_->stream.quiet();
}

Task<Result<void>> HttpConnection::connect(BootTime deadline) {
  Impl& impl = *impl_;
  impl.stream = Stream(impl.loop);
  impl.buffer.clear();
  impl.busy = false;
  impl.ended = false;
  if (impl.url.tls && !impl.tls) co_return fail(Errc::invalid, "no TLS settings for " + impl.url.origin());
  auto connected = co_await impl.stream.connect(impl.url.host, impl.url.port, deadline);
  if (connected && impl.url.tls) connected = co_await impl.stream.tls_client(impl.tls, impl.url.host, deadline);
  if (!connected) co_return tl::unexpected(std::move(connected.error()).context(impl.url.origin()));
  impl.fresh = true;
  co_return Result<void>();
}

Task<Result<Response>> HttpConnection::request(Request request, BootTime deadline) {
  Impl& impl = *impl_;
  if (!usable()) co_return fail(Errc::unavailable, "not connected to " + impl.url.origin());
  if (boot_now() >= deadline) co_return fail(Errc::unavailable, "the time was over before the request was sent");
  Impl::Exchange exchange(impl);
  impl.parser.emplace(impl.limits.header_bytes, impl.limits.body_bytes, request.method == "HEAD");
  auto sent = co_await impl.send(request, false, deadline);
  if (!sent) co_return tl::unexpected(std::move(sent.error()).context(impl.url.origin()));
  auto read = co_await impl.read_until_head_or_end(false, deadline);
  if (!read) co_return tl::unexpected(std::move(read.error()).context(impl.url.origin()));
  impl.ended = !impl.parser->keep_alive() || !impl.buffer.empty();
  exchange.complete = !impl.ended;
  co_return impl.parser->take();
}

Task<Result<Response>> HttpConnection::start_stream(Request request, bool more_body, BootTime deadline) {
  Impl& impl = *impl_;
  if (!usable()) co_return fail(Errc::unavailable, "not connected to " + impl.url.origin());
  if (boot_now() >= deadline) co_return fail(Errc::unavailable, "the time was over before the request was sent");
  Impl::Exchange exchange(impl);
  impl.parser.emplace(impl.limits.header_bytes, 0, false);
  auto sent = co_await impl.send(request, more_body, deadline);
  if (!sent) co_return tl::unexpected(std::move(sent.error()).context(impl.url.origin()));
  auto read = co_await impl.read_until_head_or_end(true, deadline);
  if (!read) co_return tl::unexpected(std::move(read.error()).context(impl.url.origin()));
  impl.ended = true;  // a stream's connection serves nothing else
  exchange.complete = true;
  co_return impl.parser->take();
}

Task<Result<std::string>> HttpConnection::next_chunk(BootTime deadline) {
  Impl& impl = *impl_;
  if (!impl.parser) co_return fail(Errc::bug, "no stream was started");
  std::array<char, 16384> chunk;
  while (true) {
    auto fed = impl.parser->feed(impl.buffer);
    if (!fed) {
      impl.stream.close();
      co_return fail(Errc::unavailable, fed.error().text);
    }
    std::string body = impl.parser->take_body();
    if (!body.empty() || *fed) co_return body;
    auto size = co_await impl.stream.read_some(chunk.data(), chunk.size(), deadline);
    if (!size) co_return tl::unexpected(size.error());
    if (*size == 0) {
      auto complete = impl.parser->feed_end();
      if (complete && *complete) co_return std::string();
      co_return fail(Errc::unavailable, "the stream broke off");
    }
    impl.buffer.append(chunk.data(), *size);
  }
}

Task<Result<void>> HttpConnection::send_more(std::string chunk, BootTime deadline) {
  std::string bytes = as_chunk(chunk);
  co_return co_await impl_->stream.write_all(bytes, deadline);
}

// ---- HttpClient

struct HttpClient::Impl {
  struct Kept {
    std::unique_ptr<HttpConnection> connection;
    BootTime since;
  };
  static constexpr size_t max_kept = 4;       // per origin
  static constexpr Duration max_idle = 10s;   // shorter than any server's patience

  Impl(Loop& l, std::shared_ptr<TlsContext> t, HttpLimits lim) : loop(l), tls(std::move(t)), limits(lim) {}
  Loop& loop;
  std::shared_ptr<TlsContext> tls;
  HttpLimits limits;
  std::map<std::string, std::vector<Kept>> kept;

  std::unique_ptr<HttpConnection> take(const std::string& origin) {
    auto& list = kept[origin];
    while (!list.empty()) {
      Kept last = std::move(list.back());
      list.pop_back();
      if (boot_now() - last.since < max_idle && last.connection->usable()) return std::move(last.connection);
    }
    return nullptr;
  }
  void give_back(const std::string& origin, std::unique_ptr<HttpConnection> connection) {
    auto& list = kept[origin];
    if (connection->usable() && list.size() < max_kept) list.push_back({std::move(connection), boot_now()});
  }
};

HttpClient::HttpClient(Loop& loop, std::shared_ptr<TlsContext> tls, HttpLimits limits)
    : impl_(std::make_shared<Impl>(loop, std::move(tls), limits)) {}
HttpClient::~HttpClient() = default;

Task<Result<Response>> HttpClient::request(Url url, Request request, BootTime deadline) {
  std::shared_ptr<Impl> impl = impl_;
  std::string origin = url.origin();
  request.target = url.target;
  bool harmless = request.method == "GET" || request.method == "HEAD" || request.method == "OPTIONS";
  if (auto connection = impl->take(origin)) {
    auto answer = co_await connection->request(request, deadline);
    if (answer) {
      impl->give_back(origin, std::move(connection));
      co_return answer;
    }
    // The server may have closed the kept connection just now; asking again harms nobody.
    if (!harmless || answer.error().code == Errc::invalid || boot_now() >= deadline) co_return answer;
  }
  auto connection = std::make_unique<HttpConnection>(impl->loop, url, impl->tls, impl->limits);
  if (auto connected = co_await connection->connect(deadline); !connected) co_return tl::unexpected(connected.error());
  auto answer = co_await connection->request(std::move(request), deadline);
  if (answer) impl->give_back(origin, std::move(connection));
  co_return answer;
}

}  // namespace pgdba::net
