// `pgdba psql [--replica]`: becomes psql, connected to the leader or to a standby, with the password from the passfile.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/text.h"
#include "cli/commands.h"
#include "local/files.h"

namespace pgdba::cli {

namespace {

// The cluster's folder, and with it the name of its programs' folder, belongs to the cluster's user. Root runs only what
// nobody else can have put there.
bool may_run(const std::string& program) {
  if (::access(program.c_str(), X_OK) != 0) return false;
  if (::getuid() != 0) return true;
  char* real = ::realpath(program.c_str(), nullptr);
  if (real == nullptr) return false;
  std::string path = real;
  ::free(real);
  for (;; path.resize(path.rfind('/'))) {
    struct stat info {};
    if (::stat(path.empty() ? "/" : path.c_str(), &info) != 0 || info.st_uid != 0 || (info.st_mode & 022) != 0) return false;
    if (path.empty()) return true;
  }
}

}  // namespace

Done psql(Context& context, const PsqlOptions& options) {
  auto target = find_target(context, options.target);
  if (!target) return tl::unexpected(target.error());
  std::vector<std::string> hosts, ports;
  std::string program = "psql";
  if (target->local) {
    for (const auto& node : target->local->nodes) {
      hosts.emplace_back("127.0.0.1");
      ports.push_back(std::to_string(node.pg_port));
    }
    std::string own = target->local->bin_dir + "/psql";
    if (!target->in_containers() && may_run(own)) program = own;
    ::setenv("PGPASSFILE", target->local->passfile().c_str(), 1);
  } else if (!target->pg_host.empty()) {
    for (size_t i = 0; i < std::max<size_t>(1, target->members.size()); ++i) {
      hosts.push_back(target->pg_host);
      ports.push_back(std::to_string((target->pg_port ? target->pg_port : 5432) + i));
    }
  } else {
    return give_up(Exit::failed,
                   fmt::format("how PostgreSQL of {} is reached from here is not known",
                               target->name.empty() ? "this cluster" : target->name),
                   "pgdba cluster connect --replace … --pg-host HOST --pg-port PORT");
  }
  ::setenv("PGHOST", join(hosts, ",").c_str(), 1);
  ::setenv("PGPORT", join(ports, ",").c_str(), 1);
  ::setenv("PGTARGETSESSIONATTRS", options.replica ? "standby" : "read-write", 1);
  ::setenv("PGUSER", "postgres", 0);
  ::setenv("PGDATABASE", "postgres", 0);
  ::setenv("PGCONNECT_TIMEOUT", "3", 0);
  ::unsetenv("PGPASSWORD");
  ::unsetenv("PGHOSTADDR");
  ::unsetenv("PGSERVICE");
  std::vector<std::string> arguments = {program};
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  ::execvp(program.c_str(), argv.data());
  return give_up(Exit::failed, fmt::format("cannot run psql: {}", std::strerror(errno)),
                 "sudo apt-get install postgresql-client");
}

}  // namespace pgdba::cli
