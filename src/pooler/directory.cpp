#include "pooler/directory.h"

#include <unistd.h>
#include <utility>

#include "conf/pooler_rules.h"
#include "net/log.h"
#include "pooler/auth_answer.h"
#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_md5.h"
#include "wire/pg_parse.h"

namespace pgdba::pooler {

namespace {

// So long a login waits for auth_query when an earlier answer is known: longer than a planned switchover mostly takes.
constexpr pool::Moment kKnownSecretAfter = 1'000'000;
constexpr std::string_view kConsole = "pgbouncer";  // its database, and the user that needs no password

}  // namespace

ClientDirectory::ClientDirectory(std::shared_ptr<const Loaded> loaded, std::string seed, SecretCache& secrets)
    : seed_(std::move(seed)), secrets_(secrets) {
  reload(std::move(loaded));
}

ClientDirectory::~ClientDirectory() = default;

void ClientDirectory::attach(Worker& worker) {
  worker_ = &worker;
  if (worker.number() == 0) derive_stored({});
}

void ClientDirectory::reload(std::shared_ptr<const Loaded> loaded) {
  const std::shared_ptr<const Loaded> before = std::exchange(loaded_, std::move(loaded));  // entries point into it
  if (before != nullptr && before->tls.servers_mark != loaded_->tls.servers_mark) reconnect_servers("TLS settings changed");
  settings_ = core_settings(loaded_->config.settings);
  size_t verifiers = 0;
  for (const auto& [name, secret] : loaded_->userlist.users) verifiers += secret.reveal().starts_with("SCRAM-SHA-256$") ? 1 : 0;
  scram_in_file_ = 2 * verifiers > loaded_->userlist.users.size();
  std::vector<const Entry*> moved;
  for (auto& [name, entry] : databases_) {
    const conf::DatabaseEntry* old = entry->conf;
    const Found found = find_entry(name);
    entry->conf = found.conf;
    if (found.conf != nullptr) entry->database = make_database(found, name);
    if (old != nullptr && entry->conf != nullptr && old->user && entry->conf->user && *old->user != *entry->conf->user) {
      entry->former_users.push_back(*old->user);
    }
    if (old != nullptr && (entry->conf == nullptr || conf::needs_reconnect(*old, *entry->conf))) {
      entry->changed_in = loaded_->number;
      moved.push_back(entry.get());
    }
  }
  for (auto& [name, user] : users_) {
    const conf::UserEntry* found = conf::find_user(loaded_->config, name);
    *user = found != nullptr ? core_user(*found) : pool::User{};
    user->name = name;
  }
  if (worker_ == nullptr) return;
  ++derivation_;
  if (worker_->number() == 0) derive_stored({});
  for (const Entry* entry : moved) settle_servers(*entry);
  for (const auto& pool : worker_->core().pools()) {
    if (pool->user_settings == nullptr) pool->user_settings = settings_of(pool->user);
    pool::PoolMode mode = pool->database->pool_mode.value_or(settings_.pool_mode);
    if (pool->user_settings != nullptr && pool->user_settings->pool_mode) mode = *pool->user_settings->pool_mode;
    // Whose statements have whose names depends on it, so it cannot change under clients.
    if (mode != pool->mode && pool->clients == 0) pool->mode = mode;
    else if (mode != pool->mode) {
      log::warning("pooler", "pool {}/{} keeps its pool_mode while it has clients", pool->database->name, pool->user);
    }
  }
}

// Its servers lead to where the entry led before.
void ClientDirectory::settle_servers(const Entry& entry) {
  pool::Core& core = worker_->core();
  std::vector<pool::Server*> servers;
  for (const auto& pool : core.pools()) {
    if (pool->database != &entry.database) continue;
    pool->failure.reset();
    for (pool::ServerList* list : {&pool->idle, &pool->lent, &pool->busy, &pool->arriving}) {
      for (pool::Server& server : *list) servers.push_back(&server);
    }
  }
  for (pool::Server* server : servers) core.retire(*server, "database configuration changed");
}

// Each server goes when it is free.
void ClientDirectory::reconnect_servers(const std::string& why) {
  if (worker_ == nullptr) return;
  for (const auto& pool : worker_->core().pools()) {
    for (pool::ServerList* list : {&pool->idle, &pool->lent, &pool->busy, &pool->arriving}) {
      for (pool::Server& server : *list) {
        server.close_when_free = true;
        server.close_reason = why;
      }
    }
  }
}

// On a unix socket nobody listens in.
pool::Tls ClientDirectory::tls_policy(const pool::Client& client) {
  const bool local = worker_->peer_of(client).size == 0;
  return loaded_->tls.clients != nullptr && !local ? pool::Tls::accept : pool::Tls::refuse;
}

ClientDirectory::Found ClientDirectory::find_entry(std::string_view name) const {
  if (const auto* own = conf::find_database(loaded_->config, name)) return {own, name};
  Found best;
  for (const conf::DatabaseEntry& entry : loaded_->config.databases) {
    if (entry.is_template() || !entry.name.starts_with('*')) continue;
    const std::string_view suffix = std::string_view(entry.name).substr(1);
    if (name.size() <= suffix.size() || !name.ends_with(suffix)) continue;
    if (best.conf == nullptr || best.conf->name.size() < entry.name.size()) best = {&entry, name.substr(0, name.size() - suffix.size())};
  }
  if (best.conf != nullptr) return best;
  return {conf::find_template(loaded_->config), name};
}

pool::Database ClientDirectory::make_database(const Found& found, std::string_view requested) {
  pool::Database made = core_database(*found.conf, std::string(requested));
  if (!found.conf->dbname) made.server_name = found.name;
  made.automatic = made.automatic || found.conf->name.starts_with('*');
  return made;
}

std::string ClientDirectory::may_begin(const pool::Client& client) {
  const bool demanded = loaded_->tls.clients != nullptr && loaded_->tls.clients->mode >= conf::SslMode::require;
  const bool local = worker_->peer_of(client).size == 0;
  return demanded && !local && worker_->tls_of(client) == nullptr ? "SSL required" : "";
}

// The handshake has checked the certificate; whose it is, is its common name.
pool::Method ClientDirectory::by_certificate(const pool::Client& client, std::string_view map, std::string_view user) {
  const TlsStream* tls = worker_->tls_of(client);
  std::string_view why;
  if (tls == nullptr) why = "TLS connection required";
  else if (!tls->peer_has_certificate()) why = "TLS client certificate required";
  else if (const std::string name = tls->common_name(); name.empty() || !conf::ident_allows(loaded_->ident, map, name, user)) {
    why = "TLS certificate name mismatch";
  }
  if (why.empty()) return pool::Method::external;
  worker_->refuse(client, why);
  return pool::Method::reject;
}

pool::Database* ClientDirectory::database(std::string_view name) {
  if (auto found = databases_.find(name); found != databases_.end()) {
    return found->second->conf == nullptr ? nullptr : &found->second->database;
  }
  const Found lookup = find_entry(name);
  if (lookup.conf == nullptr) return nullptr;
  auto entry = std::make_unique<Entry>();
  entry->conf = lookup.conf;
  entry->database = make_database(lookup, name);
  if (entry->database.automatic) {
    if (name.size() > conf::kMaxDatabaseName) return nullptr;
    // The console asks "*" where its users' passwords are; it is no database.
    if (name != kConsole) log::info("pooler", "registered new auto-database: db = {}", name);
  }
  entry->changed_in = loaded_->number;
  if (worker_ != nullptr) entry->used_at = worker_->core().now();
  pool::Database* made = &entry->database;
  databases_.emplace(std::string(name), std::move(entry));
  return made;
}

const pool::User* ClientDirectory::settings_of(std::string_view user) {
  if (auto found = users_.find(user); found != users_.end()) return found->second.get();
  const conf::UserEntry* conf = conf::find_user(loaded_->config, user);
  if (conf == nullptr) return nullptr;
  return users_.emplace(std::string(user), std::make_unique<pool::User>(core_user(*conf))).first->second.get();
}

pool::Method ClientDirectory::method_for(const pool::Client& client, std::string_view database, std::string_view user) {
  const conf::PoolerSettings& settings = loaded_->config.settings;
  // Who may run the process may also look after it.
  if (database == kConsole && owns_process(client)) return pool::Method::external;
  switch (settings.auth_type) {
    case conf::AuthType::any: return pool::Method::any;
    case conf::AuthType::trust: return pool::Method::trust;
    case conf::AuthType::plain: return pool::Method::password;
    case conf::AuthType::md5: return pool::Method::md5;
    case conf::AuthType::scram_sha_256: return pool::Method::scram;
    case conf::AuthType::cert: return by_certificate(client, {}, user);
    case conf::AuthType::hba: break;
  }
  const conf::HbaRule* rule = conf::match_hba(loaded_->hba, {.address = worker_->peer_of(client), .tls = worker_->tls_of(client) != nullptr,
                                                             .physical_replication = client.physical,
                                                             .database = database, .user = user});
  if (rule == nullptr) return pool::Method::none;
  switch (rule->method) {
    case conf::HbaMethod::trust: return pool::Method::trust;
    case conf::HbaMethod::md5: return pool::Method::md5;
    case conf::HbaMethod::password: return pool::Method::password;
    case conf::HbaMethod::scram_sha_256: return pool::Method::scram;
    case conf::HbaMethod::peer: {
      const std::string name = worker_->peer_user(client);
      return !name.empty() && conf::ident_allows(loaded_->ident, rule->map, name, user) ? pool::Method::external : pool::Method::reject;
    }
    case conf::HbaMethod::cert: return by_certificate(client, rule->map, user);
    case conf::HbaMethod::reject: break;
  }
  return pool::Method::reject;
}

pool::Directory::Lookup ClientDirectory::secret_of(pool::Client& client, std::string_view database, std::string_view user) {
  if (const Secret* known = loaded_->userlist.find(user)) return {.pending = false, .secret = *known};
  // A user that only [users] knows exists, and has no password.
  const auto known_by_entry = [&]() -> Lookup {
    if (conf::find_user(loaded_->config, user) == nullptr) return {};
    return {.pending = false, .secret = Secret(std::string())};
  };
  const Found entry = find_entry(database);
  if (entry.conf == nullptr) return known_by_entry();
  const conf::PoolRules rules = conf::pool_rules(loaded_->config, *entry.conf, database, user);
  if (rules.auth_user.empty()) return known_by_entry();
  // A database of "*" is made for who is in; before that only when it is the one to ask.
  const bool there = rules.auth_dbname.empty();
  pool::Database* asked = this->database(there ? database : rules.auth_dbname);
  if (asked == nullptr && there) return known_by_entry();
  if (asked == nullptr) {
    log::warning("pooler", "authentication database \"{}\" is not configured", rules.auth_dbname);
    worker_->core().close_client(client, {.text = "bouncer config error"});
    return {};
  }
  pool::Core& core = worker_->core();
  // While nobody can be asked, what was answered last lets its user in: who has logged in before need not wait.
  if (!core.is_open(asked->route)) {
    if (auto cached = secrets_.secret(user)) return {.secret = *cached};
  }
  pool::Client& own = core.open_own(core.pool_for(*asked, rules.auth_user, settings_of(rules.auth_user)));
  questions_[&own] = {.waiting = client.id, .user = std::string(user), .there = there, .answer = {}, .asked_at = core.now()};
  worker_->remember(client);
  std::string request;
  const wire::Value value = user;
  wire::append_parse(request, "", rules.auth_query, {});
  wire::append_bind(request, "", "", {&value, 1});
  wire::append_describe(request, 'P', "");
  wire::append_execute(request, "");
  wire::append_sync(request);
  // Not from within the core's own call: the answer may be there at once.
  worker_->later(own, std::move(request));
  return {.pending = true, .secret = {}};
}

void ClientDirectory::own_output(pool::Client& own, std::string_view bytes) {
  auto found = questions_.find(&own);
  if (found == questions_.end()) return;
  std::string& answer = found->second.answer;
  answer.append(bytes);
  AuthAnswer read = read_auth_answer(answer);
  if (read.ready) answered(own, false, std::move(read.secret), read.problem, read.of_config);
}

void ClientDirectory::own_closed(pool::Client& own) { answered(own, true, std::nullopt, "no server could be asked"); }

void ClientDirectory::answered(pool::Client& own, bool ended, std::optional<Secret> secret, std::string_view problem, bool of_config) {
  auto found = questions_.find(&own);
  if (found == questions_.end()) return;
  Question question = std::move(found->second);
  questions_.erase(found);
  if (!problem.empty()) {
    log::warning("pooler", "auth_query for {}: {}", question.user, problem);
    secret = secrets_.secret(question.user);
    // There is no such database, which is said after the login only: to the client it looks like a wrong password.
    const auto& failure = own.pool->failure;
    const bool nowhere = question.there && failure && failure->sqlstate == "3D000";
    if (!secret && !nowhere) {  // says nothing about the user, so it may be said
      worker_->finish_own(ended ? nullptr : &own, question.waiting, std::nullopt,
                          of_config ? "bouncer config error" : "no server could be asked for the password (auth_query)");
      return;
    }
  } else if (secret) {
    secrets_.remember(question.user, *secret);
  } else {
    secrets_.forget(question.user);
  }
  worker_->finish_own(ended ? nullptr : &own, question.waiting, std::move(secret));
}

wire::ScramVerifier ClientDirectory::mock(std::string_view user) {
  const int iterations = loaded_->config.settings.scram_iterations;
  return wire::mock_verifier(user, seed_, iterations > 0 ? static_cast<uint32_t>(iterations) : wire::kDefaultScramIterations);
}

// As most of those are stored whom auth_query has found, else as most in auth_file; PostgreSQL's own default where nothing
// is known yet.
bool ClientDirectory::mostly_scram() {
  if (auto queried = secrets_.mostly_scram()) return *queried;
  const bool asks = !loaded_->config.settings.auth_user.empty();
  return asks || scram_in_file_;
}

std::optional<wire::ScramKeys> ClientDirectory::derived_keys(std::string_view user, const Secret& password, const wire::ScramChallenge& challenge) {
  return secrets_.derived(user, password, challenge);
}

void ClientDirectory::keep_derived(std::string_view user, const Secret& password, const pool::KnownKeys& keys) {
  secrets_.keep_derived(user, password, keys);
}

// Of passwords that auth_file has in clear text, so that their users need not wait for it at login: one after the other,
// from the one after `last`.
void ClientDirectory::derive_stored(const std::string& last) {
  const conf::AuthType type = loaded_->config.settings.auth_type;
  if (type != conf::AuthType::scram_sha_256 && type != conf::AuthType::hba) return;
  const auto& users = loaded_->userlist.users;
  for (auto next = last.empty() ? users.begin() : users.upper_bound(last); next != users.end(); ++next) {
    const auto& [user, secret] = *next;
    const std::string& stored = secret.reveal();
    if (stored.empty() || stored.starts_with("SCRAM-SHA-256$") || wire::is_md5_secret(stored)) continue;
    const wire::ScramChallenge challenge = mock(user).challenge;
    if (secrets_.derived(user, secret, challenge)) continue;
    auto keys = std::make_shared<Result<wire::ScramKeys>>(fail(Errc::cancelled, "not computed"));
    worker_->help([keys, secret = secret, challenge] { *keys = wire::scram_keys(secret.reveal(), challenge); },
                  [this, keys, user = user, secret = secret, challenge, run = derivation_] {
                    if (*keys) secrets_.keep_derived(user, secret, {challenge, **keys});
                    if (run == derivation_) derive_stored(user);  // else a reload has begun anew
                  });
    return;
  }
}

std::string ClientDirectory::certificate_digest(const pool::Client& client) {
  const TlsStream* tls = worker_->tls_of(client);
  return tls == nullptr ? std::string() : tls->context()->digest;
}

void ClientDirectory::remember(std::string_view user, const pool::KnownKeys& keys) {
  secrets_.remember(user, keys);
}

void ClientDirectory::remember_password(std::string_view user, const Secret& password) { secrets_.remember_password(user, password); }

std::vector<pool::Database*> ClientDirectory::filled() {
  std::vector<pool::Database*> found;
  for (const conf::DatabaseEntry& entry : loaded_->config.databases) {
    const bool wanted = entry.user && !entry.is_template() && entry.min_pool_size.value_or(settings_.min_pool_size) > 0;
    if (pool::Database* made = wanted ? database(entry.name) : nullptr) found.push_back(made);
  }
  return found;
}

void ClientDirectory::tick(pool::Moment now) {
  std::vector<pool::Client*> late;
  for (const auto& [own, question] : questions_) {
    if (now - question.asked_at > kKnownSecretAfter && secrets_.secret(question.user)) late.push_back(own);
  }
  for (pool::Client* own : late) answered(*own, false, std::nullopt, "no answer yet; an earlier one is used");
}

pool::Credentials ClientDirectory::credentials(const pool::Pool& pool) {
  pool::Credentials shown;
  const pool::Database& database = *pool.database;
  if (database.forced_user && *database.forced_user == pool.user && !database.forced_password.empty()) {
    shown.secret = database.forced_password;
  } else if (const Secret* known = loaded_->userlist.find(pool.user)) {
    shown.secret = *known;
  } else if (auto queried = secrets_.secret(pool.user)) {
    shown.secret = *queried;
  }
  if (shown.secret.reveal().starts_with("SCRAM-SHA-256$")) shown.secret = Secret();
  if (shown.secret.empty() || wire::is_md5_secret(shown.secret.reveal())) {
    if (auto typed = secrets_.password(pool.user)) shown.secret = *typed;  // can do what a hash cannot
  }
  shown.keys = secrets_.keys(pool.user);
  return shown;
}

std::string ClientDirectory::may_use_console(const pool::Client& client, bool) {
  return console_rights(client) == ConsoleRights::none ? "not allowed" : "";
}

// Over the unix socket, as the user of this process.
bool ClientDirectory::owns_process(const pool::Client& client) const {
  if (client.user_name != kConsole) return false;
  const auto peer = worker_->peer_process(client);
  return peer && peer->uid == ::geteuid();
}

ConsoleRights ClientDirectory::console_rights(const pool::Client& client) const {
  const conf::PoolerSettings& settings = loaded_->config.settings;
  if (settings.admin_users.contains(client.user_name) || owns_process(client)) return ConsoleRights::all;
  return settings.stats_users.contains(client.user_name) ? ConsoleRights::read : ConsoleRights::none;
}

void ClientDirectory::each_database(const std::function<void(const pool::Database&, const conf::DatabaseEntry&)>& call) const {
  for (const conf::DatabaseEntry& entry : loaded_->config.databases) {
    if (!entry.is_template()) call(core_database(entry, entry.name), entry);
  }
  for (const auto& [name, entry] : databases_) {
    if (entry->conf != nullptr && entry->conf->is_template()) call(entry->database, *entry->conf);
  }
}

std::string ClientDirectory::admit_client(const pool::Client& client, const pool::Database& database) {
  return worker_->admit(client, database);
}

void ClientDirectory::forget_client(const pool::Client& client, const pool::Database& database) {
  worker_->forget(client, database);
}

// Logins whose question was on its way when the primary went away: who is known need not wait for the next one.
void ClientDirectory::answer_from_memory() {
  std::vector<pool::Client*> known;
  for (const auto& [own, question] : questions_) {
    if (own->pool->database->route == pool::Route::primary && secrets_.secret(question.user)) known.push_back(own);
  }
  for (pool::Client* own : known) answered(*own, false, std::nullopt, "nobody leads just now");
}

}  // namespace pgdba::pooler
