#include "pooler/address.h"

#include <arpa/inet.h>
#include <cstddef>
#include <cstring>
#include <netinet/in.h>
#include <sys/un.h>

namespace pgdba::pooler {

bool make_address(const std::string& text, int port, Address& address) {
  if (!text.empty() && (text[0] == '/' || text[0] == '@')) {
    auto* name = reinterpret_cast<sockaddr_un*>(&address.storage);
    const std::string path = text + "/.s.PGSQL." + std::to_string(port);
    if (path.size() >= sizeof name->sun_path) return false;
    name->sun_family = AF_UNIX;
    std::memcpy(name->sun_path, path.c_str(), path.size() + 1);
    if (text[0] == '@') name->sun_path[0] = 0;
    address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (text[0] == '@' ? 0 : 1));
    return true;
  }
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  if (::inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<uint16_t>(port));
    address.size = sizeof *v4;
    return true;
  }
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (::inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<uint16_t>(port));
    address.size = sizeof *v6;
    return true;
  }
  return false;
}

}  // namespace pgdba::pooler
