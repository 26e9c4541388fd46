// The optional HTTP listener (http_listen): GET /metrics and GET /health, on a thread of its own.
//
// Invariant: whatever happens here, no worker waits for it; an answer that the workers do not give in time is 503.
#pragma once

#include <memory>

#include "base/error.h"
#include "conf/host_port.h"
#include "pooler/console/console.h"

namespace pgdba::pooler {

class HttpEndpoint {
 public:
  explicit HttpEndpoint(Console& console);
  ~HttpEndpoint();  // stops it
  HttpEndpoint(const HttpEndpoint&) = delete;
  HttpEndpoint& operator=(const HttpEndpoint&) = delete;

  Result<void> start(const conf::Address& address);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pgdba::pooler
