#include "pg/conninfo.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/text.h"
#include "pg/durable.h"

namespace pgdba::pg {

namespace {

std::string escape(std::string_view text, std::string_view special) {
  std::string out;
  for (char c : text) {
    if (special.find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::string option(const Login& login, const std::string& name, std::string fallback) {
  auto found = login.options.find(name);
  return found == login.options.end() ? std::move(fallback) : found->second;
}

}  // namespace

Result<HostPort> parse_conn_url(std::string_view url) {
  auto bad = [&] { return fail(Errc::invalid, fmt::format("'{}' is not a postgres:// address", url)); };
  std::string_view rest = url;
  if (rest.starts_with("postgres://")) {
    rest.remove_prefix(11);
  } else if (rest.starts_with("postgresql://")) {
    rest.remove_prefix(13);
  } else {
    return bad();
  }
  rest = rest.substr(0, rest.find_first_of("/?"));
  if (auto at = rest.rfind('@'); at != std::string_view::npos) rest.remove_prefix(at + 1);
  HostPort out;
  std::string_view port;
  if (rest.starts_with('[')) {
    auto end = rest.find(']');
    if (end == std::string_view::npos) return bad();
    out.host = std::string(rest.substr(1, end - 1));
    rest.remove_prefix(end + 1);
    if (!rest.empty() && !rest.starts_with(':')) return bad();
    if (!rest.empty()) port = rest.substr(1);
  } else {
    auto colon = rest.find(':');
    out.host = std::string(rest.substr(0, colon));
    if (colon != std::string_view::npos) port = rest.substr(colon + 1);
  }
  if (out.host.empty() || out.host.find(',') != std::string::npos) return bad();
  if (!port.empty()) {
    auto number = parse_int(port);
    if (!number || *number < 1 || *number > 65535) return bad();
    out.port = static_cast<uint16_t>(*number);
  }
  return out;
}

std::string format_conninfo(const std::vector<std::pair<std::string, std::string>>& pairs) {
  std::string out;
  for (const auto& [key, value] : pairs) {
    if (!out.empty()) out += ' ';
    out += fmt::format("{}='{}'", key, escape(value, "'\\"));
  }
  return out;
}

std::string conninfo_for(const HostPort& at, const Login& login, const std::string& passfile,
                         const std::string& application_name,
                         const std::vector<std::pair<std::string, std::string>>& more) {
  std::vector<std::pair<std::string, std::string>> pairs{{"user", login.user}};
  if (!passfile.empty()) pairs.emplace_back("passfile", passfile);
  pairs.emplace_back("host", at.host);
  pairs.emplace_back("port", std::to_string(at.port));
  pairs.emplace_back("sslmode", option(login, "sslmode", "prefer"));
  for (const char* name : {"sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir", "sslnegotiation"}) {
    if (auto value = option(login, name, ""); !value.empty()) pairs.emplace_back(name, value);
  }
  pairs.emplace_back("application_name", application_name);
  pairs.emplace_back("gssencmode", option(login, "gssencmode", "disable"));
  pairs.emplace_back("channel_binding", option(login, "channel_binding", "prefer"));
  pairs.insert(pairs.end(), more.begin(), more.end());
  return format_conninfo(pairs);
}

std::string passfile_line(const HostPort& at, const Login& login) {
  if (login.password.empty()) return {};
  return fmt::format("{}:{}:*:{}:{}\n", escape(at.host, ":\\"), at.port, escape(login.user, ":\\"),
                     escape(login.password.reveal(), ":\\"));
}

Result<void> usable_passfile(const std::string& path) {
  if (path.empty()) return {};
  if (!path.starts_with('/')) return fail(Errc::invalid, fmt::format("{} is not an absolute path", path));
  for (char c : path) {
    if (static_cast<unsigned char>(c) < 0x20) return fail(Errc::invalid, "its path holds a control character");
  }
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) {
    if (!S_ISREG(info.st_mode)) return fail(Errc::invalid, fmt::format("{} is no ordinary file", path));
    if (info.st_uid != ::geteuid()) return fail(Errc::denied, fmt::format("{} belongs to uid {}, not to us ({})", path, info.st_uid, ::geteuid()));
  } else if (errno != ENOENT) {
    return fail(Errc::denied, fmt::format("{}: {}", path, std::strerror(errno)));
  }
  if (::access(folder_of(path).c_str(), W_OK | X_OK) != 0) {
    return fail(Errc::denied, fmt::format("{}: {}", folder_of(path), std::strerror(errno)));
  }
  return {};
}

net::PgTarget target_for(const HostPort& at, const Login& login, std::string database, std::string application_name) {
  net::PgTarget target;
  target.host = at.host;
  target.port = at.port;
  target.user = login.user;
  target.dbname = std::move(database);
  target.password = login.password;
  target.application_name = std::move(application_name);
  target.sslmode = option(login, "sslmode", "prefer");
  target.sslrootcert = option(login, "sslrootcert", "");
  target.sslcert = option(login, "sslcert", "");
  target.sslkey = option(login, "sslkey", "");
  target.sslcrl = option(login, "sslcrl", "");
  return target;
}

}  // namespace pgdba::pg
