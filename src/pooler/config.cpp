#include "pooler/config.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace pgdba::pooler {

namespace {

constexpr size_t kMaxFile = 64 << 20;

Result<std::string> read_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail(Errc::not_found, "could not open \"" + path + "\": " + std::strerror(errno));
  std::string text;
  char buffer[65536];
  for (;;) {
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 || text.size() > kMaxFile) {
      const std::string why = got < 0 ? std::strerror(errno) : "it is too large";
      ::close(fd);
      return fail(Errc::invalid, "could not read \"" + path + "\": " + why);
    }
    if (got == 0) break;
    text.append(buffer, static_cast<size_t>(got));
  }
  ::close(fd);
  return text;
}

pool::PoolMode core_mode(conf::PoolMode mode) {
  switch (mode) {
    case conf::PoolMode::session: return pool::PoolMode::session;
    case conf::PoolMode::transaction: return pool::PoolMode::transaction;
    case conf::PoolMode::statement: break;
  }
  return pool::PoolMode::statement;
}

std::optional<pool::PoolMode> core_mode(const std::optional<conf::PoolMode>& mode) {
  if (!mode) return std::nullopt;
  return core_mode(*mode);
}

}  // namespace

tl::expected<Loaded, LoadFailure> load_config(const std::string& path) {
  auto text = read_file(path);
  if (!text) return tl::unexpected(LoadFailure{{text.error().text}});
  conf::PoolerReading reading = conf::read_pooler_ini(path, *text, read_file);
  Loaded loaded;
  std::vector<std::string> errors = std::move(reading.errors);
  loaded.config = std::move(reading.config);
  loaded.warnings = loaded.config.warnings;
  for (std::string& error : load_auth_files(loaded)) errors.push_back(std::move(error));
  if (auto tls = load_tls(loaded.config.settings)) loaded.tls = std::move(*tls);
  else errors.push_back(tls.error().text);
  if (!errors.empty()) return tl::unexpected(LoadFailure{std::move(errors)});
  return loaded;
}

FileMark mark_of(const std::string& path) {
  struct stat there{};
  if (path.empty() || ::stat(path.c_str(), &there) != 0) return {};
  return {there.st_mtim.tv_sec, there.st_mtim.tv_nsec, there.st_size, there.st_ino};
}

std::vector<std::string> load_userlist(Loaded& loaded) {
  const std::string& path = loaded.config.settings.auth_file;
  loaded.auth_mark = mark_of(path);
  loaded.userlist = {};
  if (path.empty()) return {};
  auto users = read_file(path);
  if (!users) return {"auth_file: " + users.error().text};
  loaded.userlist = conf::parse_userlist(path, *users);
  loaded.warnings.insert(loaded.warnings.end(), loaded.userlist.errors.begin(), loaded.userlist.errors.end());
  return {};
}

std::vector<std::string> load_auth_files(Loaded& loaded) {
  const conf::PoolerSettings& settings = loaded.config.settings;
  std::vector<std::string> errors = load_userlist(loaded);
  if (settings.auth_type == conf::AuthType::hba && !settings.auth_hba_file.empty()) {
    if (auto rules = read_file(settings.auth_hba_file)) {
      loaded.hba = conf::parse_hba(settings.auth_hba_file, *rules, read_file);
      loaded.warnings.insert(loaded.warnings.end(), loaded.hba.problems.begin(), loaded.hba.problems.end());
    } else {
      errors.push_back("auth_hba_file: " + rules.error().text);
    }
  }
  if (!settings.auth_ident_file.empty()) {
    if (auto maps = read_file(settings.auth_ident_file)) {
      loaded.ident = conf::parse_ident(settings.auth_ident_file, *maps);
      loaded.warnings.insert(loaded.warnings.end(), loaded.ident.problems.begin(), loaded.ident.problems.end());
    } else {
      errors.push_back("auth_ident_file: " + maps.error().text);
    }
  }
  return errors;
}

Result<DcsLogin> load_dcs_login(const std::string& path) {
  auto text = read_file(path);
  if (!text) return tl::unexpected(text.error());
  while (!text->empty() && (text->back() == '\n' || text->back() == '\r')) text->pop_back();
  const size_t colon = text->find(':');
  if (colon == std::string::npos || colon == 0 || text->find('\n') != std::string::npos) {
    return fail(Errc::invalid, "\"" + path + "\" has to hold one line, user:password");
  }
  return DcsLogin{text->substr(0, colon), Secret(text->substr(colon + 1))};
}

Result<std::string> load_seed(const std::string& path) {
  constexpr size_t kLeast = 32;
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0) {
    unsigned char bytes[32];
    std::string text;
    if (RAND_bytes(bytes, sizeof bytes) == 1) {
      for (const unsigned char byte : bytes) text += fmt::format("{:02x}", byte);
    }
    const bool written = !text.empty() && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::close(fd);
    if (written) return text;
    ::unlink(path.c_str());
    return fail(Errc::unavailable, "could not write \"" + path + "\"");
  }
  if (errno != EEXIST) return fail(Errc::invalid, "could not create \"" + path + "\": " + std::strerror(errno));
  auto text = read_file(path);
  if (text && text->size() < kLeast) return fail(Errc::invalid, "\"" + path + "\" has to hold 32 random characters or more");
  return text;
}

pool::Settings core_settings(const conf::PoolerSettings& from) {
  pool::Settings to;
  to.pool_mode = core_mode(from.pool_mode);
  to.max_client_conn = from.max_client_conn;
  to.default_pool_size = from.default_pool_size;
  to.min_pool_size = from.min_pool_size;
  to.reserve_pool_size = from.reserve_pool_size;
  to.reserve_pool_timeout = from.reserve_pool_timeout;
  to.max_db_connections = from.max_db_connections;
  to.max_db_client_connections = from.max_db_client_connections;
  to.max_user_connections = from.max_user_connections;
  to.max_user_client_connections = from.max_user_client_connections;
  to.server_round_robin = from.server_round_robin;
  to.max_prepared_statements = from.max_prepared_statements > 0 ? static_cast<size_t>(from.max_prepared_statements) : 0;
  to.server_reset_query = from.server_reset_query;
  to.server_reset_query_always = from.server_reset_query_always;
  to.server_check_delay = from.server_check_delay;
  if (from.server_check_query.empty()) to.server_check_query.reset();
  else to.server_check_query = from.server_check_query == "<empty>" ? "" : from.server_check_query;
  to.server_lifetime = from.server_lifetime;
  to.server_idle_timeout = from.server_idle_timeout;
  to.server_connect_timeout = from.server_connect_timeout;
  to.server_login_retry = from.server_login_retry;
  to.client_login_timeout = from.client_login_timeout;
  to.query_timeout = from.query_timeout;
  to.query_wait_timeout = from.query_wait_timeout;
  to.query_wait_notify = from.query_wait_notify;
  to.cancel_wait_timeout = from.cancel_wait_timeout;
  to.client_idle_timeout = from.client_idle_timeout;
  to.idle_transaction_timeout = from.idle_transaction_timeout;
  to.transaction_timeout = from.transaction_timeout;
  to.max_packet_size = from.max_packet_size;
  to.disable_pqexec = from.disable_pqexec;
  to.failover_hold_timeout = from.failover_hold_timeout;
  to.server_fast_close = from.server_fast_close;
  to.application_name_add_host = from.application_name_add_host;
  to.login_notify_message = from.login_notify_message;
  to.peer_id = from.peer_id;
  to.tracked = from.track_extra_parameters.names;
  to.ignored_startup_parameters = from.ignore_startup_parameters.names;
  return to;
}

pool::Database core_database(const conf::DatabaseEntry& entry, const std::string& requested) {
  pool::Database to;
  to.name = requested;
  to.server_name = entry.dbname.value_or(requested);
  if (entry.role) {
    switch (*entry.role) {
      case conf::Role::primary: to.route = pool::Route::primary; break;
      case conf::Role::replica: to.route = pool::Route::replica; break;
      case conf::Role::any: to.route = pool::Route::any; break;
    }
  }
  to.forced_user = entry.user;
  if (entry.password) to.forced_password = *entry.password;
  to.pool_mode = core_mode(entry.pool_mode);
  to.pool_size = entry.pool_size;
  to.min_pool_size = entry.min_pool_size;
  to.reserve_pool_size = entry.reserve_pool_size;
  to.max_connections = entry.max_db_connections;
  to.max_client_connections = entry.max_db_client_connections;
  to.server_lifetime = entry.server_lifetime;
  to.query_wait_timeout = entry.query_wait_timeout;
  to.connect_query = entry.connect_query.value_or("");
  if (entry.client_encoding) to.startup.emplace_back("client_encoding", *entry.client_encoding);
  if (entry.datestyle) to.startup.emplace_back("datestyle", *entry.datestyle);
  if (entry.timezone) to.startup.emplace_back("timezone", *entry.timezone);
  if (entry.application_name) to.startup.emplace_back("application_name", *entry.application_name);
  to.automatic = entry.is_template();
  return to;
}

pool::User core_user(const conf::UserEntry& entry) {
  pool::User to;
  to.name = entry.name;
  to.pool_mode = core_mode(entry.pool_mode);
  to.pool_size = entry.pool_size;
  to.reserve_pool_size = entry.reserve_pool_size;
  to.max_connections = entry.max_user_connections;
  to.max_client_connections = entry.max_user_client_connections;
  to.query_timeout = entry.query_timeout;
  to.idle_transaction_timeout = entry.idle_transaction_timeout;
  to.transaction_timeout = entry.transaction_timeout;
  to.client_idle_timeout = entry.client_idle_timeout;
  to.query_wait_timeout = entry.query_wait_timeout;
  return to;
}

}  // namespace pgdba::pooler
