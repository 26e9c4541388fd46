// Private to conf/: addresses in the spellings that Patroni accepts.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conf/agent_settings.h"

namespace pgdba::conf {

struct Listen {
  std::vector<std::string> hosts;  // "" and "*" are "*"; without brackets
  uint16_t port = 0;
};
// "127.0.0.1,[::1]:5432". Without a port `default_port` counts; 0: then it must be there.
std::optional<Listen> parse_listen(std::string_view text, uint16_t default_port);

// "host:port"; the same, with exactly one host that is not a wildcard.
std::optional<Address> parse_address(std::string_view text, uint16_t default_port);

bool is_wildcard(std::string_view host);

// "http://user:password@host:2379/path", each part but the host optional.
struct EtcdUrl {
  std::string protocol;
  std::string username;
  Secret password;
  Address address;
};
std::optional<EtcdUrl> parse_etcd_url(std::string_view text);

}  // namespace pgdba::conf
