// The sections of patroni.yml one by one; postgresql is in postgresql_yaml.cpp.
#include "conf/patroni_yaml.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "base/units.h"
#include "conf/address.h"
#include "conf/environment.h"
#include "conf/postgresql_yaml.h"
#include "conf/program_options.h"
#include "conf/section.h"
#include "model/names.h"
#include "model/tags.h"

namespace pgdba::conf {

namespace {

using Kind = YamlNode::Kind;

void read_names(Section& top, AgentSettings& out) {
  if (auto scope = top.text("scope")) {
    out.scope = *scope;
    if (scope->empty() || scope->find('/') != std::string::npos)
      top.error("scope", "must not be empty or contain a slash");
  } else if (!top.has("scope")) {
    top.missing("scope", "the name of the cluster, the same on all its members");
  }
  if (auto name = top.text("name")) {
    out.name = *name;
    bool printable = std::ranges::all_of(*name, [](char c) { return c >= ' ' && c <= '~'; });
    if (name->empty() || name->size() > 63 || name->find_first_of("/,") != std::string::npos) {
      top.error("name", "must have 1 to 63 characters and no slash or comma: PostgreSQL knows this member by it");
    } else if (!printable) {
      top.error("name", "must be printable ASCII: PostgreSQL replaces anything else in application_name");
    } else if (*name == model::kSyncPlaceholder) {
      top.error("name", "is reserved for the placeholder in synchronous_standby_names");
    }
  } else if (!top.has("name")) {
    top.missing("name", "the name of this member, different on each");
  }
  out.name_space = top.text_or("namespace", "/service");
}

void read_restapi_tls(Section& s, RestapiSettings& out) {
  out.certfile = s.text_or("certfile", "");
  out.keyfile = s.text_or("keyfile", "");
  out.keyfile_password = s.secret("keyfile_password");
  out.cafile = s.text_or("cafile", "");
  out.ciphers = s.text_or("ciphers", "");
  std::string verify = s.word("verify_client", {"none", "optional", "required"}, "none");
  using Verify = RestapiSettings::VerifyClient;
  out.verify_client = verify == "none" ? Verify::none : verify == "optional" ? Verify::optional : Verify::required;
  if (out.verify_client != Verify::none && out.cafile.empty() && !s.has("cafile")) {
    s.error("verify_client", fmt::format("{} needs restapi.cafile, by which client certificates are checked", verify));
  }
  auto headers = s.text_map("http_extra_headers");
  for (auto& [name, value] : s.text_map("https_extra_headers")) {
    if (!out.certfile.empty()) headers[name] = value;
  }
  for (auto& [name, value] : headers) {
    if (name.find_first_of(" :\r\n") != std::string::npos || name.empty() ||
        value.find_first_of("\r\n") != std::string::npos) {
      s.error("http_extra_headers", "a header's name must be one word, and its value one line");
    } else {
      out.extra_headers.emplace_back(name, value);
    }
  }
}

void read_restapi(Section& top, AgentSettings& settings) {
  Section s = top.section("restapi");
  RestapiSettings& out = settings.restapi;
  auto listen = s.address_text("listen");
  auto parsed = listen ? parse_listen(*listen, 0) : std::nullopt;
  if (parsed && parsed->hosts.size() == 1) {
    out.listen = {is_wildcard(parsed->hosts[0]) ? "" : parsed->hosts[0], parsed->port};
  } else if (listen) {
    s.error("listen", "expected \"host:port\", for example \"127.0.0.1:8008\" or \"*:8008\"");
  } else if (!s.has("listen")) {
    s.missing("listen", "where the REST API answers, for example \"127.0.0.1:8008\"");
  }
  if (auto connect = s.address_text("connect_address")) {
    if (auto address = parse_address(*connect, out.listen.port)) {
      out.connect_address = *address;
    } else {
      s.error("connect_address", "expected \"host:port\" by which other members reach this one");
    }
  } else if (!s.has("connect_address")) {
    out.connect_address = out.listen;
    if (parsed && out.listen.host.empty()) {
      out.connect_address.host = "localhost";
      s.warn("connect_address", "missing; \"localhost\" is published, so that no other host can reach this member");
    }
  }
  Section authentication = s.section("authentication");
  out.username = authentication.text_or("username", "");
  out.password = authentication.secret("password");
  authentication.finish();
  if (out.username.empty() != out.password.empty()) {
    s.error("authentication", "username and password go together");
  }
  read_restapi_tls(s, out);
  out.allowlist =
      s.texts("allowlist", "a list of addresses, networks or host names").value_or(std::vector<std::string>());
  out.allowlist_include_members = s.boolean("allowlist_include_members").value_or(false);
  out.request_queue_size = static_cast<int>(s.integer("request_queue_size", 5, 1, 65535));
  out.server_tokens = s.word("server_tokens", {"original", "minimal", "productonly"}, "original");
  s.known_but_idle({"thread_pool_size"});
  s.finish();
}

// `hosts`: "a:2379,b:2379", or a list of such.
std::vector<std::string> etcd_host_texts(Section& s) {
  std::vector<std::string> out;
  for (std::string_view key : {"proxy", "url", "hosts", "host"}) {
    const YamlNode* node = s.get(key);
    if (!node || !out.empty()) continue;
    if (node->kind == Kind::list) {
      out = s.texts(key, "a list of \"host:port\"").value_or(std::vector<std::string>());
    } else if (auto text = s.text(key)) {
      out = split(*text, ',');
    }
    if (out.empty()) s.error(key, "names no host");
  }
  std::erase_if(out, [](const std::string& text) { return trim(text).empty(); });
  return out;
}

void read_etcd(Section& top, AgentSettings& settings) {
  bool v2 = !top.has("etcd3") && top.has("etcd");
  Section s = top.section(v2 ? "etcd" : "etcd3");
  if (v2)
    top.warn("etcd",
             "this agent speaks etcd's v3 API only; it uses these hosts, but sees nothing that Patroni stored by the "
             "v2 API");
  if (!v2) top.known_but_idle({"etcd"});
  EtcdSettings& out = settings.etcd;
  if (!s.present()) {
    if (!top.has("etcd3") && !v2)
      top.missing("etcd3", "where etcd answers, for example etcd3: {hosts: \"127.0.0.1:2379\"}");
    return;
  }
  std::string protocol = s.word("protocol", {"http", "https"}, "");
  out.username = s.text_or("username", "");
  out.password = s.secret("password");
  out.cacert = s.text_or("cacert", "");
  out.cert = s.text_or("cert", "");
  out.key = s.text_or("key", "");
  bool tls = !out.cacert.empty() || !out.cert.empty();
  out.use_proxies = s.boolean("use_proxies").value_or(s.has("proxy"));
  for (const std::string& text : etcd_host_texts(s)) {
    auto url = parse_etcd_url(text);
    if (!url) {
      s.error(s.has("hosts") ? "hosts"
              : s.has("url") ? "url"
                             : "host",
              text.find('@') == std::string::npos
                  ? fmt::format("\"{}\" is not \"host:port\" or a URL", text.substr(0, 80))
                  : "expected \"host:port\" or a URL like http://user:password@host:2379");
      continue;
    }
    if (url->protocol.empty()) url->protocol = !protocol.empty() ? protocol : tls ? "https" : "http";
    if (out.username.empty()) out.username = url->username;
    if (out.password.empty()) out.password = url->password;
    out.endpoints.push_back({url->protocol, url->address});
  }
  bool named = s.has("host") || s.has("hosts") || s.has("url") || s.has("proxy");
  if (!named && s.has("srv")) {
    s.error("srv", "discovery by DNS is not supported yet; name the hosts");
  } else if (!named) {
    s.missing("hosts", "where etcd answers, for example \"127.0.0.1:2379\"");
  }
  s.known_but_idle({"srv", "srv_suffix", "discovery_srv", "srv_domain", "version_prefix"});
  s.finish();
}

void read_bootstrap(Section& top, AgentSettings& settings) {
  Section s = top.section("bootstrap");
  BootstrapSettings& out = settings.bootstrap;
  out.present = s.present();
  if (const YamlNode* dcs = s.get("dcs")) {
    if (dcs->kind == Kind::map) {
      out.dcs_json = to_json(*dcs);
    } else {
      s.wrong("dcs", "a map of dynamic settings");
    }
  }
  out.initdb = read_program_options(s, "initdb", kInitdbOptions);
  out.pg_hba = s.texts("pg_hba", "a list of lines of pg_hba.conf").value_or(std::vector<std::string>());
  out.method = s.text_or("method", "initdb");
  if (out.method != "initdb")
    s.error("method", "own bootstrap methods are not supported yet; leave it out to use initdb");
  out.delay = std::chrono::seconds(s.integer("delay", 0, 0, 3600));
  // Patroni's newer and older name for the same; the newer one wins.
  const std::string former = s.text_or("post_init", "");
  out.post_bootstrap = s.text_or("post_bootstrap", former);
  if (s.has("users")) {
    s.get("users");
    s.warn("users", "ignored, as in Patroni since 4.0; create users by SQL");
  }
  s.finish();
}

// A text, or (for json) a list of fields, each a name or {field: name in the object}.
std::vector<std::pair<std::string, std::string>> json_fields(Section& s, const YamlNode& list) {
  std::vector<std::pair<std::string, std::string>> fields;
  for (const YamlNode& item : list.list) {
    if (item.kind == Kind::text) {
      fields.emplace_back(item.text, item.text);
    } else if (item.kind == Kind::map) {
      for (const auto& [field, name] : item.map) {
        if (name.kind == Kind::text) {
          fields.emplace_back(field, name.text);
        } else {
          s.warn("format", fmt::format("{} was left out: its new name is no text", field));
        }
      }
    } else {
      s.warn("format", fmt::format("{} was left out: a field is a name, or a map of one to another", describe(item)));
    }
  }
  return fields;
}

std::optional<LineFormat> line_format(Section& s, bool json) {
  const YamlNode* given = s.get("format");
  const bool dated = s.has("dateformat");
  if (given && given->kind != Kind::text && !(json && given->kind == Kind::list)) {
    s.warn("format", json ? "ignored: neither a text nor a list" : "ignored: no text (a list is for type: json)");
    given = nullptr;
  }
  std::optional<LineFormat> out;
  if (given && given->kind == Kind::list) {
    if (auto fields = json_fields(s, *given); !fields.empty()) out = json_line_format(fields);
  } else if (given) {
    out = parse_line_format(given->text);
  }
  if (!out && (json || dated)) out = parse_line_format(kPatroniLineFormat);
  if (!out) return out;
  out->json = json;
  const YamlNode* fixed = s.get("static_fields");
  if (fixed && fixed->kind != Kind::map) s.warn("static_fields", "ignored: no map");
  if (fixed && !json) s.warn("static_fields", "ignored: only for type: json");
  if (fixed && fixed->kind == Kind::map && json) {
    for (const auto& [name, value] : fixed->map) out->static_fields.emplace_back(name, to_json(value));
  }
  if (!out->unknown.empty()) s.warn("format", fmt::format("these fields stay empty, since nothing here has them: {}", join(out->unknown, ", ")));
  return out;
}

void read_log(Section& top, AgentSettings& settings) {
  Section s = top.section("log");
  LogSettings& out = settings.log;
  out.type = s.word("type", {"plain", "json"}, "plain");
  out.level = s.word("level", {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "WARN", "FATAL"}, "INFO");
  if (out.level == "WARN") out.level = "WARNING";
  if (out.level == "FATAL") out.level = "CRITICAL";
  out.dir = s.text_or("dir", "");
  out.file_num = static_cast<int>(s.integer("file_num", 4, 0, 10000));
  out.file_size = s.integer("file_size", out.file_size, 1000, 1'000'000'000'000);
  if (const YamlNode* mode = s.get("mode")) {
    // 0644 is octal in YAML 1.1 already; a quoted "0644" and a variable's text are read as octal, as in Patroni.
    auto bits =
        mode->kind == Kind::text ? resolve_scalar(mode->text.starts_with('0') ? mode->text : "0" + mode->text) : *mode;
    if (bits.kind == Kind::integer && bits.integer >= 0 && bits.integer <= 0777) {
      out.mode = static_cast<int>(bits.integer);
    } else {
      s.wrong("mode", "permission bits like 0640");
    }
  }
  out.format = line_format(s, out.type == "json");
  out.dateformat = s.text_or("dateformat", "");
  out.max_queue_size = static_cast<int>(s.integer("max_queue_size", out.max_queue_size, 1, 1'000'000));
  s.get("static_fields");  // read with the format, if there is one
  // Both hold by themselves: what repeats is not logged, and there are no tracebacks.
  s.boolean("deduplicate_heartbeat_logs");
  s.get("traceback_level");
  s.known_but_idle({"loggers"});
  s.finish();
}

void read_ctl(Section& top, AgentSettings& settings) {
  Section s = top.section("ctl");
  CtlSettings& out = settings.ctl;
  Section authentication = s.section("authentication");
  out.username = authentication.text_or("username", "");
  out.password = authentication.secret("password");
  authentication.finish();
  out.insecure = s.boolean("insecure").value_or(false);
  out.cacert = s.text_or("cacert", "");
  out.certfile = s.text_or("certfile", "");
  out.keyfile = s.text_or("keyfile", "");
  out.keyfile_password = s.secret("keyfile_password");
  s.finish();
}

void warn_conflict(Section& s, const YamlNode& tags, const char* flag, const char* priority) {
  const YamlNode* a = tags.find(flag);
  const YamlNode* b = tags.find(priority);
  if (!a || !b || a->kind != Kind::boolean || b->kind != Kind::integer || a->boolean == (b->integer <= 0)) return;
  const char* word = a->boolean ? "True" : "False";
  s.warn("tags", fmt::format("Conflicting configuration between {}: {} and {}: {}. Defaulting to {}: {}", flag, word,
                             priority, b->integer, flag, word));
}

void read_tags(Section& top, AgentSettings& settings) {
  const YamlNode* tags = top.get("tags");
  if (!tags) return;
  if (tags->kind != Kind::map) {
    top.wrong("tags", "a map");
    return;
  }
  model::TagEntries entries;
  for (const auto& [name, value] : tags->map) {
    if (!value.is_null()) entries.emplace_back(name, to_json(value));
  }
  settings.tags = model::make_tags(entries);
  warn_conflict(top, *tags, "nofailover", "failover_priority");
  warn_conflict(top, *tags, "nosync", "sync_priority");
}

// Settings of the whole cluster, which do nothing in a member's own file.
void warn_about_dynamic_settings(Section& top) {
  for (const char* name : {"ttl",
                           "loop_wait",
                           "retry_timeout",
                           "maximum_lag_on_failover",
                           "maximum_lag_on_syncnode",
                           "max_timelines_history",
                           "primary_start_timeout",
                           "master_start_timeout",
                           "primary_stop_timeout",
                           "master_stop_timeout",
                           "synchronous_mode",
                           "synchronous_mode_strict",
                           "synchronous_node_count",
                           "failsafe_mode",
                           "pause",
                           "check_timeline",
                           "primary_race_backoff",
                           "member_slots_ttl",
                           "standby_cluster",
                           "slots",
                           "ignore_slots"}) {
    if (top.get(name)) {
      top.warn(name,
               fmt::format("no effect here: it belongs to the cluster; put it into bootstrap.dcs for a new one, or run "
                           "`pgdba cluster config set {}=…`",
                           name));
    }
  }
}

Result<YamlNode> load_tree(const std::vector<YamlSource>& sources, const Environment& environment, Problems& problems) {
  YamlNode tree;
  tree.at("");  // a map, also without any source
  tree.map.clear();
  auto add = [&](const YamlSource& source) {
    auto node = parse_yaml(source, problems.warnings);
    if (!node) {
      problems.errors.push_back(node.error().text);
    } else if (node->kind != Kind::map && !node->is_null()) {
      problems.errors.push_back(fmt::format("{}: expected a map of settings, got {}", source.name, describe(*node)));
    } else if (!node->is_null()) {
      if (!tree.source) tree.source = node->source;
      merge(tree, std::move(*node));
    }
  };
  for (const YamlSource& source : sources) add(source);
  if (!sources.empty()) {
    apply_environment(environment, tree, problems);
    return tree;
  }
  auto whole = std::ranges::find(environment, "PATRONI_CONFIGURATION", &Environment::value_type::first);
  if (whole != environment.end() && !whole->second.empty()) {
    add({whole->first, whole->second});
  } else {
    apply_environment(environment, tree, problems);
  }
  return tree;
}

}  // namespace

SettingsReading read_agent_settings(const std::vector<YamlSource>& sources, const Environment& environment) {
  SettingsReading out;
  Problems problems;
  auto tree = load_tree(sources, environment, problems);
  if (problems.errors.empty()) {
    Section top(&*tree, "", problems);
    read_names(top, out.settings);
    read_restapi(top, out.settings);
    read_etcd(top, out.settings);
    read_bootstrap(top, out.settings);
    read_postgresql(top, out.settings);
    read_log(top, out.settings);
    read_ctl(top, out.settings);
    read_tags(top, out.settings);
    warn_about_dynamic_settings(top);
    const YamlNode* watchdog = top.get("watchdog");
    // Switched off is what it is here.
    const YamlNode* mode = watchdog ? watchdog->find("mode") : nullptr;
    if (watchdog && !(mode && lower(mode->text) == "off")) problems.idle.emplace_back("watchdog");
    top.known_but_idle({"citus", "consul", "zookeeper", "exhibitor", "kubernetes", "raft",
                        "thread_pool_size", "thread_stack_size"});
    top.finish();
  }
  if (!problems.idle.empty()) {
    problems.warnings.push_back(fmt::format("known to Patroni, not acted on yet: {}", join(problems.idle, ", ")));
  }
  out.errors = std::move(problems.errors);
  out.warnings = std::move(problems.warnings);
  return out;
}

}  // namespace pgdba::conf
