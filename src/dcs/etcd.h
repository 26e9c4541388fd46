// dcs::Store on etcd v3's JSON gateway.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/secret.h"
#include "base/time.h"
#include "dcs/store.h"
#include "net/loop.h"
#include "net/tls.h"

namespace pgdba::dcs {

struct EtcdOptions {
  std::vector<std::string> endpoints;  // "http://10.0.0.1:2379", https likewise; order is preference
  std::string user;                    // empty: no authentication
  Secret password;
  net::TlsClientOptions tls;           // for https endpoints

  // A member that accepts connections and stays silent (SIGSTOP) is left after this time, for reads and keepalives
  // in any case, for writes as long as nothing was sent.
  Duration hedge_after = 300ms;
  // A write goes to a member only after that member has proved within this time that it reaches a quorum; else it is
  // asked first (a linearizable read), which makes "it was frozen" a certain no instead of an unknown.
  Duration probe_age = 200ms;
  Duration connect_timeout = 300ms;    // per endpoint
  // A watch that is silent so long is asked for progress; silent as long again it is broken.
  Duration watch_silence = 350ms;
};

// invalid: an endpoint that is no URL, TLS files that do not load. Connects at the first call.
Result<std::unique_ptr<Store>> make_etcd_store(net::Loop& loop, EtcdOptions options);

}  // namespace pgdba::dcs
