#include "dcs/etcd.h"

#include <algorithm>

#include "dcs/calls.h"
#include "dcs/watch.h"
#include "wire/etcd_json.h"

namespace pgdba::dcs {
namespace {

namespace etcd = wire::etcd;

// A decoder that keeps what `parse` made of the body in `out`.
template <class T>
Calls::Decode keep(Result<T> (*parse)(std::string_view), std::shared_ptr<T> out) {
  return [parse, out](const std::string& body) -> Result<Header> {
    auto parsed = parse(body);
    if (!parsed) return tl::unexpected(parsed.error());
    *out = std::move(*parsed);
    return out->header;
  };
}

class EtcdStore final : public Store {
 public:
  explicit EtcdStore(std::shared_ptr<Calls> calls) : calls_(std::move(calls)) {}

  Task<Result<Range>> range_prefix(std::string prefix, Read read, BootTime deadline) override {
    return range_of(calls_, std::move(prefix), read, deadline);
  }
  Task<Result<TxnResult>> txn(Txn txn, BootTime deadline) override { return txn_of(calls_, std::move(txn), deadline); }
  Task<Result<LeaseGrant>> lease_grant(std::chrono::seconds ttl, BootTime deadline) override {
    return grant_of(calls_, ttl, deadline);
  }
  Task<Result<KeepAlive>> lease_keepalive(int64_t id, BootTime deadline) override {
    return keepalive_of(calls_, id, deadline);
  }
  Task<Result<Header>> lease_revoke(int64_t id, BootTime deadline) override { return revoke_of(calls_, id, deadline); }
  Task<Result<std::vector<Member>>> members(BootTime deadline) override { return members_of(calls_, deadline); }

  std::unique_ptr<Watch> watch(std::string prefix, int64_t after_revision) override {
    return make_watch(calls_, std::move(prefix), after_revision);
  }
  uint64_t foreign_cluster() const override { return calls_->endpoints.foreign_cluster(); }
  void accept_cluster(uint64_t cluster_id) override { calls_->endpoints.accept_cluster(cluster_id); }

 private:
  using Self = std::shared_ptr<Calls>;

  static Task<Result<Range>> range_of(Self calls, std::string prefix, Read read, BootTime deadline) {
    auto out = std::make_shared<Range>();
    std::string body = etcd::format_range(prefix, true, read == Read::serializable);
    auto done = co_await Calls::read(calls, "/v3/kv/range", std::move(body), keep(etcd::parse_range, out),
                                      read == Read::linearizable, deadline);
    if (!done) co_return tl::unexpected(done.error());
    co_return std::move(*out);
  }

  static Task<Result<TxnResult>> txn_of(Self calls, Txn txn, BootTime deadline) {
    auto body = etcd::format_txn(txn);
    if (!body) co_return tl::unexpected(body.error());
    auto out = std::make_shared<TxnResult>();
    auto done = co_await Calls::write(calls, "/v3/kv/txn", std::move(*body), keep(etcd::parse_txn, out), deadline);
    if (!done) co_return tl::unexpected(done.error());
    co_return std::move(*out);
  }

  static Task<Result<LeaseGrant>> grant_of(Self calls, std::chrono::seconds ttl, BootTime deadline) {
    auto out = std::make_shared<etcd::Lease>();
    std::string body = etcd::format_lease_grant(ttl.count(), 0);
    Calls::Decode decode = keep(etcd::parse_lease_grant, out);
    auto done = co_await Calls::write(calls, "/v3/lease/grant", std::move(body), std::move(decode), deadline);
    if (!done) co_return tl::unexpected(done.error());
    co_return LeaseGrant{out->header, out->id, std::chrono::seconds(out->ttl_s)};
  }

  static Task<Result<KeepAlive>> keepalive_of(Self calls, int64_t id, BootTime deadline) {
    auto out = std::make_shared<etcd::Lease>();
    Calls::Decode decode = keep(etcd::parse_lease_keepalive, out);
    std::string body = etcd::format_lease_keepalive(id);
    auto done = co_await Calls::read(calls, "/v3/lease/keepalive", std::move(body), std::move(decode), true, deadline);
    if (!done && done.error().code != Errc::not_found) co_return tl::unexpected(done.error());
    KeepAlive alive;
    alive.header = out->header;
    alive.ttl = std::chrono::seconds(done ? std::max<int64_t>(out->ttl_s, 0) : 0);
    alive.sent_at = done.value_or(calls->loop.now());
    co_return alive;
  }

  static Task<Result<Header>> revoke_of(Self calls, int64_t id, BootTime deadline) {
    auto out = std::make_shared<Header>();
    Calls::Decode decode = [out](const std::string& body) -> Result<Header> {
      auto parsed = etcd::parse_header_only(body);
      if (parsed) *out = *parsed;
      return parsed;
    };
    std::string body = etcd::format_lease_revoke(id);
    auto done = co_await Calls::write(calls, "/v3/lease/revoke", std::move(body), std::move(decode), deadline);
    if (!done) co_return tl::unexpected(done.error());
    co_return *out;
  }

  static Task<Result<std::vector<Member>>> members_of(Self calls, BootTime deadline) {
    auto out = std::make_shared<std::vector<Member>>();
    Calls::Decode decode = [out](const std::string& body) -> Result<Header> {
      auto parsed = etcd::parse_members(body);
      if (!parsed) return tl::unexpected(parsed.error());
      *out = std::move(*parsed);
      return etcd::parse_header_only(body);
    };
    auto done = co_await Calls::read(calls, "/v3/cluster/member/list", "{}", std::move(decode), false, deadline);
    if (!done) co_return tl::unexpected(done.error());
    co_return std::move(*out);
  }

  Self calls_;
};

}  // namespace

Result<std::unique_ptr<Store>> make_etcd_store(net::Loop& loop, EtcdOptions options) {
  std::vector<net::Url> urls;
  bool tls = false;
  for (const std::string& text : options.endpoints) {
    auto url = net::parse_url(text);
    if (!url) return tl::unexpected(std::move(url.error()).context("etcd endpoint"));
    tls = tls || url->tls;
    urls.push_back(std::move(*url));
  }
  if (urls.empty()) return fail(Errc::invalid, "no etcd endpoint is given");
  std::shared_ptr<net::TlsContext> context;
  if (tls) {
    auto made = net::TlsContext::client(options.tls);
    if (!made) return tl::unexpected(std::move(made.error()).context("TLS to etcd"));
    context = std::move(*made);
  }
  auto calls = std::make_shared<Calls>(loop, std::move(options), std::move(urls), std::move(context));
  return std::make_unique<EtcdStore>(std::move(calls));
}

}  // namespace pgdba::dcs
