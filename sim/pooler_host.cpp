#include "pooler_host.h"

#include <algorithm>
#include <cstring>

#include "world.h"

namespace pgdba::sim {

namespace {

pool::Moment micros(Time time) { return std::chrono::duration_cast<std::chrono::microseconds>(time).count(); }

// Two FNV hashes: texts that were not made to meet do not.
std::array<uint8_t, 16> digest(std::string_view bytes) {
  uint64_t one = 0xcbf29ce484222325ull, two = 0x84222325cbf29ce4ull;
  for (const char c : bytes) {
    one = (one ^ static_cast<uint8_t>(c)) * 0x100000001b3ull;
    two = (two ^ static_cast<uint8_t>(c)) * 0x100000001b5ull;
  }
  std::array<uint8_t, 16> out;
  std::memcpy(out.data(), &one, 8);
  std::memcpy(out.data() + 8, &two, 8);
  return out;
}

}  // namespace

SimPooler::SimPooler(World& world, int number, const pool::Settings& settings)
    : world_(world), name_(fmt::format("pooler{}", number + 1)), place_(world.network.pooler(number)), settings_(settings),
      follow_(world, place_, name_, process_, [this] { news(); },
              [this] { return core_ ? core_->load(pool::Route::primary) : pool::Core::Load{}; }) {
  primary_.name = "rw";
  primary_.server_name = "postgres";
  primary_.route = pool::Route::primary;
  readers_.name = "ro";
  readers_.server_name = "postgres";
  readers_.route = pool::Route::replica;
}

SimPooler::~SimPooler() = default;

void SimPooler::start() { born(); }

void SimPooler::born() {
  process_.be_born();
  newest_term_ = 0;
  core_ = std::make_unique<pool::Core>(*this, *this, *this, settings_, digest);
  core_->set_now(micros(world_.events.now()));
  follow_.start();
  ticks();
}

void SimPooler::later(Duration delay, Events::Fn fn) {
  world_.events.after(delay, [this, life = process_.life(), fn = std::move(fn)]() mutable {
    if (process_.life() == life) round(std::move(fn));
  });
}

void SimPooler::round(Events::Fn fn) {
  process_.run(process_.life(), [this, fn = std::move(fn)] {
    core_->set_now(micros(world_.events.now()));
    fn();
    core_->tidy();
  });
}

void SimPooler::ticks() {
  later(333ms, [this] {
    core_->tick();
    ticks();
  });
}

void SimPooler::freeze(Duration length) {
  if (!process_.alive()) return;
  world_.note("fault: {} is stopped for {} ms", name_, to_ms(length));
  process_.freeze();
  world_.events.after(length, [this] { thaw(); });
}

void SimPooler::thaw() { process_.thaw(world_.events, 1ms); }

void SimPooler::kill(Duration back_after) {
  if (!process_.alive()) return;
  world_.note("fault: {} is killed", name_);
  process_.die();
  for (auto& [id, socket] : sockets_) {
    if (socket.stream) socket.stream->close(socket.side);
  }
  sockets_.clear();
  for (const auto& [stream, side] : unseen_) stream->close(side);
  unseen_.clear();
  core_.reset();
  taken_.clear();
  world_.events.after(back_after, [this] { born(); });
}

void SimPooler::news() {
  if (!process_.alive()) return;
  core_->set_now(micros(world_.events.now()));
  newest_term_ = std::max(newest_term_, follow_.state().number);
  core_->set_route(pool::Route::primary, pool::primary_route(follow_.state(), settings_.rules));
  core_->set_route(pool::Route::replica, pool::reader_route(follow_.state()));
  core_->tidy();
}

// ---- connections --------------------------------------------------------------------------------------------------

bool SimPooler::accept(const std::shared_ptr<Stream>& stream) {
  if (!process_.alive()) return false;
  // The kernel accepts for a process that is stopped.
  unseen_.emplace_back(stream, 1);
  round([this, stream] {
    std::erase_if(unseen_, [&stream](const auto& each) { return each.first == stream; });
    pool::Client& client = core_->accept(nullptr);
    Socket& socket = sockets_[client.id];
    socket.stream = stream;
    socket.side = 1;
    socket.conn = &client;
    listen(socket, client.id);
  });
  return true;
}

void SimPooler::listen(Socket& socket, uint64_t id) {
  const uint64_t life = process_.life();
  socket.stream->listen(socket.side, {[this, id, life](std::string bytes) {
                                        if (process_.life() != life || !process_.alive()) return;
                                        round([this, id, bytes = std::move(bytes)] {
                                          auto found = sockets_.find(id);
                                          if (found == sockets_.end()) return;
                                          found->second.inbox.push_back(bytes);
                                          feed(id);
                                        });
                                      },
                                      [this, id, life] {
                                        if (process_.life() != life || !process_.alive()) return;
                                        round([this, id] {
                                          auto found = sockets_.find(id);
                                          if (found == sockets_.end()) return;
                                          found->second.ended = true;
                                          feed(id);
                                        });
                                      }});
}

// What has arrived goes to the core while it wants it; then the end of the connection.
void SimPooler::feed(uint64_t id) {
  for (;;) {
    auto found = sockets_.find(id);
    if (found == sockets_.end()) return;
    Socket& socket = found->second;
    if (socket.connecting) {
      if (!socket.ended) return;
      return core_->server_lost(static_cast<pool::Server&>(*socket.conn), "server conn crashed?");
    }
    if (socket.wanted && !socket.inbox.empty()) {
      const std::string bytes = std::move(socket.inbox.front());
      socket.inbox.pop_front();
      if (socket.conn->is_client) {
        core_->client_input(static_cast<pool::Client&>(*socket.conn), bytes);
      } else {
        core_->server_input(static_cast<pool::Server&>(*socket.conn), bytes);
      }
      continue;
    }
    if (!socket.ended) return;
    if (socket.conn->is_client) return core_->client_gone(static_cast<pool::Client&>(*socket.conn));
    if (socket.inbox.empty()) core_->server_lost(static_cast<pool::Server&>(*socket.conn), "server conn crashed?");
    return;
  }
}

void SimPooler::want_input(pool::Conn& of, bool wanted) {
  auto found = sockets_.find(of.id);
  if (found == sockets_.end()) return;
  found->second.wanted = wanted;
  if (wanted && (!found->second.inbox.empty() || found->second.ended)) {
    later(Duration{}, [this, id = of.id] { feed(id); });
  }
}

bool SimPooler::send(pool::Conn& to, std::span<const pool::Slice> bytes) {
  auto found = sockets_.find(to.id);
  if (found == sockets_.end() || !found->second.stream) return true;
  Socket& socket = found->second;
  if (!to.is_client) judge_bytes(static_cast<pool::Server&>(to), socket);
  std::string all;
  for (const pool::Slice& slice : bytes) all.append(slice.data, slice.size);
  socket.stream->send(socket.side, std::move(all));
  if (!world_.pooled_random.chance(world_.plan.pooler_backlog)) return true;
  watch_backlog(to.id, 40);
  return false;
}

void SimPooler::watch_backlog(uint64_t id, int looks) {
  later(5ms, [this, id, looks] {
    auto found = sockets_.find(id);
    if (found == sockets_.end()) return;
    if (looks > 0 && !found->second.stream->all_arrived(found->second.side)) return watch_backlog(id, looks - 1);
    core_->drained(*found->second.conn);
  });
}

void SimPooler::close(pool::Conn& conn) {
  auto found = sockets_.find(conn.id);
  if (found == sockets_.end()) return;
  if (found->second.stream) found->second.stream->close(found->second.side);
  sockets_.erase(found);
}

// Where this pool leads; empty: nobody is known.
std::string SimPooler::target_of(const pool::Pool& pool) {
  if (pool.database->route == pool::Route::primary || follow_.running().empty()) {
    return follow_.state().leader_reachable ? follow_.leads().leader : "";
  }
  return follow_.running()[next_replica_++ % follow_.running().size()];
}

void SimPooler::connect(pool::Server& server) {
  const uint64_t id = server.id;
  Socket& socket = sockets_[id];
  socket.conn = &server;
  socket.connecting = true;
  const auto lost = [this, id](std::string why) {
    auto found = sockets_.find(id);
    if (found != sockets_.end()) core_->server_lost(static_cast<pool::Server&>(*found->second.conn), why);
  };
  const std::string target = target_of(*server.pool);
  const int member = world_.find(target);
  if (member < 0) return later(Duration{}, [lost] { lost("no member of the cluster is known to lead there"); });
  server.member = target;
  server.address = target;
  server.term = server.pool->database->route == pool::Route::primary ? follow_.state().number : 0;
  const uint64_t life = process_.life();
  world_.network.send(place_, member, [this, id, member, lost, life] {
    if (!world_.node(member).powered) return;  // silence
    auto stream = std::make_shared<Stream>(world_, place_, member);
    const bool accepted = !world_.network.rejected(place_, member) && world_.node(member).pg.sessions.accept(stream);
    world_.network.send(member, place_, [this, id, stream, accepted, lost, life] {
      if (process_.life() != life || !process_.alive()) return stream->close(0);
      if (accepted) unseen_.emplace_back(stream, 0);
      round([this, id, stream, accepted, lost] {
        std::erase_if(unseen_, [&stream](const auto& each) { return each.first == stream; });
        auto found = sockets_.find(id);
        if (found == sockets_.end()) return stream->close(0);
        if (!accepted) return lost("connect failed: Connection refused");
        found->second.stream = stream;
        found->second.connecting = false;
        core_->server_connected(static_cast<pool::Server&>(*found->second.conn));
      });
    });
    // Also what comes while the answer to the connection is under way.
    if (!accepted || process_.life() != life) return;
    if (auto found = sockets_.find(id); found != sockets_.end()) {
      Socket early;
      early.stream = stream;
      listen(early, id);
    }
  });
}

void SimPooler::send_cancel(pool::Server& server) {
  later(world_.network.latency(), [this, id = server.id] {
    if (auto found = sockets_.find(id); found != sockets_.end()) core_->cancel_sent(static_cast<pool::Server&>(*found->second.conn));
  });
}

void SimPooler::random(std::span<uint8_t> bytes) {
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(world_.pooled_random.next());
}

void SimPooler::log(pool::LogLevel, const pool::Conn* about, std::string_view text) {
  if (!world_.tracing()) return;
  world_.note("{}: {}{} {}", name_, about == nullptr ? "-" : about->is_client ? "C" : "S", about == nullptr ? 0 : about->id, text);
}

// What the pooler promises of every byte of a client that leaves for a server (ha.md, third wall).
void SimPooler::judge_bytes(const pool::Server& server, Socket& socket) {
  if (server.dead || server.client == nullptr || server.chore != pool::Chore::none || server.pool->database != &primary_) return;
  if (server.term < newest_term_) {
    world_.checkers.violate("B", fmt::format("{} sends a client's request to {} of leadership {}, and knows of leadership {}", name_, server.member, server.term,
                                             newest_term_));
  }
  if (server.since == socket.lent_at) return;
  socket.lent_at = server.since;
  world_.note("{}: S{} is lent to C{}", name_, server.id, server.client->id);
  const pool::Moment now = micros(world_.events.now());
  if (now >= follow_.state().fresh_until) {
    world_.checkers.violate("B", fmt::format("{} lends {} on a view that is {} ms too old", name_, server.member,
                                             (now - follow_.state().fresh_until) / 1000));
  }
  if (auto judged = follow_.judge_age()) world_.checkers.violate("B", fmt::format("{} lends {} {}", name_, server.member, *judged));
  if (follow_.holding() && now > micros(follow_.holding_since())) {
    world_.checkers.violate("C", fmt::format("{} lends {} {} ms after a switchover of it began to drain", name_, server.member,
                                             (now - micros(follow_.holding_since())) / 1000));
  }
}

// ---- directory and ledger -----------------------------------------------------------------------------------------

pool::Database* SimPooler::database(std::string_view name) { return name == "rw" ? &primary_ : name == "ro" ? &readers_ : nullptr; }

std::string SimPooler::verify_query(const pool::Pool&) {
  return settings_.rules.verify_first ? std::string(pool::verify_question()) : std::string();
}

std::string SimPooler::judge(const pool::Server& server, const std::vector<std::optional<std::string>>& row) {
  return pool::judge_server(server, row, {.system_identifier = follow_.system_identifier(), .number = follow_.state().number,
                                          .term = follow_.leads().term, .own_term = follow_.leads().own_term});
}

pool::Ledger::Verdict SimPooler::take_server(const pool::Pool& pool, int limit) {
  int& taken = taken_[&pool];
  if (limit != 0 && taken >= limit) return Verdict::pool_full;
  ++taken;
  return Verdict::taken;
}

void SimPooler::give_server(const pool::Pool& pool) { --taken_[&pool]; }

std::string SimPooler::summary() const {
  std::string text = fmt::format("{}: {}{}; {}", name_, process_.alive() ? "alive" : "dead", process_.frozen() ? ", stopped" : "", follow_.summary());
  if (!core_) return text;
  for (const auto& pool : core_->pools()) {
    text += fmt::format("; {}: {} clients, {} wait, {} servers ({} connecting, {} idle, {} lent, {} busy){}", pool->database->name, pool->clients,
                        pool->waiting.size() + pool->newcomers.size(), pool->servers, pool->connecting, pool->idle.size(), pool->lent.size(),
                        pool->busy.size(), pool->failure ? ", last failure: " + pool->failure->text : "");
  }
  return text;
}

}  // namespace pgdba::sim
