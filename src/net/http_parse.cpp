#include "net/http_parse.h"

#include <fmt/format.h>

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>
#include <stdexcept>

namespace pgdba::net {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;

Headers copy_headers(const http::fields& fields) {
  Headers out;
  for (const auto& field : fields) out.emplace_back(std::string(field.name_string()), std::string(field.value()));
  return out;
}

// Feeds until the parser is done or needs bytes that are not here. Beast limits the header and the body, but neither the
// head of a chunk nor the fields after the last one: what it leaves unread is limited here, and a field that is too long
// for it (it throws) is an error like any other.
template <class Parser>
error_code feed_all(Parser& parser, std::string& buffer, size_t header_limit) try {
  error_code ec;
  size_t used = 0;
  while (!parser.is_done() && used < buffer.size()) {
    size_t n = parser.put(boost::asio::buffer(buffer.data() + used, buffer.size() - used), ec);
    used += n;
    if (ec == http::error::need_more) {
      ec = {};
      if (n == 0) break;
      continue;
    }
    if (ec || n == 0) break;
  }
  buffer.erase(0, used);
  if (!ec && !parser.is_done() && buffer.size() > header_limit) return http::error::header_limit;
  return ec;
} catch (const std::length_error&) {
  return http::error::header_limit;
}

void append_clean(std::string& out, std::string_view text) {
  for (char c : text) {
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) out += c;
  }
}

}  // namespace

struct RequestParser::Impl {
  http::request_parser<http::string_body> parser;
  size_t header_limit;
  int status = 400;
};

RequestParser::RequestParser(size_t header_limit, size_t body_limit) : impl_(std::make_unique<Impl>()) {
  impl_->header_limit = header_limit;
  impl_->parser.eager(true);
  impl_->parser.header_limit(static_cast<uint32_t>(header_limit));
  impl_->parser.body_limit(body_limit);
}
RequestParser::~RequestParser() = default;

Result<bool> RequestParser::feed(std::string& buffer) {
  error_code ec = feed_all(impl_->parser, buffer, impl_->header_limit);
  // Any other coding hides where the message ends: what follows would be taken for the next request.
  if (!ec && header_done() && !impl_->parser.chunked() && impl_->parser.get().count(http::field::transfer_encoding) > 0)
    return fail(Errc::invalid, "unknown Transfer-Encoding");
  if (!ec) return impl_->parser.is_done();
  if (ec == http::error::header_limit) impl_->status = 431;
  if (ec == http::error::body_limit) impl_->status = 413;
  return fail(Errc::invalid, ec.message());
}

int RequestParser::status() const { return impl_->status; }
bool RequestParser::header_done() const { return impl_->parser.is_header_done(); }
bool RequestParser::expects_continue() const {
  return header_done() && boost::beast::iequals(impl_->parser.get()[http::field::expect], "100-continue");
}
bool RequestParser::keep_alive() const { return header_done() && impl_->parser.get().keep_alive(); }
bool RequestParser::http10() const { return impl_->parser.get().version() < 11; }

Request RequestParser::head() const {
  const auto& message = impl_->parser.get();
  Request out;
  out.method = std::string(message.method_string());
  out.target = std::string(message.target());
  out.headers = copy_headers(message.base());
  return out;
}

Request RequestParser::take() {
  Request out = head();
  out.body = std::move(impl_->parser.get().body());
  return out;
}

struct ResponseParser::Impl {
  Impl(size_t header, size_t body, bool is_head) : header_limit(header), body_limit(body), head(is_head) { reset(); }
  size_t header_limit, body_limit;
  bool head;
  bool started = false;
  std::optional<http::response_parser<http::string_body>> parser;

  void reset() {
    parser.emplace();
    parser->eager(true);
    parser->header_limit(static_cast<uint32_t>(header_limit));
    if (body_limit != 0) {
      parser->body_limit(body_limit);
    } else {
      parser->body_limit(boost::none);
    }
    parser->skip(head);
  }
};

ResponseParser::ResponseParser(size_t header_limit, size_t body_limit, bool head)
    : impl_(std::make_unique<Impl>(header_limit, body_limit, head)) {}
ResponseParser::~ResponseParser() = default;

Result<bool> ResponseParser::feed(std::string& buffer) {
  impl_->started = impl_->started || !buffer.empty();
  while (true) {
    error_code ec = feed_all(*impl_->parser, buffer, impl_->header_limit);
    if (ec) return fail(Errc::invalid, "bad HTTP answer: " + ec.message());
    bool interim = impl_->parser->is_done() && impl_->parser->get().result_int() / 100 == 1;
    if (!interim) return impl_->parser->is_done();
    impl_->reset();
  }
}

Result<bool> ResponseParser::feed_end() {
  if (!impl_->parser->got_some()) return fail(Errc::unavailable, "the connection was closed without an answer");
  error_code ec;
  impl_->parser->put_eof(ec);
  if (ec) return fail(Errc::unavailable, "the connection was closed inside an answer");
  return impl_->parser->is_done();
}

bool ResponseParser::started() const { return impl_->started; }
bool ResponseParser::header_done() const { return impl_->parser->is_header_done(); }
bool ResponseParser::done() const { return impl_->parser->is_done(); }
bool ResponseParser::keep_alive() const { return impl_->parser->is_done() && impl_->parser->keep_alive(); }
std::string ResponseParser::take_body() { return std::exchange(impl_->parser->get().body(), {}); }

Response ResponseParser::take() {
  auto& message = impl_->parser->get();
  Response out;
  out.status = static_cast<int>(message.result_int());
  out.reason = std::string(message.reason());
  out.headers = copy_headers(message.base());
  out.body = take_body();
  return out;
}

std::string format_head(const std::string& start_line, const Headers& headers) {
  std::string out;
  append_clean(out, start_line);
  out += "\r\n";
  for (const auto& [name, value] : headers) {
    append_clean(out, name);
    out += ": ";
    append_clean(out, value);
    out += "\r\n";
  }
  return out + "\r\n";
}

}  // namespace pgdba::net
