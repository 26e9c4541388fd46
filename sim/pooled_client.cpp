#include "pooled_client.h"

#include <array>

#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_parse.h"
#include "world.h"

namespace pgdba::sim {

PooledClient::PooledClient(World& world, Pooled& all, int number, bool reader)
    : world_(world), all_(all), number_(number), reader_(reader), name_(fmt::format("c{}", number)) {}

void PooledClient::start() { connect(); }

void PooledClient::bad(std::string text) {
  world_.checkers.violate("bytes", fmt::format("{} {}", name_, text));
}

std::string PooledClient::tag() { return fmt::format("{}-{}", name_, ++count_); }

void PooledClient::run(Duration delay, std::function<void()> fn) {
  world_.events.after(delay, [this, session = session_, fn = std::move(fn)] {
    if (session == session_) fn();
  });
}

void PooledClient::connect() {
  const uint64_t session = ++session_;
  SimPooler& pooler = all_.pooler(static_cast<int>((static_cast<uint64_t>(number_) + session) % static_cast<uint64_t>(all_.poolers())));
  const int here = world_.network.clients();
  world_.network.send(here, pooler.place(), [this, &pooler, session, here] {
    auto stream = std::make_shared<Stream>(world_, here, pooler.place());
    const bool accepted = pooler.accept(stream);
    world_.network.send(pooler.place(), here, [this, session, stream, accepted] {
      if (session != session_) return stream->close(0);
      if (!accepted) return run(50ms, [this] { connect(); });
      stream_ = stream;
      stream_->listen(0, {[this](std::string bytes) { input(std::move(bytes)); }, [this] { closed(); }});
      std::string packet;
      wire::append_startup(packet, 0, {{"user", "app"}, {"database", reader_ ? "ro" : "rw"}, {"application_name", name_}});
      stream_->send(0, std::move(packet));
    });
  });
}

// The connection has ended, from whichever side: what was owed is never answered.
void PooledClient::closed() {
  if (stream_) stream_->close(0);
  stream_.reset();
  std::deque<std::shared_ptr<Unit>> units = std::move(units_);
  units_.clear();
  wants_.clear();
  plan_.clear();
  prepared_.clear();
  input_.clear();
  out_.clear();
  in_ = false;
  for (const auto& unit : units) settle(*unit, true);
  farewell_.clear();
  farewell_text_.clear();
  ++session_;
  run(draw(world_.pooled_random, 10ms, 100ms), [this] { connect(); });
}

void PooledClient::hang_up() {
  if (stream_) closed();
}

// A unit is over; `lost`: with the connection.
void PooledClient::settle(Unit& unit, bool lost) {
  if (unit.reads) {
    if (!lost && !unit.failed) ++all_.journal_.reads;
    return;
  }
  // What our pooler says of a connection that it lost is a promise; so is that nothing was sent while we waited.
  const bool denied = farewell_ == "08006" || (farewell_ == "08P01" && farewell_text_ == "query_wait_timeout");
  if (!lost && !unit.failed) {
    ++all_.journal_.ok;
    for (const std::string& tag : unit.tags) all_.told_ok(tag);
  } else if (!lost || !unit.end_sent || denied) {
    ++all_.journal_.failed;
    const std::string why = lost ? fmt::format("{} {}", farewell_, farewell_text_) : unit.why;
    for (const std::string& tag : unit.tags) all_.told_failed(tag, why);
  } else {
    ++all_.journal_.unknown;
  }
}

// ---- what we say --------------------------------------------------------------------------------------------------

void PooledClient::send() {
  if (out_.empty()) return;
  waits_since_ = world_.events.now();
  stream_->send(0, std::move(out_));
  out_.clear();
  // Some clients go away in the middle.
  if (world_.pooled_random.chance(0.003)) run(draw_skewed(world_.pooled_random, 100us, 300ms), [this] { hang_up(); });
}

void PooledClient::ask(const std::string& sql, const std::shared_ptr<Unit>& unit, bool ends) {
  wire::append_query(out_, sql);
  const bool control = sql == "BEGIN" || sql == "COMMIT";
  if (!control) {
    wants_.push_back({'T', {}, unit, false});
    wants_.push_back({'D', sql.substr(7), unit, false});
  }
  wants_.push_back({'C', control ? sql : unit->reads ? "SELECT 1" : "INSERT 0 1", unit, false});
  wants_.push_back({'Z', unit->block && !ends ? "T" : "I", unit, ends});
  unit->end_sent = unit->end_sent || ends;
}

void PooledClient::ask_extended(const std::string& tag, const std::shared_ptr<Unit>& unit, bool ends) {
  Random& random = world_.pooled_random;
  const std::string verb = unit->verb();
  // Two texts of everybody's, one of our own; a few names.
  const std::string sql = random.chance(0.5) ? verb + " ?/*all*/" : fmt::format("{} ?/*{}*/", verb, name_);
  const std::string name = fmt::format("{}{}", verb, sql.ends_with("all*/") ? 1 : 2);
  const bool known = prepared_.contains(name);
  if (!prepared_.empty() && random.chance(0.2)) {
    wire::append_describe(out_, 'S', prepared_.begin()->first);
    wants_.push_back({'t', {}, unit, false});
    wants_.push_back({'T', {}, unit, false});
  }
  if (!known) {
    wire::append_parse(out_, name, sql, {});
    wants_.push_back({'1', name, unit, false});
    prepared_[name] = sql;
  }
  const wire::Value value = tag;
  wire::append_bind(out_, "", name, {&value, 1});
  wire::append_execute(out_, "");
  wants_.push_back({'2', {}, unit, false});
  wants_.push_back({'D', tag, unit, false});
  wants_.push_back({'C', unit->reads ? "SELECT 1" : "INSERT 0 1", unit, false});
  if (known && !several_ && random.chance(0.05)) {  // the name becomes free again
    wire::append_close(out_, 'S', name);
    wants_.push_back({'3', name, unit, false});
    prepared_.erase(name);
  }
  wire::append_sync(out_);
  wants_.push_back({'Z', unit->block && !ends ? "T" : "I", unit, ends});
  unit->end_sent = unit->end_sent || ends;
}

void PooledClient::think() {
  const Duration pause = draw(world_.pooled_random, world_.plan.think / 2, world_.plan.think * 2);
  run(pause, [this] { begin_work(); });
}

void PooledClient::begin_work() {
  Random& random = world_.pooled_random;
  const auto unit_of = [this](bool block) {
    auto unit = std::make_shared<Unit>();
    unit->block = block;
    unit->reads = reader_;
    unit->divides = !reader_ && world_.pooled_random.chance(0.04);
    units_.push_back(unit);
    return unit;
  };
  const auto fresh = [this](Unit& unit) {
    unit.tags.push_back(tag());
    return unit.tags.back();
  };
  if (reader_) {
    auto unit = unit_of(false);
    if (random.chance(0.5)) ask(unit->verb() + " " + fresh(*unit), unit, true);
    else ask_extended(fresh(*unit), unit, true);
    return send();
  }
  switch (random.below(5)) {
    case 0: {  // a block, statement by statement
      auto unit = unit_of(true);
      plan_ = {"BEGIN", "INSERT", "COMMIT"};
      if (random.chance(0.4)) plan_.insert(plan_.begin() + 1, "EXTENDED");
      return go_on();
    }
    case 1: {  // a block at once
      auto unit = unit_of(true);
      ask("BEGIN", unit, false);
      ask(unit->verb() + " " + fresh(*unit), unit, false);
      if (random.chance(0.5)) ask_extended(fresh(*unit), unit, false);
      ask("COMMIT", unit, true);
      return send();
    }
    case 2: {
      auto unit = unit_of(false);
      ask(unit->verb() + " " + fresh(*unit), unit, true);
      return send();
    }
    case 3: {
      auto unit = unit_of(false);
      ask_extended(fresh(*unit), unit, true);
      return send();
    }
    default: {  // several transactions at once
      const uint64_t count = 2 + random.below(3);
      several_ = true;
      for (uint64_t i = 0; i < count; ++i) {
        auto unit = unit_of(false);
        if (random.chance(0.3)) ask(unit->verb() + " " + fresh(*unit), unit, true);
        else ask_extended(fresh(*unit), unit, true);
        // They need not arrive at once.
        if (random.chance(0.3)) send();
      }
      several_ = false;
      return send();
    }
  }
}

void PooledClient::go_on() {
  auto unit = units_.back();
  const std::string next = plan_.front();
  plan_.pop_front();
  if (next == "INSERT") {
    unit->tags.push_back(tag());
    ask(unit->verb() + " " + unit->tags.back(), unit, false);
  } else if (next == "EXTENDED") {
    unit->tags.push_back(tag());
    ask_extended(unit->tags.back(), unit, false);
  } else {
    ask(next, unit, next == "COMMIT");
  }
  send();
}

// ---- what we hear -------------------------------------------------------------------------------------------------

void PooledClient::input(std::string bytes) {
  input_ += bytes;
  const uint64_t session = session_;
  for (;;) {
    wire::Message message;
    const wire::Scan scan = wire::read_message(input_, message);
    if (scan == wire::Scan::incomplete) return;
    if (scan == wire::Scan::invalid || !wire::is_backend_type(message.type)) return bad("hears something that is no message");
    const std::string body(message.body);
    const char type = message.type;
    input_.erase(0, message.size());
    if (!this->message(type, body) || session != session_) return;
  }
}

// False: nothing more is to be read.
bool PooledClient::message(char type, std::string_view body) {
  if (type == wire::backend::notice_response) return true;
  if (type == wire::backend::parameter_status) {
    auto parsed = wire::parse_parameter_status(body);
    if (parsed && parsed->name == "application_name" && parsed->value != name_) {
      bad(fmt::format("hears of application_name {}", parsed->value));
      return false;
    }
    return true;
  }
  if (type == wire::backend::error_response) {
    error(body);
    return true;
  }
  if (!in_) {
    if (type == wire::backend::authentication || type == wire::backend::backend_key_data) return true;
    if (type != wire::backend::ready_for_query) {
      bad(fmt::format("hears {} at its login", type));
      return false;
    }
    in_ = true;
    ++all_.journal_.logins;
    think();
    return true;
  }
  if (wants_.empty()) {
    bad(fmt::format("hears {} and has asked for nothing", type));
    return false;
  }
  Want want = std::move(wants_.front());
  wants_.pop_front();
  if (want.type != type) {
    bad(fmt::format("hears {} and is owed {} ({})", type, want.type, want.text));
    return false;
  }
  std::string got;
  if (type == wire::backend::data_row) {
    auto row = wire::parse_data_row(body);
    for (size_t i = 0; row && i < row->size(); ++i) got += (i == 0 ? "" : "|") + std::string((*row)[i].value_or("NULL"));
  } else if (type == wire::backend::command_complete) {
    got = wire::parse_command_complete(body).value_or("");
    if (want.text == "COMMIT" && want.unit->failed && got == "ROLLBACK") got = "COMMIT";
  } else if (type == wire::backend::ready_for_query) {
    got = std::string(1, wire::parse_ready_for_query(body).value_or('?'));
    if (want.unit->failed && want.text == "T" && got == "E") got = "T";
  } else {
    return true;
  }
  if (got != want.text) {
    bad(fmt::format("hears {} {} and is owed {}", type, got, want.text));
    return false;
  }
  if (type != wire::backend::ready_for_query) return true;
  if (want.ends) {
    auto unit = units_.front();
    units_.pop_front();
    if (!unit->failed) served_ = world_.events.now();
    settle(*unit, false);
  }
  if (wants_.empty()) ready();
  return true;
}

void PooledClient::error(std::string_view body) {
  auto fields = wire::parse_error_response(body);
  if (!fields) return bad("hears a broken error");
  world_.note("{} hears {} {}: {}", name_, fields->severity, fields->sqlstate, fields->message);
  if (fields->severity == "FATAL" || fields->severity == "PANIC") {
    farewell_ = fields->sqlstate;
    farewell_text_ = fields->message;
    return;  // the end of the connection follows
  }
  if (wants_.empty() || wants_.front().type == 'Z') return bad(fmt::format("hears error {} {} and has asked for nothing", fields->sqlstate, fields->message));
  Unit& unit = *wants_.front().unit;
  const bool due = unit.failed ? fields->sqlstate == "25P02" : unit.divides && fields->sqlstate == "22012";
  if (!due) return bad(fmt::format("hears error {} {}", fields->sqlstate, fields->message));
  unit.failed = true;
  unit.why = fmt::format("{} {}", fields->sqlstate, fields->message);
  // Up to the next ReadyForQuery nothing else is answered; what was to be prepared or closed there was not.
  while (wants_.front().type != 'Z') {
    const Want& skipped = wants_.front();
    if (skipped.type == '1') prepared_.erase(skipped.text);
    if (skipped.type == '3') prepared_[skipped.text] = "?";
    wants_.pop_front();
  }
}

void PooledClient::ready() {
  if (plan_.empty()) return think();
  // Within a block a client may think, too.
  if (world_.pooled_random.chance(0.2)) run(draw_skewed(world_.pooled_random, 1ms, 100ms), [this] { go_on(); });
  else go_on();
}

std::string PooledClient::summary() const {
  return fmt::format("{}{}: {}, owed {}, last served at {} ms, asked at {} ms", name_, reader_ ? " (reads)" : "",
                     !stream_ ? "not connected" : in_ ? "logged in" : "logs in", wants_.size(), to_ms(served_), to_ms(waits_since_));
}

}  // namespace pgdba::sim
