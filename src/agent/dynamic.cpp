#include "agent/dynamic.h"

#include <fmt/format.h>

#include <algorithm>

#include "conf/effective.h"
#include "net/log.h"
#include "pg/config_files.h"
#include "pg/durable.h"
#include "wire/config_json.h"

namespace pgdba::agent {

namespace {

constexpr std::string_view kLog = "config";
constexpr std::string_view kCopy = "patroni.dynamic.json";

}  // namespace

pg::FileInputs file_inputs(const conf::AgentSettings& local, const model::DynamicConfig& dynamic, int version, std::vector<std::string>& warnings) {
  pg::FileInputs inputs;
  conf::EffectiveParameters effective = conf::effective_parameters(local, dynamic, version);
  warnings = std::move(effective.warnings);
  inputs.parameters = std::move(effective.parameters);
  inputs.recovery = std::move(effective.recovery);
  // The first two have fields of their own, since the agent connects by them; the others pg/ sets as the design needs them.
  for (const char* name : {"listen_addresses", "port", "cluster_name", "hot_standby", "restart_after_crash", "wal_retrieve_retry_interval"}) {
    inputs.parameters.erase(name);
  }
  inputs.listen_addresses = local.postgresql.listen_addresses;
  inputs.port = local.postgresql.port;
  inputs.pg_hba = conf::effective_pg_hba(local, dynamic).value_or(std::vector<std::string>{});
  inputs.pg_ident = conf::effective_pg_ident(local, dynamic).value_or(std::vector<std::string>{});
  inputs.use_slots = dynamic.postgresql.use_slots;
  if (!inputs.use_slots && dynamic.synchronous_mode != model::SyncMode::off && dynamic.synchronous_node_count > 1) {
    warnings.push_back(fmt::format("synchronous_node_count {} counts as 1 with use_slots: false, where a standby that reconnects may count twice",
                                   dynamic.synchronous_node_count));
  }
  return inputs;
}

Dynamic::Dynamic(net::Loop& loop, LocalPg& local, const conf::AgentSettings& settings, std::function<void()> render)
    : loop_(loop), local_(local), settings_(settings), render_(std::move(render)), changed_(loop) {}

void Dynamic::set(const model::DynamicConfig& config, std::string json, bool patroni_members) {
  wanted_ = config;
  json_ = std::move(json);
  patroni_members_ = patroni_members;
  in_force_ = wanted_;
  in_force_.timings = model::adjust(wanted_.timings, patroni_members);
}

void Dynamic::load() {
  const std::string path = local_.settings().layout.in_data(kCopy);
  std::string json = settings_.bootstrap.dcs_json;
  if (auto copy = pg::read_file(path)) {
    json = *copy;
    copied_ = *copy;
  }
  auto reading = wire::parse_dynamic_config(json);
  if (!reading) {
    log::warning(kLog, "{} is not usable, starting from the defaults: {}", copied_.empty() ? "bootstrap.dcs" : path, reading.error().text);
    reading = wire::ConfigReading{};
  }
  set(reading->config, json, false);
  std::vector<std::string> told_by_run;
  local_.set_inputs(file_inputs(settings_, in_force_, local_.install().version, told_by_run));
}

void Dynamic::take(const model::ClusterView& view) {
  if (!view.config) return;  // gone: what was in force stays, the leader writes it again
  const bool patroni = std::any_of(view.members.begin(), view.members.end(), [](const auto& m) { return !m.second.value.runs_pgdba(); });
  if (view.config_json == json_ && patroni == patroni_members_) return;
  if (patroni && !patroni_members_ && view.config->value.timings.ttl < 20s) {
    log::warning(kLog, "a member of the cluster runs Patroni, which takes no ttl below 20 s: so does this agent now");
  }
  if (view.config_json != json_) {
    if (auto reading = wire::parse_dynamic_config(view.config_json, wanted_)) {
      for (const std::string& warning : reading->warnings) log::warning(kLog, "{}", warning);
    }
    log::info(kLog, "the dynamic configuration changed revision={}", view.config->mod);
  }
  set(view.config->value, view.config_json, patroni);
  changed_.notify();
}

void Dynamic::reload(const conf::AgentSettings& settings) {
  settings_ = settings;
  changed_.notify();
}

Task<void> Dynamic::run() {
  for (;;) {
    const bool differ = co_await compute_inputs();
    if (differ) render_();
    co_await keep_copy();
    // Also now and then without a change: the data directory may have come only now.
    co_await changed_.wait_for(10s);
  }
}

Task<bool> Dynamic::compute_inputs() {
  const int version = local_.install().version;
  std::vector<std::string> warnings;
  pg::FileInputs inputs = file_inputs(settings_, in_force_, version, warnings);
  pg::FileInputs before = local_.server().inputs();
  if (inputs_before_check_ && *inputs_before_check_ == inputs) co_return false;
  pg::FileInputs unchecked = inputs;
  std::map<std::string, std::string> all = inputs.parameters;
  all.insert(inputs.recovery.begin(), inputs.recovery.end());
  auto checked = co_await pg::check_parameters(loop_, local_.install(), local_.settings().layout.run_dir, std::move(all), loop_.after(20s));
  if (checked) {
    auto bad = [&](const auto& setting) { return !checked->good.contains(setting.first); };
    std::erase_if(inputs.parameters, bad);
    std::erase_if(inputs.recovery, bad);
    warnings.insert(warnings.end(), checked->warnings.begin(), checked->warnings.end());
  } else {
    log::warning(kLog, "the parameters could not be checked, the ones before stay in force: {}", checked.error().text);
    co_return false;
  }
  for (const std::string& warning : warnings) {
    if (std::find(warned_.begin(), warned_.end(), warning) == warned_.end()) log::warning(kLog, "{}", warning);
  }
  warned_ = std::move(warnings);
  inputs_before_check_ = std::move(unchecked);
  const bool differs = !(before == inputs);
  local_.set_inputs(std::move(inputs));
  co_return differs;
}

Task<void> Dynamic::keep_copy() {
  // Not into a directory that a clone or initdb wants empty.
  if (local_.reading().data != model::DataDir::present || json_.empty() || json_ == copied_) co_return;
  const std::string path = local_.settings().layout.in_data(kCopy);
  std::function<Result<void>()> write = [path, json = json_] { return pg::write_durably(path, json); };
  const std::string writing = json_;
  auto written = co_await loop_.offload<Result<void>>(std::move(write));
  if (written) copied_ = writing;
}

}  // namespace pgdba::agent
