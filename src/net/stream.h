// A byte stream over TCP, with or without TLS, each of whose waits has a deadline. Internal to net/.
//
// One reader and one writer at a time. A read that times out loses nothing and may be repeated; a write that fails in
// any way leaves the stream closed.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "net/loop.h"
#include "net/task.h"
#include "net/tls.h"

namespace pgdba::net {

class Stream {
 public:
  explicit Stream(Loop& loop);
  Stream(Loop& loop, int accepted_fd, bool ipv6);
  ~Stream();
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) noexcept;

  // Every address of the name in turn. unavailable whatever went wrong, for nothing was sent.
  Task<Result<void>> connect(std::string host, uint16_t port, BootTime deadline);
  // Both likewise give unavailable.
  Task<Result<void>> tls_client(std::shared_ptr<TlsContext> context, std::string host, BootTime deadline);
  Task<Result<void>> tls_server(std::shared_ptr<TlsContext> context, BootTime deadline);

  Task<bool> readable(BootTime deadline);  // bytes or the end have come; false: neither did, or it is broken
  // At least one byte; 0 at the end. timeout: nothing came. unavailable: broken (closed now).
  Task<Result<size_t>> read_some(char* data, size_t size, BootTime deadline);
  Task<Result<void>> write_all(std::string_view data, BootTime deadline);

  // Ends our side politely (close_notify, FIN) and reads the other side away until it ends, too, so that it gets what
  // we wrote last even when it is still sending. Then closed.
  Task<void> finish(BootTime deadline);

  bool is_open() const;
  bool quiet() const;  // open, and neither bytes nor the end are waiting to be read
  bool peer_certificate_verified() const;
  void close();

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace pgdba::net
