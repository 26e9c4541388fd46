#include "cli/up_ready.h"

#include <fmt/format.h>

#include "base/text.h"

namespace pgdba::cli {

namespace {

std::string what_to_type(const Terminal& terminal, const Target& target, const Urls& urls) {
  std::string flag = target.flag();
  auto bold = [&](const std::string& text) { return terminal.tint(Tint::bold, text); };
  std::string out;
  if (!urls.pooler.libpq.empty()) {
    out += "\nApplications connect to the pooler, which follows the leader and holds transactions while it moves:\n";
    out += "  " + bold(urls.pooler.psql) + "\n";
    out += "  libpq  " + urls.pooler.libpq + "\n";
    out += "  JDBC   " + urls.pooler.jdbc + "\n";
    out += "  reads  " + urls.pooler_ro + "   (any database: NAME_ro is NAME on a replica)\n";
  }
  out += "\nTo connect to the nodes themselves, type the first line, then plain `psql` is the leader:\n";
  out += "  " + bold(to_type(fmt::format("eval \"$(pgdba env{})\"", flag))) + "\n";
  out += "  " + urls.psql + "\n";
  out += "  libpq  " + urls.libpq + "\n";
  out += "  JDBC   " + urls.jdbc + "\n";
  out += "  REST   " + join(urls.rest, "  ") + "\n";
  out += "To break it and watch it heal:\n";
  out += fmt::format("  {}   {}   {}\n", bold(to_type("pgdba status" + flag + " --watch")),
                     bold(to_type("pgdba kill" + flag + " primary")), bold(to_type("pgdba start" + flag)));
  return out;
}

}  // namespace

bool several_known(const Context& context) {
  auto known = context.registry.read();
  return known && known->size() > 1;
}

void print_ready(const Context& context, const Target& target, const FullSight& full) {
  const Terminal& terminal = context.terminal;
  print_status(terminal, target, full, context.loop.now());
  if (terminal.table()) terminal.data(what_to_type(terminal, target, urls_of(target, full.sight)));
}

}  // namespace pgdba::cli
