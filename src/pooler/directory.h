// Who may come in and where they are led, by the configuration: the core's questions (pool/directory.h) answered for one
// worker.
//
// Keeps one pool::Database and pool::User per name for as long as the worker lives, so that pools may point at them; a
// reload changes what is in them. Users that auth_file does not know are looked up by auth_query, through a client of our
// own in the pool of auth_user; the answer is kept, for logins while no server can be asked.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "pool/core.h"
#include "pool/directory.h"
#include "pooler/config.h"
#include "pooler/leader_watch.h"
#include "pooler/secrets.h"
#include "pooler/worker.h"

namespace pgdba::pooler {

// What a client may do on the console.
enum class ConsoleRights : uint8_t { none, read, all };

// How long the newest change of the primary took, as this worker saw it.
struct LeaderChange {
  int64_t at = 0;       // microseconds since 1970; 0: there was none yet
  int64_t held_us = 0;  // no server could be lent meanwhile
};

class ClientDirectory : public pool::Directory {
 public:
  ClientDirectory(std::shared_ptr<const Loaded> loaded, std::string seed, SecretCache& secrets);
  ~ClientDirectory() override;
  void attach(Worker& worker);
  // The cluster has changed, or has been proved not to have.
  void apply(const ClusterNews& news);
  [[nodiscard]] const ClusterNews& cluster() const { return news_; }
  void reload(std::shared_ptr<const Loaded> loaded);
  [[nodiscard]] const pool::Settings& settings() const { return settings_; }
  [[nodiscard]] const Loaded& loaded() const { return *loaded_; }
  // Pools and databases of "*" that nobody has used for long go (pool_idle_timeout, autodb_idle_timeout).
  void drop_unused(pool::Moment now);
  // The pool of a server that another worker gives us; null: its database has left the file.
  pool::Pool* pool_of(const std::string& database, const std::string& user);
  // Whether a server of that worker still leads where its database does.
  [[nodiscard]] bool is_current(const pool::Server& server, const pool::Pool& pool) const;
  [[nodiscard]] const LeaderChange& last_change() const { return change_; }
  [[nodiscard]] ConsoleRights console_rights(const pool::Client& client) const;
  // The databases that are configured, and the ones that "*" has made.
  void each_database(const std::function<void(const pool::Database&, const conf::DatabaseEntry&)>& call) const;
  // The address of the next server for this entry; hosts take turns.
  Result<Target> target_of(const pool::Pool& pool);

  // What a client of our own gets (auth_query), and that it has ended.
  void own_output(pool::Client& own, std::string_view bytes);
  void own_closed(pool::Client& own);
  // Three times a second: questions that nobody answers are answered from what is known.
  void tick(pool::Moment now);

  // pool::Directory
  pool::Tls tls_policy(const pool::Client& client) override;
  std::string may_begin(const pool::Client& client) override;
  pool::Database* database(std::string_view name) override;
  const pool::User* settings_of(std::string_view user) override;
  pool::Method method_for(const pool::Client& client, std::string_view database, std::string_view user) override;
  Lookup secret_of(pool::Client& client, std::string_view database, std::string_view user) override;
  wire::ScramVerifier mock(std::string_view user) override;
  bool mostly_scram() override;
  std::string certificate_digest(const pool::Client& client) override;
  std::optional<wire::ScramKeys> derived_keys(std::string_view user, const Secret& password, const wire::ScramChallenge& challenge) override;
  void keep_derived(std::string_view user, const Secret& password, const pool::KnownKeys& keys) override;
  void remember(std::string_view user, const pool::KnownKeys& keys) override;
  void remember_password(std::string_view user, const Secret& password) override;
  std::vector<pool::Database*> filled() override;
  pool::Credentials credentials(const pool::Pool& pool) override;
  std::string may_use_console(const pool::Client& client, bool authenticated) override;
  std::string admit_client(const pool::Client& client, const pool::Database& database) override;
  std::string verify_query(const pool::Pool& pool) override;
  std::string judge(const pool::Server& server, const std::vector<std::optional<std::string>>& row) override;
  void forget_client(const pool::Client& client, const pool::Database& database) override;

 private:
  struct Question {
    uint64_t waiting = 0;  // the client's id
    std::string user;
    bool there = false;  // in the client's own database
    std::string answer;  // bytes so far
    pool::Moment asked_at = 0;
  };
  struct Entry {
    pool::Database database;
    const conf::DatabaseEntry* conf = nullptr;
    size_t next_host = 0;
    uint64_t changed_in = 0;     // the configuration since which it leads where it does
    std::vector<std::string> former_users;  // forced ones, before a reload: their clients have to log in anew
    pool::Moment used_at = 0;    // one of "*": looked up, or with a pool in use, when last seen
    pool::Moment failed_at = 0;  // with load_balance_hosts = disable: of the failure that made it go on to the next host
  };
  pool::Method by_certificate(const pool::Client& client, std::string_view map, std::string_view user);
  void reconnect_servers(const std::string& why);
  // The entry for a name: its own, else the longest "*_suffix" (ours: leads to the name without the suffix), else "*".
  struct Found {
    const conf::DatabaseEntry* conf = nullptr;
    std::string_view name;  // on the server, unless the entry has a dbname
  };
  [[nodiscard]] Found find_entry(std::string_view name) const;
  static pool::Database make_database(const Found& found, std::string_view requested);
  void settle_servers(const Entry& entry);
  // The members that may serve this route now. `slack`: by how much max_lag may be exceeded.
  [[nodiscard]] std::vector<const ClusterMember*> members_for(pool::Route route, const Entry& entry, int slack) const;
  void retire_readers();
  bool owns_process(const pool::Client& client) const;
  void note_change(const pool::RouteState& before, bool moved);
  Result<Target> cluster_target(const pool::Pool& pool, const Entry& entry);
  void answer_from_memory();
  void derive_stored(const std::string& last);
  void answered(pool::Client& own, bool ended, std::optional<Secret> secret, std::string_view problem, bool of_config = false);

  std::shared_ptr<const Loaded> loaded_;
  pool::Settings settings_;
  std::string seed_;
  SecretCache& secrets_;
  ClusterNews news_;
  size_t next_replica_ = 0;
  LeaderChange change_;
  int64_t closed_since_ = 0;  // when lending to the primary stopped; 0: it goes on
  Worker* worker_ = nullptr;
  bool scram_in_file_ = false;  // what most of auth_file's secrets are
  uint64_t derivation_ = 0;     // counts the reloads
  std::map<std::string, std::unique_ptr<Entry>, std::less<>> databases_;
  std::map<std::string, std::unique_ptr<pool::User>, std::less<>> users_;
  std::unordered_map<pool::Client*, Question> questions_;     // by our own client
  std::unordered_map<pool::Pool*, pool::Moment> empty_since_;
  pool::Moment swept_at_ = 0;
};

}  // namespace pgdba::pooler
