#include "agent/rest/api.h"

#include <fmt/format.h>

#include "agent/rest/access.h"
#include "base/json_writer.h"
#include "net/log.h"
#include "wire/cluster_json.h"
#include "wire/config_json.h"

namespace pgdba::agent::rest {

using wire::RestAnswer;
using wire::Route;

net::Response json_response(std::string body, int status) {
  net::Response response;
  response.status = status;
  response.headers.emplace_back("Content-Type", "application/json");
  response.body = std::move(body);
  return response;
}

net::Response render(const RestAnswer& answer, bool json) {
  wire::RestBody body = wire::render_answer(answer, json);
  net::Response response;
  response.status = answer.code;
  response.headers.emplace_back("Content-Type", std::move(body.content_type));
  response.body = std::move(body.body);
  if (answer.html) response.close = true;
  return response;
}

namespace {

net::Response bare(int status) {
  net::Response response;
  response.status = status;
  response.bare = true;
  return response;
}

RestAnswer bad_gateway(std::string why) {
  RestAnswer answer;
  answer.code = 502;
  answer.html = true;
  answer.text = std::move(why);
  return answer;
}

std::optional<std::string_view> body_of(const net::Request& request) {
  if (request.body.empty() && !net::find_header(request.headers, "Content-Length")) return std::nullopt;
  return std::string_view(request.body);
}

}  // namespace

Task<net::Response> Api::answer(const net::Request& request, const net::PeerAddress& peer) {
  Call call{request, wire::parse_target(request.target), false, body_of(request)};
  if (auto type = net::find_header(request.headers, "Content-Type")) call.json = wire::is_json_content_type(*type);
  const Route route = wire::route(request.method, call.target.path);
  if (!wire::is_unsafe(route)) co_return read(call, route);

  if (auto refusal = refuse(request, peer, node_.settings().restapi, node_.cluster())) co_return std::move(*refusal);
  std::string json_body;
  RestAnswer answer = co_await change(call, route, json_body);
  log::info("rest", "{} {} from {}: {} {}", request.method, call.target.path, peer.ip, answer.code, log::quoted(answer.text));
  if (!json_body.empty()) co_return json_response(std::move(json_body), answer.code);
  co_return render(answer, call.json);
}

std::optional<net::Response> Api::refuse_early(const net::Request& head, const net::PeerAddress& peer) const {
  if (!wire::is_unsafe(wire::route(head.method, wire::parse_target(head.target).path))) return std::nullopt;
  return refuse(head, peer, node_.settings().restapi, node_.cluster());
}

net::Response Api::read(const Call& call, Route route) const {
  switch (route) {
    case Route::health: return health(call);
    case Route::liveness: {
      wire::LivenessInput in;
      const wire::NodeStatus status = node_.status();
      in.paused = status.pause;
      in.running_primary = status.role == model::Role::primary && status.state == model::PgState::running;
      in.since_last_cycle = node_.late();
      in.ttl = node_.dynamic().timings.ttl;
      return bare(wire::liveness_code(in));
    }
    case Route::readiness: {
      const wire::NodeStatus status = node_.status();
      wire::ReadinessInput in;
      in.status = &status;
      in.believes_leader = node_.believes_leader();
      in.has_cluster = node_.cluster_fresh();
      in.failsafe_active = status.failsafe_mode_is_active;
      in.leader_lsn = node_.leader_lsn();
      in.default_lag = node_.dynamic().maximum_lag_on_failover;
      return bare(wire::readiness_code(in, call.target));
    }
    case Route::patroni: return json_response(wire::format_status_answer(node_.status()));
    case Route::cluster: {
      if (node_.cluster() == nullptr) return render(bad_gateway("etcd has not been read yet"), call.json);
      return json_response(wire::format_cluster_answer(wire::make_cluster_report(*node_.cluster(), node_.settings().scope)));
    }
    case Route::history: {
      if (node_.cluster() == nullptr) return json_response("[]");
      return json_response(wire::format_history_answer(node_.cluster()->history));
    }
    case Route::get_config: {
      const model::ClusterView* cluster = node_.cluster();
      if (cluster == nullptr || cluster->config_json.empty()) return render(bad_gateway("there is no configuration in etcd"), call.json);
      auto text = wire::restyle_json(cluster->config_json, JsonStyle::spaced);
      if (!text) return render(bad_gateway("the configuration in etcd is not JSON"), call.json);
      return json_response(std::move(*text));
    }
    case Route::get_failsafe: {
      const model::ClusterView* cluster = node_.cluster();
      if (cluster == nullptr || !cluster->failsafe) return render(bad_gateway("there is no failsafe key"), call.json);
      auto text = wire::restyle_json(wire::format_failsafe(cluster->failsafe->value), JsonStyle::spaced);
      return text ? json_response(std::move(*text)) : render(bad_gateway("the failsafe key is not JSON"), call.json);
    }
    case Route::metrics: return metrics();
    default: break;
  }
  RestAnswer answer;
  answer.code = 501;
  answer.html = true;
  answer.text = fmt::format("Unsupported method ('{}')", call.request.method);
  return render(answer, call.json);
}

net::Response Api::health(const Call& call) const {
  const wire::NodeStatus status = node_.status();
  // Behind a closed gate (G4), or before it has come out of recovery, PostgreSQL lets no client in: a load balancer must
  // not send any.
  wire::NodeStatus judged = status;
  const bool gate_open = !status.pgdba || status.pgdba->gate_open;
  if (!gate_open && judged.state == model::PgState::running) judged.state = model::PgState::starting;
  wire::HealthInput in;
  in.status = &judged;
  in.has_cluster = node_.cluster_fresh();
  in.believes_leader = node_.believes_leader() && gate_open && status.primary.has_value();
  in.noloadbalance = node_.settings().tags.noloadbalance;
  in.leader_lsn = node_.leader_lsn();
  in.tags = &node_.settings().tags;
  const int code = wire::health_code(in, call.target);
  if (call.request.method != "GET") return bare(code);
  return json_response(wire::format_status_answer(status), code);
}

net::Response Api::metrics() const {
  const wire::NodeStatus status = node_.status();
  wire::MetricsInput in;
  in.status = &status;
  in.failsafe_mode_enabled = node_.dynamic().failsafe_mode;
  const model::ClusterView* cluster = node_.cluster();
  in.failsafe_member = cluster != nullptr && cluster->failsafe && cluster->failsafe->value.contains(node_.settings().name);
  const model::Tags& tags = node_.settings().tags;
  in.failover_priority = tags.may_lead() ? tags.failover_priority : 0;
  in.own = node_.metrics();
  net::Response response;
  response.headers.emplace_back("Content-Type", "text/plain");
  response.body = wire::format_metrics(in);
  return response;
}

Task<RestAnswer> Api::change(const Call& call, Route route, std::string& json_body) {
  switch (route) {
    case Route::patch_config: co_return co_await patch_config(call, json_body);
    case Route::put_config: co_return co_await put_config(call, json_body);
    case Route::switchover: co_return co_await switchover(call, true);
    case Route::failover: co_return co_await switchover(call, false);
    case Route::delete_switchover: co_return co_await delete_switchover();
    case Route::restart: co_return co_await restart(call);
    case Route::delete_restart: co_return delete_restart();
    case Route::reinitialize: co_return co_await reinitialize(call);
    case Route::reload:
      if (auto done = node_.reload(); !done) co_return RestAnswer{503, "not reloaded: " + done.error().text, false};
      co_return RestAnswer{202, "reload scheduled", false};
    case Route::post_failsafe: co_return failsafe(call);
    case Route::sigterm: co_return RestAnswer{202, "", false};
    default: break;
  }
  co_return RestAnswer{501, fmt::format("Unsupported method ('{}')", call.request.method), true};
}

}  // namespace pgdba::agent::rest
