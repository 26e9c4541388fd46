#include "pooler/console/session.h"
#include "target.h"
#include "wire/pg_frame.h"

// The console's connection under arbitrary bytes: each command that comes out gets two rows, or an error.
FUZZ_TARGET(console) {
  using namespace pgdba;
  using namespace pgdba::pooler;
  if (auto command = parse_command(data)) {
    CHECK(!tag_of(*command).empty() || command->verb == Verb::empty);
    CHECK(command->verb != Verb::show || command->show == Show::help || !columns_of(*command).empty());
  }
  Session session;
  std::string out;
  size_t at = 0;
  for (int round = 0; round < 1000; ++round) {
    Session::Read read = session.input(data.substr(at), out);
    at += read.consumed;
    CHECK(at <= data.size());
    if (read.close) break;
    CHECK(session.busy() == read.run.has_value());
    if (!read.run) break;
    CHECK(session.input(data.substr(at), out).consumed == 0);
    Outcome outcome;
    if (round % 3 == 2) {
      outcome.problem = {"no"};
    } else {
      const Columns columns = columns_of(*read.run);
      outcome.table = Table{columns, {2, Row(columns.size(), Cell("1"))}};
    }
    session.done(std::move(outcome), out);
    CHECK(!session.busy());
  }
  // What was answered is whole messages of a server's.
  std::string_view rest = out;
  wire::Message message;
  while (wire::read_message(rest, message) == wire::Scan::complete) {
    CHECK(wire::is_backend_type(message.type));
    rest.remove_prefix(message.size());
  }
  CHECK(rest.empty());
}
