#include "dcs/calls.h"

#include <fmt/format.h>

#include <algorithm>

#include "wire/etcd_json.h"

namespace pgdba::dcs {

namespace etcd = wire::etcd;
using Connection = std::unique_ptr<net::HttpConnection>;

namespace {

constexpr size_t max_idle = 4;  // connections kept per endpoint

// After a round over all endpoints that failed at once: a growing breath, so that a dead etcd costs no core.
Duration pause_after(int round) { return std::min<Duration>(10ms * (1 << std::min(round, 5)), 200ms); }

// etcd checks a password with bcrypt, which takes 0.1 s and on a busy host much more.
BootTime login_limit(const Calls& calls, int round, BootTime deadline) {
  return std::min(deadline, calls.loop.now() + 4 * calls.options.hedge_after * (1 << std::min(round, 4)));
}

}  // namespace

Calls::Calls(net::Loop& l, EtcdOptions o, std::vector<net::Url> urls, std::shared_ptr<net::TlsContext> tls)
    : loop(l), options(std::move(o)), endpoints(std::move(urls)), tls_(std::move(tls)) {}

net::Request Calls::request(std::string path, std::string body) const {
  net::Request out;
  out.method = "POST";
  out.target = std::move(path);
  out.headers = {{"Content-Type", "application/json"}};
  if (!token.empty()) out.headers.emplace_back("Authorization", token);
  out.body = std::move(body);
  return out;
}

Task<Result<Connection>> Calls::connect(Self self, size_t endpoint, BootTime limit) {
  auto& idle = self->endpoints.at(endpoint).idle;
  while (!idle.empty()) {
    Connection kept = std::move(idle.back());
    idle.pop_back();
    if (kept->usable()) co_return kept;
  }
  net::HttpLimits limits;
  limits.body_bytes = etcd::kMaxEtcdAnswer;
  net::Url url = self->endpoints.at(endpoint).url;
  auto fresh = std::make_unique<net::HttpConnection>(self->loop, url, self->tls_, limits);
  BootTime connected_by = std::min(limit, self->loop.now() + self->options.connect_timeout);
  if (auto connected = co_await fresh->connect(connected_by); !connected) {
    co_return fail(Errc::unavailable, connected.error().text);
  }
  co_return fresh;
}

// One request on one connection. result's error codes are those of store.h for a write.
Task<Calls::Outcome> Calls::exchange(Self self, size_t endpoint, Connection connection, net::Request request,
                                     Decode decode, bool idempotent, bool quorum, BootTime limit) {
  std::string origin = self->endpoints.at(endpoint).url.origin();
  std::string used_token = self->token;
  auto failed = [&](Errc code, std::string_view text, bool answered) {
    return Outcome{fail(code, fmt::format("{}: {}", origin, text)), answered, used_token};
  };
  BootTime sent_at = self->loop.now();
  // A linearizable read only: a keepalive is answered by whoever believes that it leads.
  const uint64_t term_before = quorum && request.target == "/v3/kv/range" ? self->endpoints.raft_term() : 0;
  auto response = co_await connection->request(std::move(request), limit);
  if (!response) {
    Errc code = response.error().code == Errc::unavailable ? Errc::unavailable : Errc::timeout;
    co_return Outcome{fail(code, response.error().text), false, used_token};
  }
  auto& idle = self->endpoints.at(endpoint).idle;
  if (connection->usable() && idle.size() < max_idle) idle.push_back(std::move(connection));
  if (response->status != 200) {
    auto error = etcd::parse_error(response->body);
    if (!error) co_return failed(Errc::timeout, fmt::format("HTTP status {}, not from etcd", response->status), false);
    co_return failed(etcd::errc_of(*error), error->message, true);
  }
  auto header = decode(response->body);
  if (!header) {
    // A stream's answer (keepalive) carries its error inside; what cannot be understood leaves the outcome open.
    Errc code = header.error().code == Errc::invalid ? Errc::timeout : header.error().code;
    co_return failed(code, header.error().text, code != Errc::timeout);
  }
  if (auto ok = self->endpoints.check(endpoint, *header, idempotent, term_before); !ok) {
    co_return Outcome{tl::unexpected(ok.error()), false, used_token};
  }
  self->endpoints.succeeded(endpoint, self->loop.now(), quorum);
  co_return Outcome{sent_at, true, used_token};
}

Task<Result<void>> Calls::probe(Self self, size_t endpoint, BootTime limit) {
  auto connection = co_await connect(self, endpoint, limit);
  if (!connection) co_return tl::unexpected(connection.error());
  Decode decode = [](const std::string& body) -> Result<etcd::Header> {
    auto parsed = etcd::parse_range(body);
    if (!parsed) return tl::unexpected(parsed.error());
    return parsed->header;
  };
  net::Request request = self->request("/v3/kv/range", etcd::format_range(std::string_view("\0", 1), false, false));
  Outcome outcome =
      co_await exchange(self, endpoint, std::move(*connection), std::move(request), decode, true, true, limit);
  // Who may not read that key hears so only after the quorum was asked.
  if (outcome.result || outcome.result.error().code == Errc::denied) co_return Result<void>();
  co_return tl::unexpected(outcome.result.error());
}

Task<Result<void>> Calls::authenticate(Self self, size_t endpoint, std::string stale, BootTime limit) {
  if (self->options.user.empty()) co_return fail(Errc::denied, "etcd wants a user and a password");
  if (self->token != stale) co_return Result<void>();  // somebody else got a new one meanwhile
  auto connection = co_await connect(self, endpoint, limit);
  if (!connection) co_return tl::unexpected(connection.error());
  self->token.clear();
  net::Request request = self->request("/v3/auth/authenticate",
                                       etcd::format_authenticate(self->options.user, self->options.password.reveal()));
  auto response = co_await (*connection)->request(std::move(request), limit);
  if (!response) co_return fail(Errc::unavailable, response.error().text);
  if (response->status != 200) {
    auto error = etcd::parse_error(response->body);
    if (!error) co_return fail(Errc::unavailable, fmt::format("HTTP status {} to a login", response->status));
    Errc code = etcd::errc_of(*error);
    // Authentication switched off at etcd: then no token is needed.
    if (error->message.find("authentication is not enabled") != std::string::npos) co_return Result<void>();
    if (code == Errc::invalid) code = Errc::denied;
    if (code == Errc::timeout) code = Errc::unavailable;  // a login changes nothing that a caller waits for
    co_return fail(code, error->message);
  }
  auto token = etcd::parse_token(response->body);
  if (!token) co_return fail(Errc::unavailable, token.error().text);
  self->token = std::move(*token);
  co_return Result<void>();
}

Task<Result<BootTime>> Calls::read(Self self, std::string path, std::string body, Decode decode, bool quorum,
                                   BootTime deadline) {
  Error last{Errc::unavailable, "the time was over before anything was sent"};
  // One attempt without an answer leaves the outcome open (a keepalive may still prolong), whatever came after it.
  bool open = false;
  auto give_up = [&] { return fail(open ? Errc::timeout : last.code, last.text); };
  bool logged_in = false;
  for (int round = 0;; ++round) {
    for (size_t endpoint : self->endpoints.order()) {
      BootTime now = self->loop.now();
      if (now >= deadline) co_return give_up();
      BootTime limit = std::min(deadline, now + self->options.hedge_after * (1 << std::min(round, 4)));
      if (self->token.empty() && !self->options.user.empty() && !logged_in) {
        auto login = co_await authenticate(self, endpoint, "", login_limit(*self, round, deadline));
        if (!login && login.error().code == Errc::denied) co_return tl::unexpected(login.error());
        if (!login) {
          last = login.error();
          self->endpoints.failed(endpoint, self->loop.now(), last);
          continue;
        }
        logged_in = true;
      }
      auto connection = co_await connect(self, endpoint, limit);
      if (!connection) {
        last = connection.error();
        self->endpoints.failed(endpoint, self->loop.now(), last);
        continue;
      }
      net::Request request = self->request(path, body);
      Outcome outcome =
          co_await exchange(self, endpoint, std::move(*connection), std::move(request), decode, true, quorum, limit);
      if (outcome.result) co_return outcome.result;
      last = outcome.result.error();
      open = open || last.code == Errc::timeout;
      if (outcome.answered && last.code == Errc::denied && !self->options.user.empty() &&
          !std::exchange(logged_in, true)) {
        auto renewed = co_await authenticate(self, endpoint, outcome.token, login_limit(*self, round, deadline));
        if (!renewed) co_return tl::unexpected(renewed.error());
        break;  // and once more from the start
      }
      bool final = outcome.answered && (last.code == Errc::denied || last.code == Errc::not_found || last.code == Errc::invalid);
      if (final) co_return tl::unexpected(last);
      self->endpoints.failed(endpoint, self->loop.now(), last);
    }
    if (self->endpoints.all_foreign()) co_return fail(Errc::conflict, "the endpoints belong to another etcd cluster than before");
    BootTime again = self->loop.now() + pause_after(round);
    if (again >= deadline) co_return give_up();
    co_await self->loop.sleep_until(again);
  }
}

Task<Result<BootTime>> Calls::write(Self self, std::string path, std::string body, Decode decode, BootTime deadline) {
  Error last{Errc::unavailable, "the time was over before anything was sent"};
  auto not_applied = [&] { return fail(Errc::unavailable, last.text); };
  bool logged_in = false;
  for (int round = 0;; ++round) {
    for (size_t endpoint : self->endpoints.order()) {
      BootTime now = self->loop.now();
      if (now >= deadline) co_return not_applied();
      BootTime limit = std::min(deadline, now + self->options.hedge_after * (1 << std::min(round, 4)));
      if (self->token.empty() && !self->options.user.empty() && !logged_in) {
        auto login = co_await authenticate(self, endpoint, "", login_limit(*self, round, deadline));
        if (!login && login.error().code == Errc::denied) co_return tl::unexpected(login.error());
        if (!login) {
          last = login.error();
          self->endpoints.failed(endpoint, self->loop.now(), last);
          continue;
        }
        logged_in = true;
      }
      // Asked first, when it failed or proved nothing lately: if this member is frozen or dying, or sees a dead etcd
      // leader, the write was not sent. Sent to a dead leader it would be lost without a word.
      const Endpoint& known = self->endpoints.at(endpoint);
      if (known.failed || now - known.proved > self->options.probe_age) {
        if (auto alive = co_await probe(self, endpoint, limit); !alive) {
          last = alive.error();
          self->endpoints.failed(endpoint, self->loop.now(), last);
          continue;
        }
      }
      auto connection = co_await connect(self, endpoint, limit);
      if (!connection) {
        last = connection.error();
        self->endpoints.failed(endpoint, self->loop.now(), last);
        continue;
      }
      net::Request request = self->request(path, body);
      Outcome outcome =
          co_await exchange(self, endpoint, std::move(*connection), std::move(request), decode, false, true, deadline);
      if (outcome.result) co_return outcome.result;
      last = outcome.result.error();
      switch (last.code) {
        case Errc::unavailable:  // certainly not applied
          self->endpoints.failed(endpoint, self->loop.now(), last);
          continue;
        case Errc::denied: {
          if (self->options.user.empty() || std::exchange(logged_in, true)) co_return tl::unexpected(last);
          auto renewed = co_await authenticate(self, endpoint, outcome.token, login_limit(*self, round, deadline));
          if (!renewed) co_return tl::unexpected(renewed.error());
          break;
        }
        case Errc::timeout:
          self->endpoints.failed(endpoint, self->loop.now(), last);
          co_return tl::unexpected(last);
        default: co_return tl::unexpected(last);
      }
      break;  // logged in: once more from the start
    }
    if (self->endpoints.all_foreign()) co_return fail(Errc::conflict, "the endpoints belong to another etcd cluster than before");
    BootTime again = self->loop.now() + pause_after(round);
    if (again >= deadline) co_return not_applied();
    co_await self->loop.sleep_until(again);
  }
}

}  // namespace pgdba::dcs
