#include "conf/pooler_checks.h"

#include <fmt/format.h>

#include <utility>

#include "conf/pooler_rules.h"
#include "conf/pooler_values.h"

namespace pgdba::conf {

std::vector<Contradiction> check_pooler(const PoolerConfig& config) {
  const PoolerSettings& settings = config.settings;
  std::vector<Contradiction> out;
  const bool cluster = !settings.cluster_dcs.addresses.empty() || !settings.cluster_api.addresses.empty();
  if (settings.auth_type == AuthType::any) {
    for (const DatabaseEntry& entry : config.databases) {
      if (entry.user) continue;
      out.push_back({"auth_type",
                     fmt::format("auth_type=any needs a user= in each entry of [databases], and \"{}\" has none: with it "
                                 "nobody's name is known",
                                 shown(entry.name))});
      break;
    }
  }
  if (settings.auth_type == AuthType::hba && settings.auth_hba_file.empty()) {
    out.push_back({"auth_type", "auth_type=hba needs auth_hba_file"});
  }
  if (!settings.auth_dbname.empty() && find_database(config, settings.auth_dbname) == nullptr &&
      find_template(config) == nullptr) {
    out.push_back({"auth_dbname",
                   fmt::format("authentication database \"{}\" is not configured: who is not in auth_file cannot log in",
                               shown(settings.auth_dbname)),
                   false});
  }
  bool said = false;  // one sentence of a kind is enough
  for (const DatabaseEntry& entry : config.databases) {
    if (entry.auth_dbname && find_database(config, *entry.auth_dbname) == nullptr && find_template(config) == nullptr) {
      out.push_back({"",
                     fmt::format("authentication database \"{}\" of database \"{}\" is not configured",
                                 shown(*entry.auth_dbname), shown(entry.name)),
                     false});
    }
    if (entry.role && !cluster && !std::exchange(said, true)) {
      out.push_back({"",
                     fmt::format("database \"{}\" has a role=, but neither cluster_dcs nor cluster_api says where the "
                                 "cluster is",
                                 shown(entry.name))});
    }
    if (entry.role && !entry.hosts.empty()) {
      out.push_back({"",
                     fmt::format("database \"{}\" has a role= and a host=: the role finds the host, host= is not used",
                                 shown(entry.name)),
                     false});
    }
  }
  if (!settings.cluster_dcs.addresses.empty() && settings.cluster_scope.empty()) {
    out.push_back({"cluster_dcs", "cluster_dcs needs cluster_scope, the name of the cluster"});
  }
  if (settings.cluster_dcs.addresses.empty() && !settings.cluster_scope.empty()) {
    out.push_back({"cluster_scope", "cluster_scope has no effect without cluster_dcs", false});
  }
  if (!settings.cluster_dcs.addresses.empty() && !settings.cluster_api.addresses.empty()) {
    out.push_back({"cluster_api", "cluster_dcs and cluster_api are two ways to find the same cluster: give one"});
  }
  if (!settings.cluster_dcs_ca_file.empty() && !settings.cluster_dcs.tls) {
    out.push_back({"cluster_dcs_ca_file", "cluster_dcs_ca_file has no effect: cluster_dcs is not etcds://", false});
  }
  if (settings.client_tls_sslmode != SslMode::disable &&
      (settings.client_tls_key_file.empty() || settings.client_tls_cert_file.empty())) {
    out.push_back({"client_tls_sslmode", "client_tls_sslmode needs client_tls_key_file and client_tls_cert_file"});
  }
  return out;
}

std::string refuse_reload(const PoolerConfig& running, const PoolerConfig& fresh) {
  for (const DatabaseEntry& before : running.databases) {
    if (!before.user) continue;
    const DatabaseEntry* after = before.is_template() ? find_template(fresh) : find_database(fresh, before.name);
    if (after != nullptr && !after->user) {
      return fmt::format("the user= of database \"{}\" cannot be taken away while running: its clients are there under "
                         "that name",
                         shown(before.name));
    }
  }
  return "";
}

}  // namespace pgdba::conf
