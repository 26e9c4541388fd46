#include "pooler/console/console.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <utility>

#include "base/text.h"
#include "net/log.h"
#include "pool/core.h"
#include "pooler/console/part.h"
#include "pooler/console/show.h"
#include "pooler/directory.h"
#include "pooler/process_control.h"
#include "pooler/worker.h"

namespace pgdba::pooler {

namespace {

constexpr std::string_view kName = "pgbouncer";

void refuse(Outcome& outcome, std::string text, std::string sqlstate = "08P01") {
  outcome.problem = {std::move(text), std::move(sqlstate)};
}

// PgBouncer's word for what an order does to a database.
std::string_view doing(Verb verb) {
  switch (verb) {
    case Verb::pause: return "pause";
    case Verb::resume: return "resume";
    case Verb::disable: return "disable";
    case Verb::enable: return "enable";
    case Verb::reconnect: return "reconnect";
    case Verb::wait_close: return "wait in";
    default: return "kill";
  }
}

bool names_database(Verb verb) {
  return verb >= Verb::pause && verb <= Verb::kill;
}

}  // namespace

Console::Console(const std::vector<std::unique_ptr<Worker>>& workers)
    : workers_(workers), started_at_(workers.front()->core().now()) {
  for (const auto& worker : workers_) {
    parts_.push_back(std::make_unique<Part>());
    worker->core().watch_servers([this, worker = worker.get()] { server_gone(*worker); });
  }
}

Console::~Console() {
  for (const auto& worker : workers_) worker->core().watch_servers({});
}

void Console::begins(Worker& worker, pool::Client& client) {
  auto entry = std::make_shared<Entry>();
  entry->client = &client;
  entry->id = client.id;
  entry->admin = worker.directory().console_rights(client) == ConsoleRights::all;
  parts_[worker.number()]->sessions[client.id] = entry;
  std::array<uint8_t, 8> random;
  worker.random(random);
  random[0] &= 0x7f;
  wire::CancelKey key;
  for (size_t i = 0; i < 4; ++i) key.pid = key.pid << 8 | random[i];
  key.secret.assign(reinterpret_cast<const char*>(random.data()) + 4, 4);
  std::string out;
  Session::welcome(out, std::string(kBouncerVersion) + "/bouncer", key);
  send(worker, client, out);
}

size_t Console::input(Worker& worker, pool::Client& client, std::string_view bytes) {
  Part& part = *parts_[worker.number()];
  auto found = part.sessions.find(client.id);
  if (found == part.sessions.end()) return bytes.size();
  const std::shared_ptr<Entry> entry = found->second;  // the session may end meanwhile
  if (client.backlog) {
    entry->stalled = true;
    worker.want_input(client, false);
    return 0;
  }
  if (entry->session.busy()) return 0;
  client.request_at = worker.core().now();
  std::string out;
  const Session::Read read = entry->session.input(bytes, out);
  if (!out.empty()) send(worker, client, out);
  if (read.close) {
    worker.core().close_client(client, {});
  } else if (read.run) {
    ++part.queries;
    worker.want_input(client, false);
    run(worker, *entry, *read.run);
  }
  return read.consumed;
}

void Console::closed(Worker& worker, const pool::Client& client) {
  Part& part = *parts_[worker.number()];
  part.sessions.erase(client.id);
  const auto ended = std::erase_if(part.waits, [&](const Wait& wait) { return wait.client == client.id; });
  waiting_ -= static_cast<int>(ended);
}

void Console::tick(Worker& worker) {
  Part& part = *parts_[worker.number()];
  rotate(worker, part);
  std::vector<pool::Client*> ready;
  for (auto& [id, entry] : part.sessions) {
    if (entry->stalled && !entry->client->backlog) ready.push_back(entry->client);
    if (!entry->client->backlog) entry->stalled = false;
  }
  for (pool::Client* client : ready) {
    if (client->dead) continue;
    worker.want_input(*client, true);
    worker.core().client_input(*client, {});
  }
}

void Console::send(Worker& worker, pool::Client& client, std::string_view bytes) {
  const pool::Slice slice{bytes.data(), bytes.size()};
  client.backlog = !worker.send(client, {&slice, 1});
}

void Console::on_all(std::function<void(Worker&)> work, std::function<void()> done) {
  struct Shared {
    std::function<void(Worker&)> work;
    std::function<void()> done;
    std::atomic<size_t> missing;
  };
  auto shared = std::make_shared<Shared>();
  shared->work = std::move(work);
  shared->done = std::move(done);
  shared->missing = workers_.size();
  for (const auto& worker : workers_) {
    worker->post([shared, worker = worker.get()] {
      shared->work(*worker);
      if (--shared->missing == 0) shared->done();
    });
  }
}

void Console::gather(Need need, std::function<void(Snapshot)> done) {
  struct Sum {
    std::mutex mutex;
    std::vector<Snapshot> parts;
  };
  auto sum = std::make_shared<Sum>();
  sum->parts.resize(workers_.size());
  on_all(
      [this, sum, need](Worker& worker) {
        Snapshot part = take(worker, need);
        std::lock_guard lock(sum->mutex);
        sum->parts[worker.number()] = std::move(part);
      },
      [sum, done = std::move(done)] {
        Snapshot whole = std::move(sum->parts.front());
        for (size_t i = 1; i < sum->parts.size(); ++i) merge(whole, std::move(sum->parts[i]));
        add_console(whole);
        done(std::move(whole));
      });
}

// The client's command is done; what it said meanwhile is next.
void Console::finish(Worker& home, uint64_t client_id, Outcome outcome) {
  Part& part = *parts_[home.number()];
  auto found = part.sessions.find(client_id);
  if (found == part.sessions.end()) return;
  const std::shared_ptr<Entry> entry = found->second;
  std::string out;
  entry->session.done(std::move(outcome), out);
  send(home, *entry->client, out);
  home.want_input(*entry->client, true);
  home.core().client_input(*entry->client, {});
}

// The same, from any thread.
void Console::answer(Worker& home, uint64_t client, std::function<void(Outcome&)> fill) {
  home.post([this, &home, client, fill = std::move(fill)] {
    Outcome outcome;
    if (fill) fill(outcome);
    finish(home, client, std::move(outcome));
  });
}

// Why this command cannot be carried out; empty: it can.
std::string Console::objection(Worker& home, const Command& command) const {
  const pool::Core& core = home.core();
  const ProcessControl* process = home.process();
  const std::string& database = command.argument;
  const bool stops = command.verb == Verb::pause || command.verb == Verb::resume || command.verb == Verb::suspend;
  if (stops && process != nullptr && process->shutting_down()) return "pooler is shutting down";
  if ((command.verb == Verb::pause || command.verb == Verb::kill) && core.paused("")) return "already suspended/paused";
  if ((command.verb == Verb::disable || command.verb == Verb::enable) && database.empty())
    return "a database is required";
  if (database.empty()) return command.verb == Verb::resume && !core.paused("") ? "pooler is not paused/suspended" : "";
  if (database == kName) return "cannot " + std::string(doing(command.verb)) + " admin db: " + database;
  if (home.directory().database(database) == nullptr) return "no such database: " + database;
  if (command.verb == Verb::resume && !core.paused(database)) return "database " + database + " is not paused";
  return "";
}

void Console::run(Worker& home, Entry& entry, const Command& command) {
  const uint64_t client = entry.id;
  const auto problem = [&](std::string text, std::string sqlstate = "08P01") {
    answer(home, client, [text = std::move(text), sqlstate = std::move(sqlstate)](Outcome& outcome) {
      refuse(outcome, text, sqlstate);
    });
  };
  if (!entry.admin && !only_reads(command)) return problem("admin access needed");
  if (command.verb != Verb::show && command.verb != Verb::show_dummy) {
    const bool more = command.verb != Verb::set && !command.argument.empty();
    log::info("pooler", "C-0x{:x}: {}{} command issued", client, tag_of(command), more ? " " + command.argument : "");
  }
  if (names_database(command.verb)) {
    if (std::string text = objection(home, command); !text.empty()) return problem(std::move(text));
  }
  switch (command.verb) {
    case Verb::empty:
    case Verb::set_dummy: return answer(home, client);
    case Verb::show_dummy:
      return answer(home, client, [command](Outcome& outcome) {
        outcome.table = Table{columns_of(command), {{command.value}}};
      });
    case Verb::show:
      return gather(need_of(command.show), [this, &home, client, show = command.show](Snapshot snapshot) {
        Outcome outcome = outcome_of(show, snapshot);
        home.post([this, &home, client, outcome = std::move(outcome)] { finish(home, client, outcome); });
      });
    case Verb::suspend:
      return problem("SUSPEND is not supported: start a second process with so_reuseport instead", "0A000");
    case Verb::pause:
    case Verb::wait_close: return wait(home, client, command);
    case Verb::resume:
    case Verb::disable:
    case Verb::enable:
    case Verb::reconnect:
    case Verb::kill:
    case Verb::kill_client: return order(home, client, command);
    case Verb::reload: return reload(home, client);
    case Verb::set:
    case Verb::shutdown: break;
  }
  ProcessControl* process = home.process();
  if (process == nullptr) return problem("not supported by this process", "0A000");
  if (command.verb == Verb::set) {
    auto changed = process->set(command.argument, command.value);
    return changed ? answer(home, client) : problem("SET failed: " + changed.error().text);
  }
  const ShutdownMode mode = command.argument.empty()                        ? ShutdownMode::now
                            : iequals(command.argument, "wait_for_servers") ? ShutdownMode::wait_for_servers
                                                                            : ShutdownMode::wait_for_clients;
  home.post([this, &home, client, process, mode] {
    finish(home, client, {});
    process->shutdown(mode);
  });
}

// Orders that are done once every worker has heard them.
void Console::order(Worker& home, uint64_t client, const Command& command) {
  const std::string& name = command.argument;
  if (command.verb == Verb::kill_client) {
    auto id = parse_int(name);
    if (!id || *id < 0)
      return answer(home, client, [](Outcome& outcome) { refuse(outcome, "invalid client pointer supplied"); });
    auto found = std::make_shared<std::atomic<bool>>(false);
    return on_all(
        [found, id = static_cast<uint64_t>(*id)](Worker& worker) {
          if (worker.core().kill_client(id)) *found = true;
        },
        [this, &home, client, found] {
          answer(home, client, [found = found->load()](Outcome& outcome) {
            if (!found) refuse(outcome, "client not found");
          });
        });
  }
  on_all(
      [this, verb = command.verb, name](Worker& worker) {
        pool::Core& core = worker.core();
        switch (verb) {
          case Verb::resume:
            core.resume(name);
            cancel_waits(worker, name);
            break;
          case Verb::disable: core.set_disabled(name, true); break;
          case Verb::enable: core.set_disabled(name, false); break;
          case Verb::reconnect: core.reconnect(name); break;
          default: core.kill(name); break;
        }
      },
      [this, &home, client] { answer(home, client); });
}

// PAUSE and WAIT_CLOSE: answered when the servers that they wait for have gone, on every worker.
void Console::wait(Worker& home, uint64_t client, const Command& command) {
  Part& part = *parts_[home.number()];
  Wait wait;
  wait.id = part.next_wait++;
  wait.client = client;
  wait.verb = command.verb;
  wait.database = command.argument;
  part.waits.push_back(wait);
  ++waiting_;
  const auto go_on = [this, &home, id = wait.id] { home.post([this, &home, id] { check(home, id); }); };
  if (command.verb == Verb::wait_close) return go_on();
  on_all([name = command.argument](Worker& worker) { worker.core().pause(name); }, go_on);
}

void Console::check(Worker& home, uint64_t id) {
  Part& part = *parts_[home.number()];
  const auto find = [&part, id] {
    return std::find_if(part.waits.begin(), part.waits.end(), [id](const Wait& wait) { return wait.id == id; });
  };
  auto wait = find();
  if (wait == part.waits.end()) return;
  if (wait->checking) {
    wait->again = true;
    return;
  }
  wait->checking = true;
  auto left = std::make_shared<std::atomic<int>>(0);
  on_all(
      [left, verb = wait->verb, name = wait->database](Worker& worker) {
        const pool::Core::Remaining remaining = worker.core().remaining(name);
        *left += verb == Verb::pause ? remaining.servers : remaining.marked;
      },
      [this, &home, id, left] {
        home.post([this, &home, id, left] {
          Part& mine = *parts_[home.number()];
          auto found =
              std::find_if(mine.waits.begin(), mine.waits.end(), [id](const Wait& each) { return each.id == id; });
          if (found == mine.waits.end()) return;
          if (*left == 0) {
            const uint64_t client = found->client;
            mine.waits.erase(found);
            --waiting_;
            finish(home, client, {});
            return;
          }
          found->checking = false;
          if (std::exchange(found->again, false)) check(home, id);
        });
      });
}

// Called from within the core.
void Console::server_gone(Worker& worker) {
  if (waiting_ == 0) return;
  Part& part = *parts_[worker.number()];
  if (std::exchange(part.gone_posted, true)) return;
  worker.post([this, &worker] {
    parts_[worker.number()]->gone_posted = false;
    for (const auto& each : workers_) {
      each->post([this, home = each.get()] {
        std::vector<uint64_t> ids;
        for (const Wait& wait : parts_[home->number()]->waits) ids.push_back(wait.id);
        for (const uint64_t id : ids) check(*home, id);
      });
    }
  });
}

// RESUME while a PAUSE waits: it will never be reached.
void Console::cancel_waits(Worker& home, const std::string& database) {
  Part& part = *parts_[home.number()];
  std::vector<uint64_t> clients;
  std::erase_if(part.waits, [&](const Wait& wait) {
    const bool ends = wait.verb == Verb::pause && wait.database == database;
    if (ends) clients.push_back(wait.client);
    return ends;
  });
  waiting_ -= static_cast<int>(clients.size());
  for (const uint64_t client : clients) {
    Outcome outcome;
    refuse(outcome, "PAUSE was ended by RESUME", "57014");
    finish(home, client, std::move(outcome));
  }
}

void Console::reload(Worker& home, uint64_t client) {
  ProcessControl* process = home.process();
  if (process == nullptr)
    return answer(home, client, [](Outcome& outcome) { refuse(outcome, "not supported by this process", "0A000"); });
  auto problem = std::make_shared<std::string>();
  home.help(
      [process, problem] {
        if (auto done = process->reload(); !done) *problem = done.error().text.empty() ? "failed" : done.error().text;
      },
      [this, &home, client, problem] {
        Outcome outcome;
        if (!problem->empty()) {
          log::error("pooler", "RELOAD failed: {}", *problem);
          refuse(outcome, "RELOAD failed, see logs for additional details", "F0000");
        }
        finish(home, client, std::move(outcome));
      });
}

}  // namespace pgdba::pooler
