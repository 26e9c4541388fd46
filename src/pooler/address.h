// Where a socket connects to.
#pragma once

#include <string>
#include <sys/socket.h>

namespace pgdba::pooler {

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

// `text` is an IP address or the folder of a unix socket ("@name": abstract). False: it is neither, or too long.
bool make_address(const std::string& text, int port, Address& address);

}  // namespace pgdba::pooler
