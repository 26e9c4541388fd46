// HTTP/1.1 as plain values: what the REST API, its clients and etcd's JSON gateway need, and nothing more.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/secret.h"

namespace pgdba::net {

using Headers = std::vector<std::pair<std::string, std::string>>;

// The first header of that name, compared without case; none when it is absent.
std::optional<std::string_view> find_header(const Headers& headers, std::string_view name);

struct Request {
  Request() = default;  // no aggregate: see task.h
  std::string method = "GET";
  std::string target = "/";  // path and query, as on the wire
  Headers headers;
  std::string body;

  // "/switchover?x=1" gives "/switchover" and "x=1".
  std::string_view path() const;
  std::string_view query() const;
};

struct Response {
  int status = 200;
  std::string reason;  // empty: the usual one
  Headers headers;     // Server, Date, Content-Length and Connection are added unless they are here
  std::string body;
  bool bare = false;   // status line and empty line, no header at all (Patroni's answer to HEAD, OPTIONS, /liveness)
  bool close = false;  // close the connection afterwards; a bare response always does
};

std::string_view default_reason(int status);

// Where a URL points. http and https only; `host` without brackets for IPv6; `target` is "/" when the URL has no path.
struct Url {
  Url() = default;
  bool tls = false;
  std::string host;
  uint16_t port = 80;
  std::string target = "/";

  std::string origin() const;  // "http://host:port", brackets where needed
};
Result<Url> parse_url(std::string_view text);

// "%2F" to "/"; "+" to " " when `plus_is_space`. Broken escapes stay as they are.
std::string percent_decode(std::string_view text, bool plus_is_space = false);
// "a=1&b" in order, decoded; a name without "=" has an empty value.
std::vector<std::pair<std::string, std::string>> parse_query(std::string_view query);

std::string basic_auth(std::string_view user, const Secret& password);  // value of the Authorization header
// Compares the header with the credentials in constant time.
bool basic_auth_matches(const Request& request, std::string_view user, const Secret& password);

}  // namespace pgdba::net
