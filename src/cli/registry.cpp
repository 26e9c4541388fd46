#include "cli/registry.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

#include "base/text.h"
#include "local/files.h"
#include "local/identity.h"
#include "wire/json_value.h"

namespace pgdba::cli {

namespace {

using wire::JsonValue;

JsonValue to_json(const Registered& entry) {
  JsonValue out;
  out.set("name", entry.name).set("kind", entry.kind()).set("added", format_utc(entry.added));
  if (!entry.compose.empty()) out.set("compose_dir", entry.compose).set("scope", entry.scope);
  if (entry.managed) return out.set("data_dir", entry.root);
  out.set("scope", entry.scope).set("system_identifier", entry.system_identifier);
  JsonValue members = JsonValue::list();
  for (const auto& member : entry.members) {
    JsonValue item;
    members.add(item.set("name", member.name)
                    .set("endpoint", member.endpoint.empty() ? JsonValue() : JsonValue(member.endpoint)));
  }
  out.set("members", std::move(members));
  if (!entry.pg_host.empty()) out.set("pg_host", entry.pg_host);
  if (entry.pg_port) out.set("pg_port", int{entry.pg_port});
  if (!entry.cacert.empty()) out.set("cacert", entry.cacert);
  return out;
}

Registered from_json(const JsonValue& json) {
  Registered out;
  out.name = json.text("name");
  out.compose = json.text("compose_dir");
  out.managed = json.text("kind") == "managed" || json.text("kind") == "docker";
  out.root = json.text("data_dir");
  out.scope = json.text("scope");
  out.system_identifier = json.text("system_identifier");
  if (const auto* members = json["members"].as_list()) {
    for (const JsonValue& member : *members) out.members.push_back({member.text("name"), member.text("endpoint")});
  }
  out.pg_host = json.text("pg_host");
  int64_t port = json.integer("pg_port");
  out.pg_port = port > 0 && port < 65536 ? static_cast<uint16_t>(port) : 0;
  out.cacert = json.text("cacert");
  out.added = parse_utc(json.text("added")).value_or(WallTime{});
  return out;
}

// The fields of one line of credentials; a backslash takes the meaning from the next character.
std::vector<std::string> split_escaped(std::string_view line) {
  std::vector<std::string> out(1);
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\' && i + 1 < line.size()) {
      out.back() += line[++i];
    } else if (line[i] == ':' && out.size() < 3) {
      out.emplace_back();
    } else {
      out.back() += line[i];
    }
  }
  return out;
}

}  // namespace

Registry Registry::of_caller() {
  return Registry(local::current_identity().home + "/.pgdba");
}

Outcome<std::vector<Registered>> Registry::read() const {
  local::ActAsCaller caller;
  auto text = local::read_file(file());
  if (!text) {
    if (text.error().code == Errc::not_found) return std::vector<Registered>{};
    return tl::unexpected(as_failure(text.error()));
  }
  auto json = wire::parse_json_value(*text);
  const auto* clusters = json ? (*json)["clusters"].as_list() : nullptr;
  if (!clusters || json->integer("schema_version") != 1) {
    return give_up(
        Exit::failed,
        fmt::format("{} is not readable ({})", file(), json ? "another version of pgdba wrote it" : json.error().text),
        fmt::format("mv {0} {0}.bad   and register again: pgdba up, pgdba cluster connect", file()));
  }
  std::vector<Registered> out;
  for (const JsonValue& item : *clusters) out.push_back(from_json(item));
  std::ranges::sort(out, {}, &Registered::name);
  return out;
}

Outcome<void> Registry::change(const std::function<Outcome<void>(std::vector<Registered>&)>& change) const {
  local::ActAsCaller caller;
  if (auto done = local::make_private_folder(folder_); !done)
    return tl::unexpected(as_failure(done.error(), "set HOME to a folder that this user may write to"));
  auto lock = local::FileLock::take(folder_ + "/clusters.lock", 10s);
  if (!lock) return tl::unexpected(as_failure(lock.error()));
  auto entries = read();
  if (!entries) return tl::unexpected(entries.error());
  std::vector<Registered> before = *entries;
  if (auto done = change(*entries); !done) return done;
  if (*entries == before) return {};
  std::ranges::sort(*entries, {}, &Registered::name);
  JsonValue json, clusters = JsonValue::list();
  for (const Registered& entry : *entries) clusters.add(to_json(entry));
  json.set("schema_version", 1).set("clusters", std::move(clusters));
  auto done = local::write_atomic(file(), wire::format_json_value(json) + "\n");
  if (!done) return tl::unexpected(as_failure(done.error()));
  return {};
}

Outcome<void> Registry::put(const Registered& entry) const {
  return change([&](std::vector<Registered>& entries) -> Outcome<void> {
    std::erase_if(entries, [&](const Registered& other) { return other.name == entry.name; });
    entries.push_back(entry);
    return {};
  });
}

Outcome<bool> Registry::remove(const std::string& name) const {
  bool found = false;
  auto done = change([&](std::vector<Registered>& entries) -> Outcome<void> {
    found = std::erase_if(entries, [&](const Registered& other) { return other.name == name; }) > 0;
    return {};
  });
  if (!done) return tl::unexpected(done.error());
  return found;
}

Outcome<Credentials> Registry::credentials(const std::string& cluster) const {
  const char* user = std::getenv("PGDBA_REST_USER");
  const char* password = std::getenv("PGDBA_REST_PASSWORD");
  if (user && *user) return Credentials{user, Secret(password ? password : "")};
  local::ActAsCaller caller;
  auto text = local::read_file(credentials_file());
  if (!text) {
    if (text.error().code == Errc::not_found) return Credentials{};
    return tl::unexpected(as_failure(text.error()));
  }
  struct stat info {};
  if (::stat(credentials_file().c_str(), &info) == 0 && (info.st_mode & 077) != 0) {
    return give_up(Exit::refused,
                   fmt::format("{} can be read by others (mode {:04o}), so it is not used", credentials_file(),
                               info.st_mode & 07777u),
                   "chmod 600 " + credentials_file());
  }
  std::optional<Credentials> general;
  for (const std::string& line : split(*text, '\n')) {
    if (trim(line).empty() || line.front() == '#') continue;
    std::vector<std::string> fields = split_escaped(line);
    if (fields.size() != 3) continue;
    Credentials found{fields[1], Secret(fields[2])};
    if (fields[0] == cluster) return found;
    if (fields[0] == "*" && !general) general = found;
  }
  return general.value_or(Credentials{});
}

}  // namespace pgdba::cli
