#include "dcs/watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>

#include "net/log.h"
#include "wire/etcd_json.h"

namespace pgdba::dcs {
namespace {

namespace etcd = wire::etcd;

constexpr size_t max_waiting = 1000;  // batches that nobody takes: then reading stops, and TCP slows etcd down

struct State {
  State(std::shared_ptr<Calls> c, std::string p, int64_t revision)
      : calls(std::move(c)), prefix(std::move(p)), delivered(revision), arrived(calls->loop), taken(calls->loop) {}

  std::shared_ptr<Calls> calls;
  std::string prefix;
  int64_t delivered;  // everything up to this revision was put into `waiting`
  std::deque<WatchBatch> waiting;
  net::Event arrived, taken;
  BootTime last_heard{};
  std::string endpoint;  // connected to; empty: to none
  std::string problem = "not connected yet";
  bool ended = false;

  void push(WatchBatch batch) {
    // Progress is news only once.
    if (batch.kind == WatchBatch::Kind::progress && !waiting.empty() &&
        waiting.back().kind == WatchBatch::Kind::progress) {
      waiting.back() = std::move(batch);
    } else {
      waiting.push_back(std::move(batch));
    }
    arrived.notify();
  }
  void end(WatchBatch batch) {
    ended = true;
    push(std::move(batch));
  }
};
using Shared = std::shared_ptr<State>;

// What one message does to the stream: go on, or an error that breaks it.
class Stream {
 public:
  Stream(Shared state, size_t endpoint) : state_(std::move(state)), endpoint_(endpoint) {}

  Result<void> take(std::string_view chunk) {
    line_ += chunk;
    if (line_.size() > etcd::kMaxEtcdAnswer) return fail(Errc::invalid, "a message of the watch is too long");
    size_t begin = 0;
    for (size_t end; (end = line_.find('\n', begin)) != std::string::npos; begin = end + 1) {
      if (auto ok = message(std::string_view(line_).substr(begin, end - begin)); !ok) return ok;
      if (state_->ended) break;
    }
    line_.erase(0, begin);
    return {};
  }
  bool created() const { return created_; }

 private:
  Result<void> message(std::string_view text) {
    if (text.empty()) return {};
    auto parsed = etcd::parse_watch_message(text);
    if (!parsed) return tl::unexpected(parsed.error());
    etcd::WatchMessage& news = *parsed;
    if (auto ok = state_->calls->endpoints.check(endpoint_, news.header, true, 0); !ok) return ok;
    BootTime now = state_->calls->loop.now();
    state_->last_heard = now;
    state_->calls->endpoints.succeeded(endpoint_, now, false);
    if (news.created) created_ = true;
    if (news.canceled) return canceled(news);
    if (news.created) return {};
    if (news.events.empty() && !news.fragment && fragments_.empty()) {
      // Before etcd 3.4.26 and 3.5.9 a progress answer may overtake events that it speaks of. By the next answer, a
      // question later, they have come: so each answer counts for what the one before it said. Resuming goes by events.
      etcd::Header proved = news.header;
      proved.revision = std::max(state_->delivered, answered_);
      answered_ = news.header.revision;
      state_->push({WatchBatch::Kind::progress, proved, {}});
      return {};
    }
    for (KeyEvent& event : news.events) {
      if (event.kv.mod > state_->delivered) fragments_.push_back(std::move(event));
    }
    if (news.fragment || fragments_.empty()) return {};
    for (const KeyEvent& event : fragments_) newest_ = std::max(newest_, event.kv.mod);
    state_->delivered = std::max(state_->delivered, newest_);
    state_->push({WatchBatch::Kind::events, news.header, std::exchange(fragments_, {})});
    return {};
  }

  Result<void> canceled(const etcd::WatchMessage& news) {
    if (news.compact_revision > 0) {
      state_->end({WatchBatch::Kind::compacted, news.header, {}});
      return {};
    }
    if (news.cancel_reason.find("permission denied") != std::string::npos ||
        news.cancel_reason.find("auth") != std::string::npos) {
      return fail(Errc::denied, news.cancel_reason);
    }
    return fail(Errc::unavailable, "etcd cancelled the watch: " + news.cancel_reason);
  }

  Shared state_;
  size_t endpoint_;
  std::string line_;
  std::vector<KeyEvent> fragments_;
  int64_t newest_ = 0;
  int64_t answered_ = 0;  // the revision of this stream's last progress answer
  bool created_ = false;
};

// Reads one stream until it breaks; returns why. Silence is answered with a question on the same stream, and a second
// silence ends it: a frozen member keeps its TCP connections alive for ever.
Task<Error> follow(Shared state, size_t endpoint) {
  std::shared_ptr<Calls> calls = state->calls;
  Duration silence = calls->options.watch_silence;
  BootTime limit = calls->loop.now() + calls->options.hedge_after;
  auto connection = co_await Calls::connect(calls, endpoint, limit);
  if (!connection) co_return connection.error();
  net::HttpConnection& http = **connection;
  std::string create = etcd::format_watch_create(state->prefix, true, state->delivered + 1);
  net::Request request = calls->request("/v3/watch", create + "\n");
  auto head = co_await http.start_stream(std::move(request), true, calls->loop.now() + calls->options.hedge_after);
  if (!head) co_return head.error();
  if (head->status != 200) {
    auto error = etcd::parse_error(head->body);
    if (!error) co_return Error{Errc::unavailable, fmt::format("HTTP status {} to a watch", head->status)};
    co_return Error{etcd::errc_of(*error), error->message};
  }
  Stream stream(state, endpoint);
  state->endpoint = calls->endpoints.at(endpoint).url.origin();
  bool asked = false;
  std::string chunk = std::move(head->body);
  while (true) {
    if (!chunk.empty()) {
      asked = false;
      if (auto ok = stream.take(chunk); !ok) co_return ok.error();
      if (state->ended) co_return Error{Errc::cancelled, "the watch has ended"};
    }
    while (state->waiting.size() >= max_waiting) co_await state->taken.wait_for(1s);
    auto next = co_await http.next_chunk(calls->loop.now() + silence);
    if (next) {
      if (next->empty()) co_return Error{Errc::unavailable, "etcd ended the stream"};
      chunk = std::move(*next);
      continue;
    }
    if (next.error().code != Errc::timeout) co_return next.error();
    if (asked || !stream.created()) co_return Error{Errc::unavailable, "etcd is silent"};
    asked = true;
    chunk.clear();
    auto sent = co_await http.send_more(etcd::format_watch_progress() + "\n", calls->loop.now() + silence);
    if (!sent) co_return sent.error();
  }
}

Task<void> run(Shared state) {
  std::shared_ptr<Calls> calls = state->calls;
  for (int failures = 0; !state->ended;) {
    for (size_t endpoint : calls->endpoints.order()) {
      BootTime begun = calls->loop.now();
      std::string used_token = calls->token;
      Error why = co_await follow(state, endpoint);
      bool worked = !state->endpoint.empty();
      state->endpoint.clear();
      if (state->ended) co_return;
      state->problem = why.text;
      if (why.code == Errc::denied) {
        (void)co_await Calls::authenticate(calls, endpoint, used_token, calls->loop.now() + calls->options.hedge_after);
      } else {
        calls->endpoints.failed(endpoint, calls->loop.now(), why);
      }
      if (worked && calls->loop.now() - begun > 1s) failures = 0;
      if (worked) break;  // ask for the order anew
    }
    if (calls->endpoints.all_foreign()) {
      state->end({WatchBatch::Kind::foreign, Header{calls->endpoints.foreign_cluster(), 0, 0, 0}, {}});
      co_return;
    }
    // The first change of endpoint is immediate; when nothing helps, slower and slower.
    if (++failures > 2) co_await calls->loop.sleep_for(std::min<Duration>(10ms * (1 << std::min(failures, 6)), 500ms));
  }
}

class EtcdWatch final : public Watch {
 public:
  explicit EtcdWatch(Shared state)
      : state_(std::move(state)), job_(state_->calls->loop.start(run(state_), "etcd watch")) {}

  Task<Result<WatchBatch>> next(BootTime deadline) override { return next_of(state_, deadline); }
  BootTime last_heard() const override { return state_->last_heard; }
  std::string endpoint() const override { return state_->endpoint; }

 private:
  static Task<Result<WatchBatch>> next_of(Shared state, BootTime deadline) {
    while (state->waiting.empty()) {
      if (state->ended) co_return fail(Errc::cancelled, "the watch has ended");
      if (!co_await state->arrived.wait_until(deadline) && state->waiting.empty()) {
        if (!state->endpoint.empty()) co_return fail(Errc::timeout, "no news");
        co_return fail(Errc::unavailable, state->problem);
      }
    }
    WatchBatch batch = std::move(state->waiting.front());
    state->waiting.pop_front();
    state->taken.notify();
    co_return batch;
  }

  Shared state_;
  net::Job job_;
};

}  // namespace

std::unique_ptr<Watch> make_watch(std::shared_ptr<Calls> calls, std::string prefix, int64_t after_revision) {
  return std::make_unique<EtcdWatch>(std::make_shared<State>(std::move(calls), std::move(prefix), after_revision));
}

}  // namespace pgdba::dcs
