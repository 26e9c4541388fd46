#include "net/http.h"

#include <fmt/format.h>

#include "base/base64.h"
#include "base/text.h"

namespace pgdba::net {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::optional<std::string_view> find_header(const Headers& headers, std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (iequals(key, name)) return value;
  }
  return std::nullopt;
}

std::string_view Request::path() const { return std::string_view(target).substr(0, target.find('?')); }

std::string_view Request::query() const {
  size_t mark = target.find('?');
  return mark == std::string::npos ? std::string_view() : std::string_view(target).substr(mark + 1);
}

std::string_view default_reason(int status) {
  switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Request Entity Too Large";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    default: return status < 400 ? "OK" : "Error";
  }
}

std::string Url::origin() const {
  bool v6 = host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}:{}", tls ? "https" : "http", v6 ? "[" : "", host, v6 ? "]" : "", port);
}

Result<Url> parse_url(std::string_view text) {
  auto bad = [&](std::string_view why) { return fail(Errc::invalid, fmt::format("bad URL \"{}\": {}", text, why)); };
  Url url;
  std::string_view rest = text;
  if (rest.starts_with("https://")) {
    url.tls = true;
    url.port = 443;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    return bad("it must begin with http:// or https://");
  }
  size_t slash = rest.find_first_of("/?#");
  std::string_view authority = rest.substr(0, slash);
  if (slash != std::string_view::npos) url.target = rest.substr(slash);
  if (url.target.empty() || url.target[0] != '/') url.target.insert(0, "/");
  if (authority.find('@') != std::string_view::npos) return bad("credentials do not belong into a URL");
  if (authority.starts_with('[')) {
    size_t end = authority.find(']');
    if (end == std::string_view::npos) return bad("no ] after the address");
    url.host = authority.substr(1, end - 1);
    authority.remove_prefix(end + 1);
  } else {
    size_t colon = authority.find(':');
    url.host = authority.substr(0, colon);
    authority.remove_prefix(colon == std::string_view::npos ? authority.size() : colon);
  }
  if (url.host.empty()) return bad("no host");
  for (char c : url.target) {
    if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7f) return bad("white space or control characters");
  }
  if (!authority.empty()) {
    if (authority[0] != ':') return bad("unexpected text after the host");
    auto port = parse_int(authority.substr(1));
    if (!port || *port < 1 || *port > 65535) return bad("the port must be 1 to 65535");
    url.port = static_cast<uint16_t>(*port);
  }
  return url;
}

std::string percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += plus_is_space && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> parse_query(std::string_view query) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const std::string& part : split(query, '&')) {
    if (part.empty()) continue;
    size_t equals = part.find('=');
    std::string_view name = std::string_view(part).substr(0, equals);
    std::string_view value = equals == std::string::npos ? "" : std::string_view(part).substr(equals + 1);
    out.emplace_back(percent_decode(name, true), percent_decode(value, true));
  }
  return out;
}

std::string basic_auth(std::string_view user, const Secret& password) {
  return "Basic " + base64_encode(fmt::format("{}:{}", user, password.reveal()));
}

bool basic_auth_matches(const Request& request, std::string_view user, const Secret& password) {
  std::string wanted = basic_auth(user, password);
  auto given = find_header(request.headers, "Authorization");
  if (!given || given->size() < 6 || !iequals(given->substr(0, 6), "Basic ")) return false;
  std::string_view a = std::string_view(wanted).substr(6), b = trim(given->substr(6));
  unsigned difference = a.size() == b.size() ? 0U : 1U;
  for (size_t i = 0; i < b.size(); ++i) difference |= static_cast<unsigned char>(b[i] ^ a[i % a.size()]);
  return difference == 0;
}

}  // namespace pgdba::net
