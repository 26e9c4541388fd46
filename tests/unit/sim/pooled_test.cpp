// What the real poolers stand on in the simulator: connections that keep their bytes in order, a server that speaks the protocol,
// and a judge that notices.
#include <gtest/gtest.h>

#include <memory>

#include "sim/world.h"
#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_parse.h"

namespace pgdba::sim {
namespace {

class Idle : public Brain {
 public:
  ha::Decision step(const ha::View& view) override {
    ha::Decision decision;
    decision.wake_at = view.now + 1s;
    decision.observe_every = 1s;
    return decision;
  }
};

struct Stage {
  Stage() : world(plan(), options()), pg(world.node(0).pg) {
    world.begin();
    wait(100ms);
  }
  static Plan plan() {
    Plan plan;
    plan.seed = 7;
    plan.tags.resize(3);
    plan.writers = plan.direct_writers = plan.readers = 0;
    plan.poolers = 1;  // without clients: the judge and the links
    plan.slow_message = 0.3;
    return plan;
  }
  static Options options() {
    Options options;
    options.make_core = [](const ha::Self&, const ha::Rules&) -> std::unique_ptr<Brain> { return std::make_unique<Idle>(); };
    return options;
  }
  void wait(Duration time) { world.run_until(world.events.now() + time); }
  void start(bool standby, bool gate, model::SyncNames names = {}) {
    pg.dir.standby_signal = standby;
    pg.dir.on_disk.gate_closed = gate;
    pg.dir.on_disk.term = 4;
    pg.dir.on_disk.sync_names = std::move(names);
    pg.start();
    wait(3s);
  }
  World world;
  Postgres& pg;
};

// A client of the server itself.
struct Caller {
  explicit Caller(Stage& s) : stage(s) {
    stream = std::make_shared<Stream>(s.world, s.world.network.clients(), 0);
    accepted = s.pg.sessions.accept(stream);
    stream->listen(0, {[this](std::string bytes) { heard += bytes; }, [this] { ended = true; }});
    std::string packet;
    wire::append_startup(packet, 0, {{"user", "app"}});
    stream->send(0, packet);
    stage.wait(2s);
  }
  // The types of the messages that answer, and the SQLSTATE of the last error.
  std::string ask(const std::string& bytes) {
    stream->send(0, bytes);
    stage.wait(3s);
    return types();
  }
  std::string query(const std::string& sql) {
    std::string bytes;
    wire::append_query(bytes, sql);
    return ask(bytes);
  }
  std::string types() {
    std::string out;
    wire::Message message;
    size_t done = 0;
    while (wire::read_message(std::string_view(heard).substr(done), message) == wire::Scan::complete) {
      out += message.type;
      if (message.type == 'E') sqlstate = wire::parse_error_response(message.body)->sqlstate;
      if (message.type == 'D') row = wire::parse_data_row(message.body)->front().value_or("");
      if (message.type == 'Z') status = message.body[0];
      done += message.size();
    }
    heard.erase(0, done);
    return out;
  }
  Stage& stage;
  std::shared_ptr<Stream> stream;
  bool accepted = false, ended = false;
  std::string heard, sqlstate, row;
  char status = '?';
};

TEST(Stream, KeepsItsBytesInOrderThroughACutAndThenSaysThatItIsOver) {
  Stage stage;
  auto stream = std::make_shared<Stream>(stage.world, 0, 1);
  std::string heard;
  bool ended = false;
  stream->listen(1, {[&](std::string bytes) { heard += bytes; }, [&] { ended = true; }});
  std::string sent;
  for (int i = 0; i < 50; ++i) {
    const std::string piece = std::to_string(i) + ",";
    sent += piece;
    stream->send(0, piece);
    if (i == 20) stage.world.network.cut(0, 1);
    if (i == 30) {
      stage.wait(2s);
      EXPECT_LT(heard.size(), sent.size());
      stage.world.network.join(0, 1);
    }
  }
  stream->close(0);
  stream->send(0, "nobody hears this");
  stage.wait(5s);
  EXPECT_EQ(heard, sent);
  EXPECT_TRUE(ended);
}

TEST(Stream, AMachineThatVanishesIsMissedOnlyWhenItIsBack) {
  Stage stage;
  auto stream = std::make_shared<Stream>(stage.world, 0, 1);
  bool ended = false, back = false;
  stream->listen(0, {[](std::string) {}, [&] { ended = true; }});
  stream->vanish(1, [&] { return back; });
  stage.wait(5s);
  EXPECT_FALSE(ended);
  back = true;
  stage.wait(2s);
  EXPECT_TRUE(ended);
}

// A client's pooler was killed while it accepted: the end overtook the answer, nobody heard it, and the client waited for ever.
TEST(Stream, KeepsWhatArrivesBeforeAnybodyListens) {
  Stage stage;
  auto stream = std::make_shared<Stream>(stage.world, 0, 1);
  stream->send(1, "early");
  stream->close(1);
  stage.wait(2s);
  std::string heard;
  bool ended = false;
  stream->listen(0, {[&](std::string bytes) { heard += bytes; }, [&] { ended = true; }});
  stage.wait(1s);
  EXPECT_EQ(heard, "early");
  EXPECT_TRUE(ended);
}

TEST(Session, LogsInAndAnswersWhatItIs) {
  Stage stage;
  stage.start(false, false);
  Caller caller(stage);
  EXPECT_EQ(caller.types(), "RSSSSKZ");
  EXPECT_EQ(caller.query(std::string(pool::verify_question())), "TDCZ");
  EXPECT_EQ(caller.row, "f");
}

TEST(Session, ACommitIsAnsweredWhenAStandbyHasIt) {
  Stage stage;
  stage.start(false, false, {model::SyncNames::Kind::any, 1, {"x"}});
  Caller caller(stage);
  caller.query("SET application_name=E'c0';");
  EXPECT_EQ(caller.query("BEGIN"), "CZ");
  EXPECT_EQ(caller.query("INSERT c0-1"), "TDCZ");
  EXPECT_EQ(caller.status, 'T');
  EXPECT_EQ(caller.query("COMMIT"), "");  // nobody called x streams
  EXPECT_FALSE(caller.ended);
  stage.pg.stop_fast([] {});
  stage.wait(3s);
  EXPECT_EQ(caller.types(), "");  // it says nothing of the commit
  EXPECT_TRUE(caller.ended);
}

TEST(Session, ErrorsSkipToTheNextSync) {
  Stage stage;
  stage.start(false, false);
  Caller caller(stage);
  caller.query("SET application_name=E'c0';");
  std::string bytes;
  const wire::Value tag = "c0-1";
  wire::append_parse(bytes, "s", "INSERT ?/*c0*/", {});
  wire::append_bind(bytes, "", "s", {&tag, 1});
  wire::append_execute(bytes, "");
  wire::append_sync(bytes);
  EXPECT_EQ(caller.ask(bytes), "12DCZ");
  EXPECT_EQ(caller.ask(bytes), "EZ");
  EXPECT_EQ(caller.sqlstate, "42P05");
  EXPECT_EQ(stage.world.checkers.acknowledged(), 1u);
}

TEST(Session, TheGateAndAStandbyRefuse) {
  Stage gated;
  gated.start(false, true);
  Caller outside(gated);
  EXPECT_EQ(outside.types(), "E");
  EXPECT_EQ(outside.sqlstate, "28000");
  EXPECT_TRUE(outside.ended);

  Stage standby;
  standby.start(true, false);
  Caller reader(standby);
  reader.query("SET application_name=E'c0';");
  reader.query(std::string(pool::verify_question()));
  EXPECT_EQ(reader.row, "t");
  EXPECT_EQ(reader.query("INSERT c0-1"), "EZ");
  EXPECT_EQ(reader.sqlstate, "25006");
}

TEST(Session, NoticesAnotherClientsSettings) {
  Stage stage;
  stage.start(false, false);
  Caller caller(stage);
  caller.query("SET application_name=E'c1';");
  caller.query("INSERT c0-1");
  ASSERT_TRUE(stage.world.checkers.violation());
  EXPECT_EQ(stage.world.checkers.violation()->promise, "bytes");
}

TEST(Judge, NoticesWhatIsToldAndNotTrue) {
  {
    Stage stage;
    stage.world.pooled->told_ok("c0-1");
    ASSERT_TRUE(stage.world.checkers.violation());
    EXPECT_EQ(stage.world.checkers.violation()->promise, "A");
  }
  {
    Stage stage;
    const RecordId record = stage.world.records.add({});
    stage.world.pooled->written({"c0-1"}, record, 0);
    EXPECT_FALSE(stage.world.checkers.violation());
    stage.world.pooled->told_failed("c0-1", "08006");
    ASSERT_TRUE(stage.world.checkers.violation());
    EXPECT_EQ(stage.world.checkers.violation()->promise, "bytes");
  }
  {
    Stage stage;
    const RecordId record = stage.world.records.add({});
    stage.world.pooled->written({"c0-1"}, record, 0);
    stage.world.pooled->written({"c0-1"}, record, 1);
    ASSERT_TRUE(stage.world.checkers.violation());
  }
}

// The same seed is the same run, and most seeds have clients that go through real poolers.
TEST(Pooled, IsDrawnBySeedsAndDeterministic) {
  Options options;
  options.make_core = real_core();
  int with = 0;
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    World one(seed, options), two(seed, options);
    Verdict first = one.run(), second = two.run();
    EXPECT_EQ(first.events, second.events);
    EXPECT_EQ(first.pooled.ok, second.pooled.ok);
    EXPECT_EQ(first.pooled.unknown, second.pooled.unknown);
    if (first.pooled.ok > 0) ++with;
  }
  EXPECT_GE(with, 3);
}

}  // namespace
}  // namespace pgdba::sim
