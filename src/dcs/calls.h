// Single requests to etcd over all endpoints, with the outcome classes of store.h. Shared by the store and its watches.
//
// A call has a connection of its own for as long as it lasts (kept ones are reused), so a slow one never stands in
// front of another. Reads move on from an endpoint that is silent; a write moves on only while nothing was sent.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/time.h"
#include "dcs/endpoints.h"
#include "dcs/etcd.h"
#include "net/loop.h"
#include "net/task.h"
#include "net/tls.h"

namespace pgdba::dcs {

class Calls {
 public:
  // Decodes the body of a 200 into whatever the caller wants, and gives the header for the guards.
  using Decode = std::function<Result<wire::etcd::Header>(const std::string& body)>;
  using Self = std::shared_ptr<Calls>;

  Calls(net::Loop& loop, EtcdOptions options, std::vector<net::Url> urls, std::shared_ptr<net::TlsContext> tls);

  // Both return when the request that was answered was sent. `quorum`: a member that is cut off cannot answer this.
  static Task<Result<BootTime>> read(Self self, std::string path, std::string body, Decode decode, bool quorum,
                                     BootTime deadline);
  static Task<Result<BootTime>> write(Self self, std::string path, std::string body, Decode decode, BootTime deadline);

  // For watches, which keep a connection for long: one that is connected to an endpoint that is known to live.
  // Everything that fails here is certainly not sent.
  static Task<Result<std::unique_ptr<net::HttpConnection>>> connect(Self self, size_t endpoint, BootTime limit);
  // Does this member reach a working quorum at this moment? A linearizable read of nothing.
  static Task<Result<void>> probe(Self self, size_t endpoint, BootTime limit);
  // A new token, when there is a user. `stale` is the token that was refused.
  static Task<Result<void>> authenticate(Self self, size_t endpoint, std::string stale, BootTime limit);
  net::Request request(std::string path, std::string body) const;

  net::Loop& loop;
  EtcdOptions options;
  Endpoints endpoints;
  std::string token;

 private:
  struct Outcome {
    Result<BootTime> result;
    bool answered = false;  // etcd itself said so
    std::string token;      // that was used
  };
  static Task<Outcome> exchange(Self self, size_t endpoint, std::unique_ptr<net::HttpConnection> connection,
                                net::Request request, Decode decode, bool idempotent, bool quorum,
                                BootTime limit);

  std::shared_ptr<net::TlsContext> tls_;
};

}  // namespace pgdba::dcs
