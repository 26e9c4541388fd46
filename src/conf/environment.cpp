#include "conf/environment.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace pgdba::conf {

namespace {

enum class Form { text, list, map };

struct Variable {
  std::string name;  // without PATRONI_
  std::string path;  // with dots
  Form form = Form::text;
};

void add_all(std::vector<Variable>& out, std::string_view prefix, std::string_view path, std::string_view names,
             Form form = Form::text) {
  for (const std::string& name : split(names, ' '))
    out.push_back({fmt::format("{}{}", prefix, name), fmt::format("{}{}", path, lower(name)), form});
}

std::vector<Variable> make_variables() {
  std::vector<Variable> v;
  add_all(v, "", "", "NAME NAMESPACE SCOPE THREAD_POOL_SIZE THREAD_STACK_SIZE");
  add_all(v, "LOG_", "log.",
          "TYPE LEVEL TRACEBACK_LEVEL FORMAT DATEFORMAT MAX_QUEUE_SIZE DIR MODE FILE_NUM FILE_SIZE "
          "DEDUPLICATE_HEARTBEAT_LOGS");
  add_all(v, "LOG_", "log.", "STATIC_FIELDS LOGGERS", Form::map);
  v.push_back({"LOGLEVEL", "log.level"});
  v.push_back({"LOGFORMAT", "log.format"});
  v.push_back({"LOG_DATEFMT", "log.dateformat"});
  for (auto [prefix, path] : {std::pair{"ETCD3_", "etcd3."}, {"ETCD_", "etcd."}}) {
    add_all(v, prefix, path, "HOST URL PROXY SRV SRV_SUFFIX PROTOCOL USE_PROXIES USERNAME PASSWORD CACERT CERT KEY");
    add_all(v, prefix, path, "HOSTS", Form::list);
  }
  add_all(v, "CITUS_", "citus.", "GROUP DATABASE");
  add_all(v, "POSTGRESQL_", "postgresql.", "LISTEN CONNECT_ADDRESS PROXY_ADDRESS DATA_DIR CONFIG_DIR BIN_DIR PGPASS");
  add_all(v, "POSTGRESQL_BIN_", "postgresql.bin_name.",
          "PG_CTL INITDB PG_CONTROLDATA PG_BASEBACKUP POSTGRES PG_ISREADY PG_REWIND");
  for (auto [prefix, path] :
       {std::pair{"SUPERUSER_", "superuser."}, {"REPLICATION_", "replication."}, {"REWIND_", "rewind."}}) {
    add_all(v, prefix, fmt::format("postgresql.authentication.{}", path),
            "USERNAME PASSWORD SSLMODE SSLCERT SSLKEY SSLPASSWORD SSLROOTCERT SSLCRL SSLCRLDIR GSSENCMODE "
            "CHANNEL_BINDING SSLNEGOTIATION");
  }
  add_all(
      v, "RESTAPI_", "restapi.",
      "LISTEN CONNECT_ADDRESS CERTFILE KEYFILE KEYFILE_PASSWORD CAFILE CIPHERS VERIFY_CLIENT ALLOWLIST_INCLUDE_MEMBERS "
      "REQUEST_QUEUE_SIZE SERVER_TOKENS");
  add_all(v, "RESTAPI_", "restapi.", "ALLOWLIST", Form::list);
  add_all(v, "RESTAPI_", "restapi.", "HTTP_EXTRA_HEADERS HTTPS_EXTRA_HEADERS", Form::map);
  add_all(v, "RESTAPI_", "restapi.authentication.", "USERNAME PASSWORD");
  add_all(v, "CTL_", "ctl.", "INSECURE CACERT CERTFILE KEYFILE KEYFILE_PASSWORD");
  add_all(v, "CTL_", "ctl.authentication.", "USERNAME PASSWORD");
  return v;
}

std::vector<std::string> names_of(const std::vector<Variable>& variables) {
  std::vector<std::string> names;
  for (const Variable& variable : variables) names.push_back(variable.name);
  return names;
}

bool belongs_to_another_dcs(std::string_view name) {
  return std::ranges::any_of(
      std::initializer_list<std::string_view>{"CONSUL_", "ZOOKEEPER_", "EXHIBITOR_", "KUBERNETES_", "RAFT_"},
      [&](std::string_view prefix) { return name.starts_with(prefix); });
}

// Lists and maps are YAML whose outer brackets may be left out.
std::optional<YamlNode> parse_fragment(const std::string& variable, const std::string& value, Form form,
                                       Problems& problems) {
  std::string text(trim(value));
  if (form == Form::list && !text.starts_with('-') && text.find('[') == std::string::npos)
    text = fmt::format("[{}]", text);
  if (form == Form::map && !text.starts_with('{')) text = fmt::format("{{{}}}", text);
  auto node = parse_yaml({variable, text}, problems.warnings);
  auto wanted = form == Form::list ? YamlNode::Kind::list : YamlNode::Kind::map;
  if (node && node->kind == wanted) return std::move(*node);
  problems.errors.push_back(node ? fmt::format("{}: expected {} in YAML, got {}", variable,
                                               form == Form::list ? "a list" : "a map", describe(*node))
                                 : node.error().text);
  return std::nullopt;
}

}  // namespace

void apply_environment(const Environment& environment, YamlNode& tree, Problems& problems) {
  static const std::vector<Variable> variables = make_variables();
  constexpr std::string_view prefix = "PATRONI_";
  for (const auto& [full_name, value] : environment) {
    if (!full_name.starts_with(prefix) || value.empty() || full_name == "PATRONI_CONFIGURATION") continue;
    std::string_view name = std::string_view(full_name).substr(prefix.size());
    auto known = std::ranges::find(variables, name, &Variable::name);
    if (known == variables.end()) {
      if (belongs_to_another_dcs(name)) {
        problems.idle.push_back(full_name);
        continue;
      }
      static const std::vector<std::string> names = names_of(variables);
      auto guess = name.size() <= 64 ? nearest(name, names) : std::nullopt;
      problems.warnings.push_back(fmt::format("{}: unknown, ignored{}", full_name.substr(0, 100),
                                              guess ? fmt::format("; did you mean {}{}?", prefix, *guess) : ""));
      continue;
    }
    YamlNode node;
    node.kind = YamlNode::Kind::text;
    node.text = value;
    if (known->form != Form::text) {
      auto fragment = parse_fragment(full_name, value, known->form, problems);
      if (!fragment) continue;
      node = std::move(*fragment);
    }
    node.source = std::make_shared<const std::string>(full_name);
    node.line = 0;
    YamlNode* target = &tree;
    for (const std::string& part : split(known->path, '.')) target = &target->at(part);
    *target = std::move(node);
  }
}

}  // namespace pgdba::conf
