#include "dcs/endpoints.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <tuple>

#include "net/log.h"

namespace pgdba::dcs {

Endpoints::Endpoints(std::vector<net::Url> urls) {
  for (net::Url& url : urls) {
    Endpoint endpoint;
    endpoint.url = std::move(url);
    list_.push_back(std::move(endpoint));
  }
}

std::vector<size_t> Endpoints::order() const {
  std::vector<size_t> out(list_.size());
  std::iota(out.begin(), out.end(), size_t{0});
  auto rank = [&](size_t i) {
    return std::tuple(list_[i].failed.has_value(), list_[i].failed.value_or(BootTime()), i != preferred_, i);
  };
  std::sort(out.begin(), out.end(), [&](size_t a, size_t b) { return rank(a) < rank(b); });
  return out;
}

Result<void> Endpoints::check(size_t i, const wire::etcd::Header& header, bool idempotent, uint64_t term_before) {
  Endpoint& endpoint = list_[i];
  if (cluster_ == 0) cluster_ = header.cluster_id;
  if (header.cluster_id != cluster_) {
    if (endpoint.foreign_cluster != header.cluster_id) {
      log::warning("dcs", "an endpoint belongs to another etcd cluster than before endpoint={} cluster={:x} before={:x}",
                   endpoint.url.origin(), header.cluster_id, cluster_);
    }
    endpoint.foreign_cluster = header.cluster_id;
    foreign_ = header.cluster_id;
    return fail(Errc::conflict, fmt::format("{} belongs to etcd cluster {:x}, not to {:x}", endpoint.url.origin(),
                                            header.cluster_id, cluster_));
  }
  endpoint.foreign_cluster = 0;
  if (header.raft_term < term_before) {
    // No quorum goes back to an older term. Emptied or restored on all members, etcd begins anew; its cluster id, a hash of
    // the configured addresses, is the same. What that means for the cluster is for ha/ to say (W13).
    log::warning("dcs", "etcd has begun anew: its raft term went back endpoint={} term={} before={}", endpoint.url.origin(),
                 header.raft_term, term_before);
    raft_term_ = header.raft_term;
  }
  if (header.raft_term < raft_term_ && idempotent) {
    return fail(Errc::unavailable, fmt::format("{} is behind: raft term {}, {} was seen", endpoint.url.origin(),
                                               header.raft_term, raft_term_));
  }
  raft_term_ = std::max(raft_term_, header.raft_term);
  return {};
}

void Endpoints::succeeded(size_t i, BootTime now, bool quorum) {
  Endpoint& endpoint = list_[i];
  if (quorum) endpoint.proved = now;
  endpoint.failed.reset();
  if (announced_ && preferred_ == i) return;
  if (announced_ && !list_[preferred_].failed) return;  // a watch or a second call elsewhere does not move the others
  log::info("dcs", "etcd answers endpoint={}{}", endpoint.url.origin(),
            announced_ ? " instead_of=" + list_[preferred_].url.origin() : "");
  announced_ = true;
  preferred_ = i;
}

void Endpoints::failed(size_t i, BootTime now, const Error& why) {
  Endpoint& endpoint = list_[i];
  if (!endpoint.failed) {
    log::info("dcs", "etcd endpoint fails endpoint={} problem={}", endpoint.url.origin(), log::quoted(why.text));
  }
  endpoint.failed = now;
  endpoint.idle.clear();
}

bool Endpoints::all_foreign() const {
  // Those that do not answer at all have no say; with none answering, nothing has changed.
  bool any = false;
  for (const Endpoint& endpoint : list_) {
    if (endpoint.foreign_cluster != 0) {
      any = true;
    } else if (!endpoint.failed) {
      return false;
    }
  }
  return any;
}

void Endpoints::accept_cluster(uint64_t id) {
  cluster_ = id;
  raft_term_ = 0;
  foreign_ = 0;
  for (Endpoint& endpoint : list_) {
    endpoint.foreign_cluster = 0;
    endpoint.failed.reset();
  }
}

}  // namespace pgdba::dcs
