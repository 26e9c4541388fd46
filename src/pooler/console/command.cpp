#include "pooler/console/command.h"

#include <array>
#include <optional>

#include "base/text.h"

namespace pgdba::pooler {

namespace {

constexpr size_t kMaxShown = 200;  // of a command in an error text

struct Word {
  std::string_view name;
  Verb verb;
  enum { none, optional, required } argument;
};
constexpr std::array kWords = {
    Word{"pause", Verb::pause, Word::optional},         Word{"resume", Verb::resume, Word::optional},
    Word{"disable", Verb::disable, Word::optional},     Word{"enable", Verb::enable, Word::optional},
    Word{"reconnect", Verb::reconnect, Word::optional}, Word{"wait_close", Verb::wait_close, Word::optional},
    Word{"kill", Verb::kill, Word::optional},           Word{"kill_client", Verb::kill_client, Word::optional},
    Word{"suspend", Verb::suspend, Word::none},         Word{"reload", Verb::reload, Word::none},
    Word{"shutdown", Verb::shutdown, Word::optional},   Word{"show", Verb::show, Word::required},
    Word{"select", Verb::show, Word::required},
};

struct Topic {
  std::string_view name;
  Show show;
};
constexpr std::array kTopics = {
    Topic{"help", Show::help},
    Topic{"version", Show::version},
    Topic{"databases", Show::databases},
    Topic{"pools", Show::pools},
    Topic{"clients", Show::clients},
    Topic{"servers", Show::servers},
    Topic{"sockets", Show::sockets},
    Topic{"active_sockets", Show::active_sockets},
    Topic{"stats", Show::stats},
    Topic{"stats_totals", Show::stats_totals},
    Topic{"stats_averages", Show::stats_averages},
    Topic{"totals", Show::totals},
    Topic{"users", Show::users},
    Topic{"lists", Show::lists},
    Topic{"config", Show::config},
    Topic{"peers", Show::peers},
    Topic{"peer_pools", Show::peer_pools},
    Topic{"dns_hosts", Show::dns_hosts},
    Topic{"dns_zones", Show::dns_zones},
    Topic{"mem", Show::mem},
    Topic{"state", Show::state},
    Topic{"fds", Show::fds},
    Topic{"cluster", Show::cluster},
};

// What drivers ask of every server, with PgBouncer's answers.
struct Dummy {
  std::string_view name, value;
  bool may_show;
};
constexpr std::array kDummies = {
    Dummy{"client_encoding", "UTF-8", true},
    Dummy{"default_transaction_isolation", "read committed", true},
    Dummy{"standard_conforming_strings", "on", true},
    Dummy{"datestyle", "ISO", true},
    Dummy{"timezone", "GMT", true},
    // Ours: JDBC and others set these after the login.
    Dummy{"application_name", "", false},
    Dummy{"extra_float_digits", "", false},
};

const Dummy* find_dummy(std::string_view name) {
  for (const Dummy& dummy : kDummies) {
    if (iequals(dummy.name, name)) return &dummy;
  }
  return nullptr;
}

bool blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}
bool name_char(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte > ' ' && byte != 0x7f && c != ';' && c != '"' && c != '\'' && c != '=' && c != ',' && c != '(' &&
         c != ')';
}

void skip_blanks(std::string_view& rest) {
  while (!rest.empty() && blank(rest[0])) rest.remove_prefix(1);
}

std::string_view take_word(std::string_view& rest) {
  size_t size = 0;
  while (size < rest.size() && name_char(rest[size])) ++size;
  const std::string_view word = rest.substr(0, size);
  rest.remove_prefix(size);
  return word;
}

// Text in quotes, which are doubled within. nullopt: its end is missing.
std::optional<std::string> take_quoted(std::string_view& rest, char quote) {
  std::string text;
  for (size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] == quote) {
      if (i + 1 >= rest.size() || rest[i + 1] != quote) {
        rest.remove_prefix(i + 1);
        return text;
      }
      ++i;
    }
    text.push_back(rest[i]);
  }
  return std::nullopt;
}

// "key = value", "key TO value" behind SET.
std::optional<Command> parse_set(std::string_view rest) {
  Command command;
  skip_blanks(rest);
  command.argument = lower(take_word(rest));
  if (command.argument.empty()) return std::nullopt;
  const bool gap = !rest.empty() && blank(rest[0]);
  skip_blanks(rest);
  if (rest.starts_with('=')) {
    rest.remove_prefix(1);
  } else if (gap && rest.size() > 2 && iequals(rest.substr(0, 2), "to") && blank(rest[2])) {
    rest.remove_prefix(2);
  } else {
    return std::nullopt;
  }
  skip_blanks(rest);
  if (rest.starts_with('\'')) {
    auto value = take_quoted(rest, '\'');
    skip_blanks(rest);
    if (!value || !rest.empty()) return std::nullopt;
    command.value = std::move(*value);
  } else {
    command.value = std::string(trim(rest));
  }
  command.verb = find_dummy(command.argument) != nullptr ? Verb::set_dummy : Verb::set;
  return command;
}

std::optional<Command> parse(std::string_view text) {
  std::string_view rest = text;
  skip_blanks(rest);
  while (!rest.empty() && (blank(rest.back()) || rest.back() == ';')) rest.remove_suffix(1);
  if (rest.empty()) return Command{};
  const std::string_view first = take_word(rest);
  if (!rest.empty() && !blank(rest[0]) && rest[0] != '"') return std::nullopt;
  if (iequals(first, "set")) return parse_set(rest);
  const Word* word = nullptr;
  for (const Word& each : kWords) {
    if (iequals(each.name, first)) word = &each;
  }
  if (word == nullptr) return std::nullopt;
  Command command;
  command.verb = word->verb;
  skip_blanks(rest);
  const bool given = !rest.empty();
  if (given) {
    if (rest[0] == '"') {
      auto name = take_quoted(rest, '"');
      if (!name || name->empty()) return std::nullopt;
      command.argument = std::move(*name);
    } else {
      command.argument = std::string(take_word(rest));
    }
    skip_blanks(rest);
    if (!rest.empty() || command.argument.empty()) return std::nullopt;
  }
  if (given ? word->argument == Word::none : word->argument == Word::required) return std::nullopt;
  if (command.verb == Verb::shutdown && given && !iequals(command.argument, "wait_for_servers") &&
      !iequals(command.argument, "wait_for_clients")) {
    return std::nullopt;
  }
  if (command.verb != Verb::show) return command;
  for (const Topic& topic : kTopics) {
    if (!iequals(topic.name, command.argument)) continue;
    command.show = topic.show;
    return command;
  }
  const Dummy* dummy = find_dummy(command.argument);
  if (dummy == nullptr || !dummy->may_show) return std::nullopt;
  command.verb = Verb::show_dummy;
  command.argument = std::string(dummy->name);
  command.value = std::string(dummy->value);
  return command;
}

}  // namespace

Result<Command> parse_command(std::string_view text) {
  if (text.find('\0') == std::string_view::npos) {
    if (auto command = parse(text)) return *command;
  }
  const bool cut = text.size() > kMaxShown;
  return fail(Errc::invalid,
              "invalid command '" + std::string(text.substr(0, kMaxShown)) + (cut ? "..." : "") + "', use SHOW HELP;");
}

std::string tag_of(const Command& command) {
  switch (command.verb) {
    case Verb::empty: return "";
    case Verb::show:
    case Verb::show_dummy: return "SHOW";
    case Verb::set: return "SET " + command.argument + "=" + command.value;
    case Verb::set_dummy: return "SET";
    case Verb::pause: return "PAUSE";
    case Verb::resume: return "RESUME";
    case Verb::disable: return "DISABLE";
    case Verb::enable: return "ENABLE";
    case Verb::reconnect: return "RECONNECT";
    case Verb::wait_close: return "WAIT_CLOSE";
    case Verb::kill: return "KILL";
    case Verb::kill_client: return "KILL_CLIENT";
    case Verb::suspend: return "SUSPEND";
    case Verb::reload: return "RELOAD";
    case Verb::shutdown: return "SHUTDOWN";
  }
  return "";
}

bool only_reads(const Command& command) {
  switch (command.verb) {
    case Verb::empty:
    case Verb::show_dummy:
    case Verb::set_dummy: return true;
    case Verb::show: return command.show != Show::fds;
    default: return false;
  }
}

}  // namespace pgdba::pooler
