#include "agent/agent.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "agent/status.h"
#include "base/version.h"
#include "net/log.h"

namespace pgdba::agent {

namespace {

constexpr std::string_view kLog = "agent";
constexpr Duration kBurst = 100ms;
constexpr int kMostStepsPerBurst = 400;

constexpr Duration kOwnWriteSeen = 1s;  // the longest that a write of the REST API waits for the watch to show it

ha::Self self_of(const conf::AgentSettings& settings, const std::string& run_id, const model::DynamicConfig& config) {
  ha::Self self;
  self.name = settings.name;
  self.run_id = run_id;
  self.bootstrap_config = config;
  self.conn_url = fmt::format("postgres://{}/{}", conf::format_address(settings.postgresql.connect_address), settings.postgresql.database);
  self.api_url = fmt::format("{}://{}/patroni", settings.restapi.certfile.empty() ? "http" : "https", conf::format_address(settings.restapi.connect_address));
  self.version = kPatroniVersion;
  self.pgdba_version = kVersion;
  self.tags = settings.tags;
  self.may_bootstrap = settings.bootstrap.present;
  self.bootstrap_delay = settings.bootstrap.delay;
  self.use_pg_rewind = settings.postgresql.use_pg_rewind;
  self.remove_data_on_rewind_failure = settings.postgresql.remove_data_directory_on_rewind_failure;
  self.remove_data_on_diverged_timelines = settings.postgresql.remove_data_directory_on_diverged_timelines;
  return self;
}

}  // namespace

Agent::Agent(Parts parts)
    : loop_(parts.loop),
      store_(parts.store),
      settings_(std::move(parts.settings)),
      prefix_(std::move(parts.prefix)),
      wake_(loop_),
      changed_(loop_),
      local_(loop_, pg_settings(settings_), settings_.bootstrap.pg_hba, [this] { wake_.notify(); }),
      watch_(loop_, store_, prefix_,
             [this] {
               note_cluster();
               wake_.notify();
             }),
      peers_(loop_, settings_, std::move(parts.peer_tls)),
      dynamic_(loop_, local_, settings_, [this] { render_files(); }),
      hands_({loop_, store_, watch_, local_, peers_, prefix_, dynamic_}),
      lanes_(hands_, [this] { wake_.notify(); }),
      run_id_(std::move(parts.run_id)),
      api_(loop_, *this) {
  hands_.on_exit = [this](int code) { exit_code_ = code; };
  hands_.on_answer = [this](const ha::Answer& answer) {
    std::erase_if(requests_, [&](const ha::Request& request) { return request.id == answer.request; });
    if (auto waiting = answers_.find(answer.request); waiting != answers_.end()) waiting->second = answer;
    changed_.notify();
  };
}

Agent::~Agent() = default;

Result<void> Agent::prepare() { return local_.prepare(); }

Task<int> Agent::run() {
  net::Job watching = loop_.start(watch_.run(), "etcd watch");
  if (auto allowed = co_await refuse_duplicate(); !allowed) {
    log::error(kLog, "{}", allowed.error().text);
    co_await watching.stop();
    co_return 1;
  }
  if (exit_code_) {
    co_await watching.stop();
    co_return *exit_code_;
  }
  dynamic_.load();
  note_cluster();
  core_.emplace(self_of(settings_, run_id_, dynamic_.wanted()));
  if (auto serving = co_await serve(); !serving) {
    log::error(kLog, "{}", serving.error().text);
    co_await watching.stop();
    co_return 1;
  }
  net::Job fresh = loop_.start(watch_.stay_fresh(), "etcd freshness");
  net::Job readings = loop_.start(local_.watch(), "postgres readings");
  while (local_.reading().measured_at == BootTime{} && !exit_code_) co_await wake_.wait_for(1s);
  render_files();  // the settings may have changed while no agent ran
  net::Job configuring = loop_.start(dynamic_.run(), "dynamic configuration");

  while (!exit_code_) {
    step();
    if (exit_code_) break;
    co_await wake_.wait_until(next_step_);
    // A core that contradicts itself must not take the loop away from the lease.
    const BootTime now = loop_.now();
    if (now > burst_since_ + kBurst) {
      burst_since_ = now;
      burst_ = 0;
    } else if (++burst_ > kMostStepsPerBurst) {
      log::warning(kLog, "more than {} steps in {} ms, slowing down: {}", kMostStepsPerBurst, to_ms(kBurst), log_.state());
      co_await loop_.sleep_for(20ms);
    }
  }
  server_->close();
  co_await configuring.stop();
  co_await readings.stop();
  co_await fresh.stop();
  co_await watching.stop();
  co_return *exit_code_;
}

// Patroni's rule (2.9): any HTTP answer from the node registered under our name means that it lives.
Task<Result<void>> Agent::refuse_duplicate() {
  BootTime told{};
  while (watch_.view() == nullptr) {
    if (exit_code_) co_return Result<void>();
    if (told == BootTime{} || loop_.now() > told + 5s) {
      if (told != BootTime{}) log::info(kLog, "waiting for etcd");
      told = loop_.now();
    }
    co_await wake_.wait_for(1s);
  }
  auto member = watch_.view()->members.find(settings_.name);
  if (member == watch_.view()->members.end() || member->second.value.api_url.empty()) co_return Result<void>();
  if (co_await peers_.alive(member->second.value.api_url, loop_.after(3s))) {
    co_return fail(Errc::conflict, fmt::format("Can't start; there is already a node named '{}' running at {}", settings_.name, member->second.value.api_url));
  }
  co_return Result<void>();
}

net::HttpServerOptions Agent::server_options() const {
  const conf::RestapiSettings& rest = settings_.restapi;
  net::HttpServerOptions options;
  if (rest.server_tokens == "minimal") {
    options.server_name = fmt::format("Patroni/{}", kPatroniVersion);
  } else if (rest.server_tokens == "productonly") {
    options.server_name = "Patroni";
  }
  for (const auto& [name, value] : rest.extra_headers) options.extra_headers.emplace_back(name, value);
  if (!rest.certfile.empty()) {
    net::TlsServerOptions tls;
    tls.cert_file = rest.certfile;
    tls.key_file = rest.keyfile;
    tls.key_password = rest.keyfile_password;
    tls.ca_file = rest.cafile;
    tls.ciphers = rest.ciphers;
    using Verify = conf::RestapiSettings::VerifyClient;
    using Want = net::TlsServerOptions::ClientCertificate;
    tls.client_certificate = rest.verify_client == Verify::required ? Want::required : rest.verify_client == Verify::optional ? Want::optional : Want::none;
    options.tls = tls;
  }
  options.doorkeeper = [this](const net::Request& head, const net::PeerAddress& peer) { return api_.refuse_early(head, peer); };
  return options;
}

Task<Result<void>> Agent::serve() {
  net::HttpHandler handler = [this](const net::Request& request, const net::PeerAddress& peer) { return api_.answer(request, peer); };
  server_ = std::make_unique<net::HttpServer>(loop_, server_options(), std::move(handler));
  const conf::Address& at = settings_.restapi.listen;
  auto listening = co_await server_->listen(at.host, at.port, loop_.after(10s));
  if (!listening) co_return tl::unexpected(std::move(listening.error()).context("restapi.listen"));
  log::info(kLog, "REST API listens on {}", conf::format_address(at));
  co_return Result<void>();
}

void Agent::stop_requested() {
  if (watch_.view() == nullptr || local_.reading().measured_at == BootTime{}) {  // nothing has begun
    exit_code_ = 0;
    wake_.notify();
    return;
  }
  auto shutdown = std::find_if(requests_.begin(), requests_.end(), [](const ha::Request& r) { return r.kind == ha::Request::Kind::shutdown; });
  if (shutdown == requests_.end()) {
    log::info(kLog, "stopping on request");
    requests_.push_back({next_request_++, ha::Request::Kind::shutdown, false});
  } else if (!shutdown->force) {
    log::info(kLog, "stopping on request, without waiting for clients");
    shutdown->force = true;
  }
  wake_.notify();
}

void Agent::note_cluster() {
  const model::ClusterView* view = watch_.view();
  if (view == nullptr) return;
  dynamic_.take(*view);
  const Duration ttl = dynamic_.in_force().timings.ttl;
  hands_.set_ttl(ttl);
  watch_.want_fresh(ttl / 5);
  std::map<std::string, std::string> urls;
  for (const auto& [name, member] : view->members) urls[name] = member.value.conn_url;
  if (urls != members_told_) {
    members_told_ = urls;
    local_.set_members(std::move(urls));
  }
  if (view->unreadable != unreadable_told_) {
    unreadable_told_ = view->unreadable;
    for (const auto& [key, revision] : unreadable_told_) log::warning("etcd", "the value of {} cannot be read revision={}", key, revision);
  }
}

void Agent::render_files() {
  // Without a data directory there is nothing to render yet: a clone or initdb takes the newest inputs.
  if (render_wanted_ || local_.reading().data != model::DataDir::present) return;
  render_wanted_ = true;
  std::vector<ha::Action> own;
  own.push_back({next_own_action_++, ha::ApplyConfig{}, "the parameters changed"});
  log::info("config", "rendering the files again: the parameters changed");
  lanes_.submit(std::move(own));
}

ha::View Agent::take_view() {
  ha::View view;
  view.now = loop_.now();
  view.wall = loop_.wall_now();
  view.cluster = watch_.view();
  view.pg = local_.reading();
  view.freeze_record = local_.freeze_record();
  view.page = local_.page();
  view.peers = hands_.peers;
  view.upstream = hands_.upstream;
  view.requests = requests_;
  if (planned_) view.scheduled_restart = record_of(*planned_);
  for (ha::Completion& completion : lanes_.take_completed()) {
    log_.ended(completion, view.now);
    if (completion.id >= kOwnActions) {
      render_wanted_ = false;
      if (completion.outcome == ha::Completion::Outcome::dropped) render_files();
      continue;
    }
    view.completed.push_back(std::move(completion));
  }
  return view;
}

void Agent::plan_restart(std::optional<PlannedRestart> plan) {
  planned_ = std::move(plan);
  log::info(kLog, "{}", planned_ ? fmt::format("a restart is scheduled at {}", record_of(*planned_).schedule) : "the scheduled restart is deleted");
  wake_.notify();
}

// The scheduled restart becomes a request when its time has come.
void Agent::follow_plan() {
  if (!planned_ || watch_.view() == nullptr) return;
  const RestartVerdict verdict = judge(*planned_, status(), loop_.wall_now(), dynamic_.in_force().timings.loop_wait);
  if (verdict.due == RestartDue::wait) return;
  if (verdict.due == RestartDue::now) {
    log::info(kLog, "the time of the scheduled restart has come");
    requests_.push_back({next_request_++, ha::Request::Kind::restart, false});
  } else {
    log::warning(kLog, "the scheduled restart is dropped: {}", verdict.why);
  }
  planned_.reset();
}

void Agent::step() {
  follow_plan();
  const ha::View view = take_view();
  ha::Decision decision = core_->step(view);
  ++steps_;
  actions_ += decision.actions.size();
  log_.decided(decision, view.now);
  next_step_ = decision.wake_at;
  if (planned_) next_step_ = std::min(next_step_, loop_.after(500ms));
  local_.observe_every(decision.observe_every);
  lanes_.submit(std::move(decision.actions));
  changed_.notify();
}

// ---- rest::Node ---------------------------------------------------------------------------------------------------

wire::NodeStatus Agent::status() const {
  StatusInput in;
  in.pg = &local_.reading();
  in.cluster = watch_.view();
  in.cluster_fresh = cluster_fresh();
  in.local_action = lanes_.running(ha::Lane::local);
  in.now = loop_.now();
  in.standing = core_->standing(in.now);
  in.wall = loop_.wall_now();
  in.scope = settings_.scope;
  in.name = settings_.name;
  in.tags = settings_.tags;
  wire::NodeStatus out = make_status(in);
  if (planned_) {
    out.scheduled_restart = record_of(*planned_);
    out.scheduled_restart->postmaster_start_time.clear();
  }
  return out;
}

bool Agent::cluster_fresh() const {
  return watch_.view() != nullptr && loop_.now() < watch_.view()->as_of + dynamic_.in_force().timings.ttl;
}

bool Agent::believes_leader() const { return core_->standing(loop_.now()).leader; }

Lsn Agent::leader_lsn() const { return agent::leader_lsn(local_.reading(), watch_.view()); }

Duration Agent::late() const { return std::max<Duration>(Duration{0}, loop_.now() - next_step_); }

std::vector<wire::OwnMetric> Agent::metrics() const {
  const ha::Core::Standing standing = core_->standing(loop_.now());
  const auto seconds = [](Duration d) { return fmt::format("{:.3f}", std::chrono::duration<double>(d).count()); };
  std::vector<wire::OwnMetric> out;
  out.push_back({"pgdba_term", "Newest term that this member has seen", "gauge", fmt::format("{}", standing.term)});
  out.push_back({"pgdba_lock_seconds", "For how long the leader lock is still proved to be ours; 0 on others", "gauge",
                 seconds(standing.leader && standing.deadline ? std::max<Duration>(Duration{0}, *standing.deadline - loop_.now()) : Duration{0})});
  out.push_back({"pgdba_frozen", "1 while this member has promised to acknowledge nobody", "gauge", standing.frozen ? "1" : "0"});
  const model::ClusterView* view = watch_.view();
  out.push_back({"pgdba_view_age_seconds", "Age of the view of etcd", "gauge", seconds(view == nullptr ? Duration{0} : loop_.now() - view->as_of)});
  out.push_back({"pgdba_steps_total", "Decisions taken", "counter", fmt::format("{}", steps_)});
  out.push_back({"pgdba_actions_total", "Actions given out", "counter", fmt::format("{}", actions_)});
  out.push_back({"pgdba_log_lines_dropped_total", "Log lines that a stuck disk or terminal cost", "counter", fmt::format("{}", log::dropped())});
  if (server_) {
    const net::HttpServer::Counters counters = server_->counters();
    out.push_back({"pgdba_http_requests_total", "REST requests answered", "counter", fmt::format("{}", counters.requests)});
    out.push_back({"pgdba_http_evicted_total", "REST connections closed to make room", "counter", fmt::format("{}", counters.evicted)});
  }
  return out;
}

Task<Result<dcs::TxnResult>> Agent::write(dcs::Txn txn, BootTime deadline) {
  for (dcs::Compare& compare : txn.compares) compare.key = prefix_ + compare.key;
  for (dcs::Op& op : txn.then_ops) op.key = prefix_ + op.key;
  const BootTime sent = loop_.now();
  auto answer = co_await store_.txn(std::move(txn), deadline);
  if (!answer) co_return answer;
  watch_.wrote(sent, answer->header.revision);
  // Whoever asks this member next reads what was written: the watch brings it in milliseconds.
  const BootTime limit = std::min(deadline, loop_.after(kOwnWriteSeen));
  const auto seen = [&] { return watch_.view() != nullptr && watch_.view()->revision >= answer->header.revision; };
  while (answer->succeeded && !seen() && loop_.now() < limit) co_await changed_.wait_until(limit);
  co_return answer;
}

Task<Result<wire::NodeStatus>> Agent::ask(std::string api_url, BootTime deadline) { return peers_.status(std::move(api_url), deadline); }

Task<Result<ha::Answer>> Agent::operate(ha::Request::Kind kind, bool force, BootTime deadline) {
  const uint64_t id = next_request_++;
  requests_.push_back({id, kind, force});
  answers_[id] = std::nullopt;
  wake_.notify();
  while (!answers_[id] && loop_.now() < deadline) co_await changed_.wait_until(std::min(deadline, loop_.after(1s)));
  std::optional<ha::Answer> answer = std::move(answers_[id]);
  answers_.erase(id);
  if (!answer) {
    if (kind == ha::Request::Kind::restart) {
      std::erase_if(requests_, [id](const ha::Request& request) { return request.id == id; });
      log::warning(kLog, "whoever asked for a restart has given up waiting: unless it has begun, it is dropped");
      wake_.notify();
    }
    co_return fail(Errc::timeout, "no answer yet");
  }
  co_return std::move(*answer);
}

Result<void> Agent::reload() {
  if (!read_settings_) return {};
  auto settings = read_settings_();
  if (!settings) {
    log::error(kLog, "not reloaded, the settings before stay in force: {}", settings.error().text);
    return tl::unexpected(settings.error());
  }
  // Who we are and where our data lies cannot change under a running agent.
  settings->name = settings_.name;
  settings->scope = settings_.scope;
  settings->name_space = settings_.name_space;
  settings->postgresql.data_dir = settings_.postgresql.data_dir;
  auto keep = [](const char* what, auto& fresh, auto& old) {
    if (fresh == old) return;
    log::warning(kLog, "{} changed: that takes a restart of this agent", what);
    fresh = old;
  };
  keep("postgresql.listen", settings->postgresql.listen_addresses, settings_.postgresql.listen_addresses);
  keep("the port of postgresql.listen", settings->postgresql.port, settings_.postgresql.port);
  keep("postgresql.connect_address", settings->postgresql.connect_address, settings_.postgresql.connect_address);
  keep("postgresql.pgpass", settings->postgresql.pgpass, settings_.postgresql.pgpass);
  keep("restapi.listen", settings->restapi.listen, settings_.restapi.listen);
  keep("restapi.connect_address", settings->restapi.connect_address, settings_.restapi.connect_address);
  if (settings->restapi.certfile.empty() != settings_.restapi.certfile.empty()) {
    keep("whether REST uses TLS (restapi.certfile)", settings->restapi.certfile, settings_.restapi.certfile);
  }
  settings_ = std::move(*settings);
  dynamic_.reload(settings_);
  if (core_) core_->set_self(self_of(settings_, run_id_, dynamic_.wanted()));
  if (server_ && !settings_.restapi.certfile.empty()) {
    if (auto loaded = server_->reload_tls(*server_options().tls); !loaded) log::error(kLog, "the REST certificate was not reloaded: {}", loaded.error().text);
  }
  log::info(kLog, "settings reloaded");
  wake_.notify();
  return {};
}

}  // namespace pgdba::agent
