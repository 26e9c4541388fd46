#include "local/cluster_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "local/files.h"
#include "local/identity.h"
#include "pg/layout.h"
#include "wire/json_value.h"

namespace pgdba::local {

namespace {

constexpr int64_t kSchema = 1;
constexpr size_t kUnixAddress = 107;

uint16_t port_of(const wire::JsonValue& object, std::string_view name) {
  int64_t port = object.integer(name);
  return port > 0 && port < 65536 ? static_cast<uint16_t>(port) : 0;
}

}  // namespace

std::string_view to_string(Profile profile) {
  return profile == Profile::fast ? "fast" : "standard";
}

std::optional<Profile> parse_profile(std::string_view text) {
  if (text == "fast") return Profile::fast;
  if (text == "standard") return Profile::standard;
  return std::nullopt;
}

std::string ClusterFile::rest_url(const Node& node) const {
  return fmt::format("http://127.0.0.1:{}", node.rest_port);
}
std::string ClusterFile::client_url(const Etcd& member) const {
  return fmt::format("http://127.0.0.1:{}", member.client_port);
}

const ClusterFile::Node* ClusterFile::find_node(std::string_view node) const {
  auto found = std::ranges::find(nodes, node, [](const Node& n) { return std::string_view(n.name); });
  return found == nodes.end() ? nullptr : &*found;
}

std::vector<uint16_t> ClusterFile::ports() const {
  std::vector<uint16_t> out;
  for (const Node& node : nodes) out.insert(out.end(), {node.pg_port, node.rest_port});
  for (const Etcd& member : etcd) out.insert(out.end(), {member.client_port, member.peer_port});
  if (pooler_port != 0) out.push_back(pooler_port);
  std::erase(out, uint16_t{0});  // etcd's in containers
  return out;
}

Result<ClusterFile> read_cluster_file(const std::string& root) {
  std::string path = cluster_file_path(root);
  auto text = read_file(path);
  if (!text) return tl::unexpected(text.error());
  auto json = wire::parse_json_value(*text);
  if (!json) return tl::unexpected(std::move(json.error()).context(path));
  if (json->integer("schema_version") != kSchema) {
    return fail(Errc::invalid, fmt::format("{} was written by another version of pgdba (schema {})", path,
                                           json->integer("schema_version")));
  }
  ClusterFile out;
  out.root = root;
  out.name = json->text("name");
  if (const auto* nodes = (*json)["nodes"].as_list()) {
    for (const auto& node : *nodes)
      out.nodes.push_back({node.text("name"), port_of(node, "pg_port"), port_of(node, "rest_port")});
  }
  if (const auto* members = (*json)["etcd"].as_list()) {
    for (const auto& member : *members)
      out.etcd.push_back({member.text("name"), port_of(member, "client_port"), port_of(member, "peer_port")});
  }
  out.pooler_port = port_of(*json, "pooler_port");
  out.port_offset = static_cast<int>(json->integer("port_offset"));
  out.profile = parse_profile(json->text("profile")).value_or(Profile::fast);
  out.bin_dir = json->text("bin_dir");
  out.pg_major = static_cast<int>(json->integer("pg_major"));
  out.etcd_program = json->text("etcd_program");
  out.token = json->text("etcd_token");
  out.socket_root = json->text("socket_root");
  out.created = parse_utc(json->text("created")).value_or(WallTime{});
  if (const auto& compose = (*json)["compose"]; !compose.is_null()) {
    out.compose = {compose.text("folder"), compose.text("project"), compose.text("scope"), compose.text("pooler"),
                   compose.text("rest_user"), static_cast<int>(compose.integer("ttl_s", 10))};
  }
  bool programs = !out.bin_dir.empty() && !out.socket_root.empty();
  bool project = out.compose && !out.compose->folder.empty() && !out.compose->project.empty();
  if (problem_with_name(out.name) || out.nodes.empty() || out.etcd.empty() || (!programs && !project)) {
    return fail(Errc::invalid, path + " is not complete");
  }
  return out;
}

Result<void> write_cluster_file(const ClusterFile& cluster) {
  wire::JsonValue json;
  json.set("schema_version", kSchema).set("name", cluster.name).set("created", format_utc(cluster.created));
  json.set("profile", to_string(cluster.profile)).set("port_offset", cluster.port_offset);
  auto nodes = wire::JsonValue::list();
  for (const auto& node : cluster.nodes) {
    wire::JsonValue item;
    item.set("name", node.name).set("pg_port", int{node.pg_port}).set("rest_port", int{node.rest_port});
    nodes.add(std::move(item));
  }
  json.set("nodes", std::move(nodes));
  auto members = wire::JsonValue::list();
  for (const auto& member : cluster.etcd) {
    wire::JsonValue item;
    item.set("name", member.name).set("client_port", int{member.client_port}).set("peer_port", int{member.peer_port});
    members.add(std::move(item));
  }
  json.set("etcd", std::move(members)).set("pooler_port", int{cluster.pooler_port});
  json.set("bin_dir", cluster.bin_dir).set("pg_major", cluster.pg_major).set("etcd_program", cluster.etcd_program);
  json.set("etcd_token", cluster.token).set("socket_root", cluster.socket_root);
  if (cluster.compose) {
    wire::JsonValue compose;
    compose.set("folder", cluster.compose->folder).set("project", cluster.compose->project);
    compose.set("scope", cluster.compose->scope).set("pooler", cluster.compose->pooler);
    compose.set("rest_user", cluster.compose->rest_user).set("ttl_s", cluster.compose->ttl_s);
    json.set("compose", std::move(compose));
  }
  return write_atomic(cluster_file_path(cluster.root), wire::format_json_value(json) + "\n");
}

std::string default_root(const std::string& name) {
  if (::getuid() == 0) return "/var/lib/pgdba/" + name;
  return current_identity().home + "/.local/share/pgdba/" + name;
}

std::optional<std::string> problem_with_name(std::string_view name) {
  auto word = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); };
  if (name.empty()) return "is empty";
  if (name.size() > 40) return "is longer than 40 characters";
  if (!word(name.front())) return "does not begin with a letter or a digit";
  if (!std::ranges::all_of(name, [&](char c) { return word(c) || c == '-' || c == '_' || c == '.'; })) {
    return "has other characters than letters, digits, '-', '_' and '.'";
  }
  return std::nullopt;
}

std::optional<std::string> problem_with_root(std::string_view root) {
  if (root.find_first_of(pg::kNotInPaths) == std::string_view::npos) return std::nullopt;
  return "has a character that PostgreSQL's configuration does not take in a path: quotes, backslash, comma, %, $, ` or "
         "a line end";
}

std::string choose_socket_root(const std::string& root, const std::vector<ClusterFile::Node>& nodes, uint32_t uid) {
  size_t longest = 0;
  for (const auto& node : nodes) longest = std::max(longest, node.name.size());
  constexpr std::string_view file = "/pgdba-01234567/.s.PGSQL.65535.lock";  // of the agent's own socket (pg/layout.h)
  std::string below = root + "/run";
  if (below.size() + 1 + longest + file.size() <= kUnixAddress) return below;
  return fmt::format("/tmp/pgdba-{}-{:08x}", uid, pg::path_hash(root));
}

ClusterFile plan_cluster(const std::string& name, const std::string& root, int nodes, int port_offset) {
  ClusterFile out;
  out.name = name;
  out.root = root;
  out.port_offset = port_offset;
  for (int i = 0; i < nodes; ++i) {
    out.nodes.push_back({i == 0 ? "pg-primary" : fmt::format("pg-replica-{}", i),
                         static_cast<uint16_t>(5432 + port_offset + i), static_cast<uint16_t>(8008 + port_offset + i)});
  }
  for (int i = 1; i <= kEtcdMembers; ++i) out.etcd.push_back({fmt::format("etcd{}", i), 0, 0});
  out.pooler_port = static_cast<uint16_t>(6432 + port_offset);
  return out;
}

}  // namespace pgdba::local
