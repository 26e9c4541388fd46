#include "conf/address.h"

#include <fmt/format.h>

#include "base/text.h"

namespace pgdba::conf {

namespace {

constexpr size_t kMaxHost = 255;

std::optional<uint16_t> parse_port(std::string_view text) {
  auto port = parse_int(trim(text));
  if (!port || *port < 1 || *port > 65535) return std::nullopt;
  return static_cast<uint16_t>(*port);
}

// A name or address; nothing that could end up as two arguments or two settings.
bool is_host(std::string_view host) {
  return !host.empty() && host.size() <= kMaxHost &&
         host.find_first_of(" \t\r\n\"'/\\@?#,[]") == std::string_view::npos;
}

// What is in brackets, or the text itself; nullopt when the brackets do not match.
std::optional<std::string_view> without_brackets(std::string_view host) {
  if (host.empty() || (host.front() != '[' && host.back() != ']')) return host;
  if (host.size() < 3 || host.front() != '[' || host.back() != ']') return std::nullopt;
  return host.substr(1, host.size() - 2);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string percent_decode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

std::string format_address(const Address& address) {
  bool brackets = address.host.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", brackets ? "[" : "", address.host, brackets ? "]" : "", address.port);
}

bool is_wildcard(std::string_view host) {
  return host.empty() || host == "*" || host == "0.0.0.0" || host == "::";
}

std::optional<Listen> parse_listen(std::string_view text, uint16_t default_port) {
  text = trim(text);
  if (text.size() > 4096) return std::nullopt;
  Listen out{{}, default_port};
  // The last colon begins the port, unless it is inside brackets; "::1" alone is an address only in brackets.
  auto colon = text.rfind(':');
  if (colon != std::string_view::npos && text.find(']', colon) == std::string_view::npos) {
    auto port = parse_port(text.substr(colon + 1));
    if (!port) return std::nullopt;
    out.port = *port;
    text = text.substr(0, colon);
  }
  if (out.port == 0) return std::nullopt;
  if (trim(text).empty()) return Listen{{"*"}, out.port};
  for (const std::string& part : split(text, ',')) {
    auto host = without_brackets(trim(part));
    if (!host) return std::nullopt;
    if (host->empty() || *host == "*") {
      out.hosts.emplace_back("*");
    } else if (is_host(*host)) {
      out.hosts.emplace_back(*host);
    } else {
      return std::nullopt;
    }
  }
  return out;
}

std::optional<Address> parse_address(std::string_view text, uint16_t default_port) {
  auto listen = parse_listen(text, default_port);
  if (!listen || listen->hosts.size() != 1 || is_wildcard(listen->hosts[0])) return std::nullopt;
  return Address{listen->hosts[0], listen->port};
}

std::optional<EtcdUrl> parse_etcd_url(std::string_view text) {
  EtcdUrl out;
  text = trim(text);
  if (auto scheme = text.find("://"); scheme != std::string_view::npos) {
    out.protocol = lower(text.substr(0, scheme));
    if (out.protocol != "http" && out.protocol != "https") return std::nullopt;
    text.remove_prefix(scheme + 3);
  }
  text = text.substr(0, text.find_first_of("/?#"));
  if (auto at = text.rfind('@'); at != std::string_view::npos) {
    std::string_view login = text.substr(0, at);
    auto colon = login.find(':');
    out.username = percent_decode(login.substr(0, colon));
    if (colon != std::string_view::npos) out.password = Secret(percent_decode(login.substr(colon + 1)));
    text.remove_prefix(at + 1);
  }
  auto address = parse_address(text, 2379);
  if (!address) return std::nullopt;
  out.address = *address;
  return out;
}

}  // namespace pgdba::conf
