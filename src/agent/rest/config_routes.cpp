// PATCH and PUT /config: the operator's text in etcd is changed by compare-and-swap; what it means is for the readers.
#include <fmt/format.h>

#include <algorithm>

#include "agent/rest/api.h"
#include "base/json_writer.h"
#include "base/text.h"
#include "wire/config_json.h"
#include "wire/keys.h"

namespace pgdba::agent::rest {

using wire::RestAnswer;

namespace {

constexpr Duration kWriteBudget = 5s;

RestAnswer page(int code, std::string text) { return RestAnswer{code, std::move(text), true}; }

// Mistakes that this change brings in. What is wrong already stays possible to keep: it may be what is being repaired.
std::vector<std::string> new_problems(std::string_view before, std::string_view after) {
  const std::vector<std::string> old = before.empty() ? std::vector<std::string>{} : wire::check_dynamic_config(before);
  std::vector<std::string> problems = wire::check_dynamic_config(after);
  std::erase_if(problems, [&](const std::string& p) { return std::find(old.begin(), old.end(), p) != old.end(); });
  return problems;
}

}  // namespace

Task<RestAnswer> Api::patch_config(const Call& call, std::string& json_body) {
  auto patch = wire::parse_config_request(call.body);
  if (!patch) co_return patch.error();
  const model::ClusterView* cluster = node_.cluster();
  if (cluster == nullptr || cluster->config_json.empty() || !cluster->config) {
    co_return page(503, "there is no configuration in etcd to change");
  }
  auto patched = wire::patch_config(cluster->config_json, *patch);
  if (!patched) co_return page(503, patched.error().text);
  if (auto problems = new_problems(cluster->config_json, patched->json); !problems.empty()) {
    co_return page(400, join(problems, "; "));
  }
  if (patched->changed) {
    dcs::Txn txn;
    const std::string key(wire::keys::config);
    txn.compares.push_back(dcs::Compare::mod_is(key, cluster->config->mod));
    txn.then_ops.push_back(dcs::Op::put(key, patched->json));
    auto written = co_await node_.write(std::move(txn), node_.now() + kWriteBudget);
    if (!written) co_return page(503, "the configuration was not written: " + written.error().text);
    if (!written->succeeded) co_return page(409, "somebody else changed the configuration meanwhile; read it again");
  }
  json_body = wire::restyle_json(patched->json, JsonStyle::spaced).value_or(patched->json);
  co_return RestAnswer{200, "config changed", false};
}

Task<RestAnswer> Api::put_config(const Call& call, std::string& json_body) {
  auto wanted = wire::parse_config_request(call.body);
  if (!wanted) co_return wanted.error();
  const model::ClusterView* cluster = node_.cluster();
  const std::string before = cluster != nullptr ? cluster->config_json : std::string();
  if (auto problems = new_problems(before, *wanted); !problems.empty()) co_return page(400, join(problems, "; "));
  if (before != *wanted) {
    dcs::Txn txn;
    txn.then_ops.push_back(dcs::Op::put(std::string(wire::keys::config), *wanted));
    auto written = co_await node_.write(std::move(txn), node_.now() + kWriteBudget);
    if (!written) co_return page(502, "the configuration was not written: " + written.error().text);
  }
  json_body = wire::restyle_json(*wanted, JsonStyle::spaced).value_or(*wanted);
  co_return RestAnswer{200, "config replaced", false};
}

}  // namespace pgdba::agent::rest
