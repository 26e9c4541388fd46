// From --name, --patroni-url, or nothing, to the cluster that is meant and how it is reached.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/context.h"
#include "cli/rest.h"
#include "local/cluster_file.h"
#include "local/identity.h"

namespace pgdba::cli {

struct TargetOptions {
  std::string name;         // --name
  std::string patroni_url;  // --patroni-url URL[,URL…]
  std::string cacert;       // --cacert
};

struct Target {
  std::string name;
  std::string scope;              // empty: not known yet (--patroni-url)
  std::string system_identifier;  // empty: not known
  bool managed = false;
  std::optional<local::ClusterFile> local;  // managed
  std::vector<Registered::Member> members;  // expected ones with their endpoints; of --patroni-url without names
  std::string pg_host;
  uint16_t pg_port = 0;
  std::string cacert;
  Credentials credentials;
  std::shared_ptr<net::TlsContext> tls;

  // Of those members that have one.
  [[nodiscard]] std::vector<std::string> endpoints() const;
  [[nodiscard]] bool in_containers() const { return local && local->compose; }
  [[nodiscard]] std::string flag() const;  // " --name x" for a command to copy; empty when it can be left out
  bool named_explicitly = false;
};

Outcome<Target> find_target(const Context& context, const TargetOptions& options);
// A managed cluster, or a refusal that names the verb: "stop works on …".
Outcome<Target> find_managed(const Context& context, const TargetOptions& options, std::string_view verb);
// As the cluster's user, while the result lives.
Outcome<local::Identity> identity_of(const Target& target);
// Of the cluster in this folder. Containers are driven by whoever calls, so what is kept about them is the caller's.
Outcome<local::Identity> identity_at(const std::string& root);
// A cluster that `up` made, with its credentials; the caller acts as its user.
Target managed_target(const local::ClusterFile& cluster);

std::shared_ptr<net::TlsContext> tls_for(const std::vector<std::string>& urls, const std::string& cacert,
                                         std::string& problem);
// "host", "host:8008", "http://host:8008/patroni" as origins.
Outcome<std::vector<std::string>> parse_endpoints(const std::string& list);

}  // namespace pgdba::cli
