#include "pooler/console/http.h"

#include <map>
#include <mutex>
#include <thread>

#include "net/http_server.h"
#include "net/loop.h"
#include "pooler/console/metrics.h"

namespace pgdba::pooler {

namespace {

constexpr Duration kPatience = 5s;

net::HttpServerOptions options() {
  net::HttpServerOptions options;
  options.body_bytes = 1024;
  options.max_connections = 64;
  return options;
}

net::Response plain(int status, std::string body, std::string type = "text/plain; charset=utf-8") {
  net::Response response;
  response.status = status;
  response.headers.emplace_back("Content-Type", std::move(type));
  response.body = std::move(body);
  return response;
}

}  // namespace

struct HttpEndpoint::Impl {
  // Workers reach the loop through this: it may have ended before they answer.
  struct Gate {
    std::mutex mutex;
    Impl* impl = nullptr;
  };
  // A request that waits for the workers; in its own frame, on the loop.
  struct Mail {
    explicit Mail(Impl& its_impl) : impl(its_impl), arrived(its_impl.loop) { impl.waiting[id] = this; }
    ~Mail() { impl.waiting.erase(id); }
    Mail(const Mail&) = delete;
    Mail& operator=(const Mail&) = delete;
    Impl& impl;
    const uint64_t id = impl.next_id++;
    net::Event arrived;
    std::optional<Snapshot> snapshot;
  };

  explicit Impl(Console& its_console)
      : console(its_console), server(loop, options(), [this](const net::Request& request, const net::PeerAddress&) {
          return answer(request);
        }) {
    gate->impl = this;
  }

  void deliver(uint64_t id, Snapshot snapshot) {
    auto found = waiting.find(id);
    if (found == waiting.end()) return;
    found->second->snapshot = std::move(snapshot);
    found->second->arrived.notify();
  }

  void ask(uint64_t id) {
    console.gather({}, [gate = gate, id](Snapshot snapshot) {
      auto shared = std::make_shared<Snapshot>(std::move(snapshot));
      std::lock_guard lock(gate->mutex);
      if (gate->impl == nullptr) return;
      gate->impl->loop.post([impl = gate->impl, id, shared] { impl->deliver(id, std::move(*shared)); });
    });
  }

  Task<net::Response> answer(const net::Request& request) {
    const std::string path(request.path());
    const bool metrics = path == "/metrics";
    if (!metrics && path != "/health") co_return plain(404, "not found\n");
    if (request.method != "GET" && request.method != "HEAD") co_return plain(405, "method not allowed\n");
    Mail mail(*this);
    ask(mail.id);
    const BootTime deadline = loop.after(kPatience);
    while (!mail.snapshot) {
      const bool notified = co_await mail.arrived.wait_until(deadline);
      if (!notified && !mail.snapshot) co_return plain(503, "the workers do not answer\n");
    }
    if (metrics) co_return plain(200, metrics_text(*mail.snapshot), "text/plain; version=0.0.4; charset=utf-8");
    Health health = health_of(*mail.snapshot);
    co_return plain(health.serves ? 200 : 503, std::move(health.json), "application/json");
  }

  Console& console;
  std::shared_ptr<Gate> gate = std::make_shared<Gate>();
  std::map<uint64_t, Mail*> waiting;
  uint64_t next_id = 1;
  net::Loop loop;
  net::HttpServer server;
  std::thread thread;
};

HttpEndpoint::HttpEndpoint(Console& console) : impl_(std::make_unique<Impl>(console)) {}

HttpEndpoint::~HttpEndpoint() {
  {
    std::lock_guard lock(impl_->gate->mutex);
    impl_->gate->impl = nullptr;
  }
  impl_->loop.stop();
  if (impl_->thread.joinable()) impl_->thread.join();
}

Result<void> HttpEndpoint::start(const conf::Address& address) {
  Task<Result<void>> listening = impl_->server.listen(address.host, address.port, impl_->loop.after(5s));
  if (auto done = net::run_blocking(impl_->loop, std::move(listening), impl_->loop.after(6s)); !done) return done;
  impl_->thread = std::thread([loop = &impl_->loop] { loop->run(); });
  return {};
}

}  // namespace pgdba::pooler
