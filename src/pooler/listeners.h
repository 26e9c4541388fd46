// The sockets that clients come in by, made before the process gives up root, and the options of TCP connections.
//
// Invariant: when made() succeeds there is at least one; a listen_addr that cannot be had is a warning while another one
// can, the unix socket is not. The unix socket's file is this object's, and goes with it.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "conf/pooler_settings.h"

namespace pgdba::pooler {

// Keepalive, buffers, tcp_user_timeout: of a client or a server. Not for unix sockets.
void set_tcp_options(int fd, const conf::PoolerSettings& settings);

class Listeners {
 public:
  struct Socket {
    int fd = -1;
    std::string text;   // for people
    bool tcp = false;
    size_t worker = 0;  // which one accepts on it
    bool shared = false;  // that worker gives clients to all in turn; else there is one such socket per worker
  };

  Listeners() = default;
  ~Listeners();  // removes the file of the unix socket; the descriptors belong to the workers
  Listeners(const Listeners&) = delete;
  Listeners& operator=(const Listeners&) = delete;

  // All that the settings ask for, or what a service manager has opened for us (LISTEN_FDS), which then is all.
  Result<void> open(const conf::PoolerSettings& settings, std::vector<std::string>& warnings);
  void set_defer_accept(bool on);  // while they are open
  // The file of the unix socket, so that it can be given to another user; empty: none.
  [[nodiscard]] const std::string& unix_path() const { return unix_path_; }
  [[nodiscard]] const std::vector<Socket>& sockets() const { return sockets_; }

 private:
  Result<void> open_tcp(const conf::PoolerSettings& settings, std::vector<std::string>& warnings);
  Result<void> open_unix(const conf::PoolerSettings& settings);
  bool inherit(size_t count);

  std::vector<Socket> sockets_;
  std::string unix_path_;
};

}  // namespace pgdba::pooler
