// The files of the pooler that `up` starts beside the nodes, below <root>/pooler: pooler.ini, userlist.txt (both 0600).
//
// Applications connect to it: database NAME is NAME on the primary, whoever that is; NAME_ro is NAME on a replica. Names
// and not a second port, because one address with one password line is then enough, because 6433 is PostgreSQL's own with
// --port-offset 1000, and because PgBouncer's file knows one listen_port. The log is <root>/log/pooler.log, bounded by the
// supervisor as the others are.
#pragma once

#include <string>

#include "base/error.h"
#include "local/cluster_file.h"
#include "local/secrets.h"
#include "local/supervised.h"

namespace pgdba::local {

std::string pooler_ini_text(const ClusterFile& cluster);
// The role that looks up everybody else's password, and the superuser, who is to reach the console while no server answers.
std::string userlist_text(const Secrets& secrets);
Spec pooler_spec(const ClusterFile& cluster);

// Folder and both files; written again at each `up`. Nothing where a cluster has no pooler.
Result<void> write_pooler_files(const ClusterFile& cluster, const Secrets& secrets);

}  // namespace pgdba::local
