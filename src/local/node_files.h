// The files that `up` generates for each member, and the command lines of its processes. Pure text: what goes where is
// decided in cluster_file.h, the passwords come from secrets.h.
//
// patroni.yml is valid for Patroni as well. It and the pgpass files hold passwords: the caller writes them 0600.
#pragma once

#include <string>
#include <vector>

#include "local/cluster_file.h"
#include "local/secrets.h"
#include "local/supervised.h"

namespace pgdba::local {

std::string patroni_yaml(const ClusterFile& cluster, const ClusterFile::Node& node, const Secrets& secrets);

// libpq's password file: the superuser on every node and on the pooler's port.
std::string passfile_text(const ClusterFile& cluster, const Secrets& secrets);
// For `curl -K FILE`: the credentials of the REST API.
std::string curl_config_text(const Secrets& secrets);

Spec etcd_spec(const ClusterFile& cluster, const ClusterFile::Etcd& member);
Spec agent_spec(const ClusterFile& cluster, const ClusterFile::Node& node);

// Writes all files and folders except the specs: repeatable, nothing that exists is lost. Passwords that are missing
// are made.
Result<void> write_node_files(const ClusterFile& cluster);
// Hands these processes (nodes, etcd members) to the supervisor, which starts each as soon as its spec is there.
Result<void> write_specs(const ClusterFile& cluster, const std::vector<std::string>& names);

}  // namespace pgdba::local
