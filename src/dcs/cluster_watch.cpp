#include "dcs/cluster_watch.h"

#include <fmt/format.h>

#include <algorithm>

#include "net/log.h"
#include "wire/cluster_view.h"

namespace pgdba::dcs {

namespace {

constexpr std::string_view kLog = "etcd";
constexpr Duration kPauseAfterFailure = 200ms;
constexpr size_t kMostProofs = 64;

}  // namespace

ClusterWatch::ClusterWatch(net::Loop& loop, Store& store, std::string prefix, std::function<void()> changed)
    : loop_(loop), store_(store), prefix_(std::move(prefix)), changed_(std::move(changed)), first_(loop) {}

Task<void> ClusterWatch::run() {
  for (;;) {
    Result<void> listed = co_await read(loop_.after(std::max<Duration>(freshness_ * 2, 1s)));
    if (!listed) {
      co_await loop_.sleep_for(kPauseAfterFailure);
      continue;
    }
    std::unique_ptr<Watch> watch = store_.watch(prefix_, view_.revision);
    const uint64_t epoch = epoch_;
    bool usable = true;
    // A reading by somebody else may have found another etcd meanwhile: this watch would follow the old one.
    while (usable && epoch_ == epoch) {
      Result<WatchBatch> batch = co_await watch->next(loop_.after(1s));
      if (!batch) {
        if (batch.error().code == Errc::timeout) continue;
        failed(batch.error(), "watching");
        co_await loop_.sleep_for(kPauseAfterFailure);
        continue;
      }
      heard();
      switch (batch->kind) {
        case WatchBatch::Kind::events: {
          bool changed = false;
          for (const KeyEvent& event : batch->events) changed |= wire::apply_event(view_, prefix_, event);
          view_.raft_term = std::max(view_.raft_term, batch->header.raft_term);
          settle_proofs();
          if (changed) changed_();
          break;
        }
        case WatchBatch::Kind::progress:
          view_.revision = std::max(view_.revision, batch->header.revision);
          settle_proofs();
          break;
        case WatchBatch::Kind::compacted:
        case WatchBatch::Kind::foreign:
          log::info(kLog, "reading the cluster again: {}",
                    batch->kind == WatchBatch::Kind::compacted ? "the history after our last reading was compacted"
                                                                    : "the endpoints belong to another etcd cluster now");
          usable = false;
          break;
      }
    }
  }
}

Task<void> ClusterWatch::stay_fresh() {
  while (!have_) co_await first_.wait_for(1s);
  for (;;) {
    const BootTime due = view_.as_of + freshness_;
    if (loop_.now() < due) {
      co_await loop_.sleep_until(due);
      continue;  // a write of our own may have proved it meanwhile
    }
    Result<void> answered = co_await read(loop_.after(std::max<Duration>(freshness_, 500ms)));
    if (!answered) co_await loop_.sleep_for(std::min(freshness_, kPauseAfterFailure));
  }
}

Task<Result<void>> ClusterWatch::read(BootTime deadline) {
  for (int attempt = 0;; ++attempt) {
    const BootTime sent = loop_.now();
    const model::Revision before = view_.revision;
    Result<Range> range = co_await store_.range_prefix(prefix_, Read::linearizable, deadline);
    if (range) {
      take(std::move(*range), sent, before);
      co_return Result<void>();
    }
    if (range.error().code == Errc::conflict && attempt == 0) {
      if (uint64_t other = store_.foreign_cluster(); other != 0) {
        log::warning(kLog, "etcd was wiped or restored: another cluster id cluster_id={:x} before={:x}", other, view_.cluster_id);
        store_.accept_cluster(other);
        continue;
      }
    }
    failed(range.error(), "reading the cluster");
    co_return tl::unexpected(std::move(range.error()));
  }
}

void ClusterWatch::take(wire::etcd::Range range, BootTime sent, model::Revision revision_when_sent) {
  heard();
  const wire::etcd::Header& header = range.header;
  const bool same_etcd = have_ && header.cluster_id == view_.cluster_id;
  // Older than what the view already had when we asked: this etcd went back in time. Older than the view only now:
  // the watch has overtaken the reading.
  const bool overtaken = same_etcd && header.revision < view_.revision && header.revision >= revision_when_sent;
  if (overtaken || (same_etcd && header.revision == view_.revision && header.raft_term == view_.raft_term)) {
    view_.as_of = std::max(view_.as_of, sent);
    view_.raft_term = std::max(view_.raft_term, header.raft_term);
    return;
  }
  wire::ReadHeader about;
  about.revision = header.revision;
  about.cluster_id = header.cluster_id;
  about.raft_term = header.raft_term;
  about.as_of = same_etcd ? std::max(view_.as_of, sent) : sent;
  if (!same_etcd || header.revision < view_.revision) {
    proofs_.clear();
    ++epoch_;
  }
  view_ = wire::build_cluster_view(prefix_, range.kvs, about);
  if (!have_) {
    have_ = true;
    first_.notify();
  }
  settle_proofs();
  changed_();
}

void ClusterWatch::wrote(BootTime sent, model::Revision revision) {
  if (proofs_.size() >= kMostProofs) proofs_.erase(proofs_.begin());
  proofs_.push_back({sent, revision});
  settle_proofs();
}

void ClusterWatch::settle_proofs() {
  std::erase_if(proofs_, [this](const Proof& proof) {
    if (proof.revision > view_.revision) return false;
    view_.as_of = std::max(view_.as_of, proof.sent);
    return true;
  });
}

void ClusterWatch::heard() {
  if (trouble_.empty()) return;
  log::info(kLog, "etcd answers again");
  trouble_.clear();
}

void ClusterWatch::failed(const Error& error, const char* doing) {
  if (trouble_ == error.text) return;  // once per reason
  trouble_ = error.text.empty() ? "no answer" : error.text;
  log::warning(kLog, "{}: {} ({})", doing, trouble_, to_string(error.code));
}

}  // namespace pgdba::dcs
