#include "agent/rest/access.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "base/text.h"

namespace pgdba::agent::rest {

namespace {

struct Network {
  std::array<uint8_t, 16> bytes{};
  int family = 0;
  int bits = 0;
};

std::optional<Network> parse_network(std::string_view rule) {
  Network net;
  std::string text(rule);
  std::optional<int64_t> prefix;
  if (auto slash = text.find('/'); slash != std::string::npos) {
    prefix = parse_int(std::string_view(text).substr(slash + 1));
    if (!prefix) return std::nullopt;
    text.resize(slash);
  }
  if (inet_pton(AF_INET, text.c_str(), net.bytes.data()) == 1) {
    net.family = AF_INET;
  } else if (inet_pton(AF_INET6, text.c_str(), net.bytes.data()) == 1) {
    net.family = AF_INET6;
  } else {
    return std::nullopt;
  }
  const int most = net.family == AF_INET ? 32 : 128;
  if (prefix && (*prefix < 0 || *prefix > most)) return std::nullopt;
  net.bits = prefix ? static_cast<int>(*prefix) : most;
  return net;
}

net::Response text_response(int status, std::string text, bool ask_for_credentials = false) {
  net::Response response;
  response.status = status;
  response.headers.emplace_back("Content-Type", "text/html");
  if (ask_for_credentials) response.headers.emplace_back("WWW-Authenticate", "Basic realm=\"Patroni\"");
  response.body = std::move(text);
  return response;
}

bool on_allowlist(const net::PeerAddress& peer, const conf::RestapiSettings& settings, const model::ClusterView* members) {
  for (const std::string& rule : settings.allowlist) {
    if (address_matches(rule, peer.ip)) return true;
  }
  if (!settings.allowlist_include_members || members == nullptr) return false;
  return std::any_of(members->members.begin(), members->members.end(), [&](const auto& entry) {
    auto url = net::parse_url(entry.second.value.api_url);
    return url && address_matches(url->host, peer.ip);
  });
}

}  // namespace

bool is_address_rule(std::string_view rule) { return parse_network(rule).has_value(); }

bool address_matches(std::string_view rule, std::string_view ip) {
  auto net = parse_network(rule);
  auto address = parse_network(ip);
  if (!net || !address || net->family != address->family) return false;
  const auto whole = static_cast<size_t>(net->bits / 8);
  if (std::memcmp(net->bytes.data(), address->bytes.data(), whole) != 0) return false;
  if (net->bits % 8 == 0) return true;
  const auto mask = static_cast<uint8_t>(0xff << (8 - net->bits % 8));
  return (net->bytes[whole] & mask) == (address->bytes[whole] & mask);
}

std::optional<net::Response> refuse(const net::Request& request, const net::PeerAddress& peer, const conf::RestapiSettings& settings,
                                    const model::ClusterView* members) {
  if ((!settings.allowlist.empty() || settings.allowlist_include_members) && !on_allowlist(peer, settings, members)) {
    return text_response(403, "Access is denied");
  }
  if (peer.tls && settings.verify_client != conf::RestapiSettings::VerifyClient::none && !peer.certificate_verified) {
    return text_response(403, "client certificate required");
  }
  if (!settings.username.empty()) {
    if (!net::find_header(request.headers, "Authorization")) return text_response(401, "no auth header received", true);
    if (!net::basic_auth_matches(request, settings.username, settings.password)) return text_response(401, "not authenticated", true);
  }
  return std::nullopt;
}

}  // namespace pgdba::agent::rest
