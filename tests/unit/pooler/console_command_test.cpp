// What an administrator may type. PgBouncer 1.24's own answers are the reference; differences are named.
#include <gtest/gtest.h>

#include "pooler/console/command.h"

namespace pgdba::pooler {
namespace {

struct Good {
  const char* name;
  std::string_view text;
  Verb verb;
  std::string_view argument = "";
  std::string_view value = "";
};

class Accepted : public testing::TestWithParam<Good> {};

TEST_P(Accepted, IsRead) {
  auto command = parse_command(GetParam().text);
  ASSERT_TRUE(command) << command.error().text;
  EXPECT_EQ(command->verb, GetParam().verb);
  EXPECT_EQ(command->argument, GetParam().argument);
  EXPECT_EQ(command->value, GetParam().value);
}

const Good kGood[] = {
    {"nothing", "", Verb::empty},
    {"blanks", " \n\t", Verb::empty},
    {"semicolons", " ;; ", Verb::empty},  // lib/pq's ping; PgBouncer refuses it
    {"pause", "PAUSE", Verb::pause},
    {"pause_one", "pause db1;", Verb::pause, "db1"},
    {"quoted", "PAUSE \"my \"\"db\"\"; x\" ;", Verb::pause, "my \"db\"; x"},
    {"quoted_without_blank", "RESUME\"a\"", Verb::resume, "a"},
    {"case_of_argument", "Kill DbOne", Verb::kill, "DbOne"},
    {"wait_close", "WAIT_CLOSE", Verb::wait_close},
    {"disable_none", "DISABLE", Verb::disable},
    {"kill_client", "KILL_CLIENT 42", Verb::kill_client, "42"},
    {"kill_client_bare", "KILL_CLIENT", Verb::kill_client},
    {"kill_client_word", "kill_client x", Verb::kill_client, "x"},
    {"shutdown", "SHUTDOWN", Verb::shutdown},
    {"shutdown_servers", "shutdown Wait_For_Servers", Verb::shutdown, "Wait_For_Servers"},
    {"reload", "\nRELOAD ;\n", Verb::reload},
    {"suspend", "SUSPEND", Verb::suspend},
    {"name_with_signs", "PAUSE a.b-c_d$", Verb::pause, "a.b-c_d$"},
    {"name_utf8",
     "PAUSE b\xc3\xbc"
     "cher",
     Verb::pause,
     "b\xc3\xbc"
     "cher"},
    {"set", "SET stats_period=30", Verb::set, "stats_period", "30"},
    {"set_blanks", "set Stats_Period  =  30 ;", Verb::set, "stats_period", "30"},
    {"set_to", "SET pool_mode TO session", Verb::set, "pool_mode", "session"},
    {"set_quoted", "SET x = 'it''s; so' ;", Verb::set, "x", "it's; so"},
    {"set_empty", "SET auth_user = ''", Verb::set, "auth_user", ""},
    {"set_nothing", "SET auth_user =", Verb::set, "auth_user", ""},
    {"set_with_blanks", "SET ignore_startup_parameters = a, b", Verb::set, "ignore_startup_parameters", "a, b"},
    {"set_dummy", "SET client_encoding='UTF8'", Verb::set_dummy, "client_encoding", "UTF8"},
    {"set_dummy_to", "SET DateStyle TO ISO", Verb::set_dummy, "datestyle", "ISO"},
    {"set_float_digits", "SET extra_float_digits = 3", Verb::set_dummy, "extra_float_digits", "3"},
    {"show_dummy", "SHOW TimeZone", Verb::show_dummy, "timezone", "GMT"},
    {"show_encoding", "SELECT client_encoding;", Verb::show_dummy, "client_encoding", "UTF-8"},
};
INSTANTIATE_TEST_SUITE_P(Commands, Accepted, testing::ValuesIn(kGood),
                         [](const auto& row) { return std::string(row.param.name); });

class Refused : public testing::TestWithParam<std::pair<const char*, std::string_view>> {};

TEST_P(Refused, InPgBouncersWords) {
  auto command = parse_command(GetParam().second);
  ASSERT_FALSE(command);
  EXPECT_EQ(command.error().text, "invalid command '" + std::string(GetParam().second) + "', use SHOW HELP;");
}

using namespace std::string_view_literals;
const std::pair<const char*, std::string_view> kBad[] = {
    {"unknown", "FOO"},
    {"begin", "BEGIN"},
    {"number", "SELECT 1"},
    {"show_nothing", "SHOW"},
    {"show_unknown", "SHOW nosuch"},
    {"show_name", "SHOW application_name"},
    {"two_arguments", "PAUSE a b"},
    {"two_commands", "SHOW POOLS; SHOW STATS"},
    {"argument_too_much", "RELOAD x"},
    {"suspend_argument", "SUSPEND now"},
    {"shutdown_word", "SHUTDOWN foo"},
    {"open_quote", "PAUSE \"a"},
    {"empty_quotes", "PAUSE \"\""},
    {"behind_quotes", "PAUSE \"a\"b"},
    {"set_alone", "SET"},
    {"set_without_value", "SET x"},
    {"set_glued_to", "SET x TOy"},
    {"set_open_quote", "SET x = 'a"},
    {"set_behind_quote", "SET x = 'a' b"},
    {"set_no_key", "SET = 1"},
    {"with_nul", "SHOW\0POOLS"sv},
    {"function", "SELECT version()"},
};
INSTANTIATE_TEST_SUITE_P(Commands, Refused, testing::ValuesIn(kBad),
                         [](const auto& row) { return std::string(row.param.first); });

TEST(Command, EveryTopicIsReadInAnyCase) {
  const std::pair<const char*, Show> topics[] = {{"help", Show::help},
                                                 {"VERSION", Show::version},
                                                 {"databases", Show::databases},
                                                 {"Pools", Show::pools},
                                                 {"clients", Show::clients},
                                                 {"servers", Show::servers},
                                                 {"sockets", Show::sockets},
                                                 {"active_sockets", Show::active_sockets},
                                                 {"stats", Show::stats},
                                                 {"stats_totals", Show::stats_totals},
                                                 {"stats_averages", Show::stats_averages},
                                                 {"totals", Show::totals},
                                                 {"users", Show::users},
                                                 {"lists", Show::lists},
                                                 {"config", Show::config},
                                                 {"peers", Show::peers},
                                                 {"peer_pools", Show::peer_pools},
                                                 {"dns_hosts", Show::dns_hosts},
                                                 {"dns_zones", Show::dns_zones},
                                                 {"mem", Show::mem},
                                                 {"state", Show::state},
                                                 {"fds", Show::fds},
                                                 {"cluster", Show::cluster}};
  for (const auto& [name, show] : topics) {
    auto command = parse_command("show " + std::string(name) + ";");
    ASSERT_TRUE(command) << name;
    EXPECT_EQ(command->verb, Verb::show);
    EXPECT_EQ(command->show, show) << name;
    EXPECT_EQ(only_reads(*command), show != Show::fds) << name;
  }
}

TEST(Command, OnlyAdministratorsChangeThings) {
  for (const char* text : {"PAUSE", "RESUME", "DISABLE a", "ENABLE a", "RECONNECT", "WAIT_CLOSE", "KILL",
                           "KILL_CLIENT 1", "SUSPEND", "RELOAD", "SHUTDOWN", "SET a=b", "SHOW FDS"}) {
    EXPECT_FALSE(only_reads(*parse_command(text))) << text;
  }
  for (const char* text : {"", "SHOW STATS", "SELECT pools", "SHOW datestyle", "SET timezone=UTC"}) {
    EXPECT_TRUE(only_reads(*parse_command(text))) << text;
  }
}

TEST(Command, TheTagIsTheWord) {
  const std::pair<const char*, const char*> tags[] = {{"SELECT pools", "SHOW"},     {"pause a", "PAUSE"},
                                                      {"set a = b", "SET a=b"},     {"set datestyle=x", "SET"},
                                                      {"wait_close", "WAIT_CLOSE"}, {"kill_client 7", "KILL_CLIENT"}};
  for (const auto& [text, tag] : tags) EXPECT_EQ(tag_of(*parse_command(text)), tag);
}

TEST(Command, AnErrorIsNotLongerThanNeeded) {
  auto command = parse_command(std::string(100000, 'x'));
  ASSERT_FALSE(command);
  EXPECT_LT(command.error().text.size(), 300u);
}

}  // namespace
}  // namespace pgdba::pooler
