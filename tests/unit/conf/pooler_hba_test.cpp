#include "conf/pooler_hba.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

#include "base/text.h"
#include "conf/pooler_ident.h"

namespace pgdba::conf {
namespace {

using Files = std::map<std::string, std::string>;

Hba parse(std::string_view text, const Files& files = {}) {
  return parse_hba("/etc/hba", text, [&](const std::string& path) -> Result<std::string> {
    auto found = files.find(path);
    if (found == files.end()) return fail(Errc::not_found, "No such file or directory");
    return found->second;
  });
}

HbaClient client(std::string_view address, std::string_view database, std::string_view user, bool tls = false) {
  HbaClient out;
  if (auto ip = parse_ip(address)) out.address = *ip;
  out.database = database;
  out.user = user;
  out.tls = tls;
  return out;
}

// The line that decides; 0: none does.
int line_for(const Hba& hba, const HbaClient& who) {
  const HbaRule* rule = match_hba(hba, who);
  return rule != nullptr ? rule->line : 0;
}

TEST(PoolerHba, who_matches_one_line) {
  struct Row {
    const char *name, *line, *address, *database, *user;
    bool tls, matches;
  };
  for (const Row& row : std::vector<Row>{
           {"socket", "local all all trust", "unix", "d", "u", false, true},
           {"socket with TLS", "local all all trust", "unix", "d", "u", true, true},
           {"socket and host", "host all all all trust", "unix", "d", "u", false, false},
           {"host and local", "local all all trust", "1.2.3.4", "d", "u", false, false},
           {"host", "host all all 1.2.3.0/24 trust", "1.2.3.4", "d", "u", false, true},
           {"other host", "host all all 1.2.3.0/24 trust", "1.2.4.4", "d", "u", false, false},
           {"mask", "host all all 1.2.0.0 255.255.0.0 trust", "1.2.4.4", "d", "u", false, true},
           {"v6 mask", "host all all fe80:: ffff:: trust", "fe80::1", "d", "u", false, true},
           {"v6", "host all all ::1/128 trust", "::1", "d", "u", false, true},
           {"everywhere", "host all all all trust", "::1", "d", "u", false, true},
           {"v4 range and v6", "host all all 0.0.0.0/0 trust", "::1", "d", "u", false, false},
           {"v4 range and mapped v4", "host all all 0.0.0.0/0 trust", "::ffff:1.2.3.4", "d", "u", false, false},
           {"host with TLS", "host all all all trust", "1.1.1.1", "d", "u", true, true},
           {"hostssl with TLS", "hostssl all all all trust", "1.1.1.1", "d", "u", true, true},
           {"hostssl without", "hostssl all all all trust", "1.1.1.1", "d", "u", false, false},
           {"hostnossl with TLS", "hostnossl all all all trust", "1.1.1.1", "d", "u", true, false},
           {"hostnossl without", "hostnossl all all all trust", "1.1.1.1", "d", "u", false, true},
           {"database", "local d all trust", "unix", "d", "u", false, true},
           {"other database", "local d all trust", "unix", "D", "u", false, false},
           {"list", "local a,d , e all trust", "unix", "e", "u", false, true},
           {"user list", "local all a, u trust", "unix", "d", "u", false, true},
           {"other user", "local all a,v trust", "unix", "d", "u", false, false},
           {"same user", "local sameuser all trust", "unix", "u", "u", false, true},
           {"not the same user", "local sameuser all trust", "unix", "d", "u", false, false},
           {"sameuser is a name among users", "local all sameuser trust", "unix", "d", "sameuser", false, true},
           {"quoted all is a name", "local \"all\" all trust", "unix", "d", "u", false, false},
           {"database called all", "local \"all\" all trust", "unix", "all", "u", false, true},
           {"quoted sameuser is a name", "local \"sameuser\" all trust", "unix", "u", "u", false, false},
           {"quote inside quotes", "local \"a\"\"b\" all trust", "unix", "a\"b", "u", false, true},
           {"quoted at sign", "local \"@x\" all trust", "unix", "@x", "u", false, true},
           {"name with blanks", "local \"a b\" all trust", "unix", "a b", "u", false, true},
           {"replication is not a name", "local replication all trust", "unix", "replication", "u", false, false},
           {"quoted replication is", "local \"replication\" all trust", "unix", "replication", "u", false, true},
           {"comment", "local all all trust # all", "unix", "d", "u", false, true},
           {"address outside its mask", "host all all 1.2.3.4/24 trust", "1.2.3.4", "d", "u", false, false},
       }) {
    auto hba = parse(row.line);
    ASSERT_EQ(hba.rules.size(), 1u) << row.name << ": " << join(hba.problems, "\n");
    EXPECT_EQ(match_hba(hba, client(row.address, row.database, row.user, row.tls)) != nullptr, row.matches) << row.name;
  }
}

TEST(PoolerHba, methods) {
  struct Row {
    const char* word;
    HbaMethod method;
  };
  for (const Row& row : std::vector<Row>{{"trust", HbaMethod::trust},
                                         {"reject", HbaMethod::reject},
                                         {"md5", HbaMethod::md5},
                                         {"password", HbaMethod::password},
                                         {"scram-sha-256", HbaMethod::scram_sha_256},
                                         {"cert", HbaMethod::cert},
                                         {"peer", HbaMethod::peer},
                                         {"cert map=m", HbaMethod::cert},
                                         {"peer map=\"m n\"", HbaMethod::peer}}) {
    auto hba = parse(fmt::format("local all all {}", row.word));
    ASSERT_EQ(hba.rules.size(), 1u) << row.word;
    EXPECT_EQ(hba.rules[0].method, row.method) << row.word;
    EXPECT_EQ(hba.problems.size(), 0u) << row.word;
  }
  EXPECT_EQ(parse("local all all cert map=m").rules[0].map, "m");
  EXPECT_EQ(parse("local all all peer map=\"m n\"").rules[0].map, "m n");
}

TEST(PoolerHba, the_first_line_that_fits_decides) {
  auto hba = parse(
      "# comment\n\nhost all bad 0.0.0.0/0 reject\r\nhostssl app all 10.0.0.0/8 scram-sha-256\nhost all all "
      "127.0.0.1/32 trust\n");
  EXPECT_EQ(join(hba.problems, "\n"), "");
  EXPECT_EQ(line_for(hba, client("127.0.0.1", "app", "bad")), 3);
  EXPECT_EQ(line_for(hba, client("10.1.1.1", "app", "u", true)), 4);
  EXPECT_EQ(line_for(hba, client("10.1.1.1", "app", "u", false)), 0);
  EXPECT_EQ(line_for(hba, client("127.0.0.1", "app", "u")), 5);
  EXPECT_EQ(line_for(hba, client("unix", "app", "u")), 0);
  EXPECT_EQ(line_for(parse(""), client("unix", "app", "u")), 0);
}

TEST(PoolerHba, physical_replication) {
  auto hba = parse("local all all trust\nlocal replication,app r md5\n");
  HbaClient who = client("unix", "app", "r");
  EXPECT_EQ(line_for(hba, who), 1);
  who.physical_replication = true;
  EXPECT_EQ(line_for(hba, who), 2);
  who.user = "u";
  EXPECT_EQ(line_for(hba, who), 0);
}

TEST(PoolerHba, lines_that_are_left_out) {
  using namespace std::string_literals;
  struct Row {
    std::string name, line, problem;
  };
  for (const Row& row : std::vector<Row>{
           {"type", "hostgssenc all all all trust", "unknown type \"hostgssenc\""},
           {"quoted type", "\"local\" all all trust", "unknown type \"local\""},
           {"only a type", "local", "the line ends too early"},
           {"no user", "local all", "the line ends too early"},
           {"no method", "local all all", "the method is missing"},
           {"comma at the end", "local all,", "the line ends too early"},
           {"two commas", "local a,,b all trust", "a name is missing at a comma"},
           {"no address", "host all all", "the address is missing"},
           {"name for an address", "host all all localhost trust", "\"localhost\" is not an address"},
           {"samenet", "host all all samenet trust", "\"samenet\" is not an address"},
           {"no mask", "host all all 1.2.3.4 trust", "no mask follows \"1.2.3.4\""},
           {"mask of the other kind", "host all all 1.2.3.4 ffff:: trust", "no mask follows \"1.2.3.4\""},
           {"mask too long", "host all all 1.2.3.4/33 trust", "invalid mask in \"1.2.3.4/33\""},
           {"mask is no number", "host all all 1.2.3.4/x trust", "invalid mask in \"1.2.3.4/x\""},
           {"empty mask", "host all all 1.2.3.4/ trust", "invalid mask in \"1.2.3.4/\""},
           {"method", "local all all gss", "unsupported method \"gss\""},
           {"method in capitals", "local all all TRUST", "unsupported method \"TRUST\""},
           {"pam", "local all all pam", "unsupported method \"pam\""},
           {"option", "local all all md5 clientcert=1", "unsupported option \"clientcert=1\""},
           {"map with a password method", "local all all md5 map=m", "unsupported option \"map=m\""},
           {"empty map", "local all all peer map=", "map= needs a name"},
           {"group", "local all +g trust", "groups are not supported"},
           {"same role", "local samerole all trust", "samerole is not supported"},
           {"regular expression", "local /^a all trust", "regular expressions are not supported"},
           {"missing file", "local @no all trust", "could not read \"/etc/no\": No such file or directory"},
           {"quote without an end", "local \"a all trust", "a quote without its end"},
           {"zero byte", "local a\0b all trust"s, "a quote without its end"},
       }) {
    auto hba = parse("\n" + row.line + "\nlocal all all trust");
    EXPECT_EQ(join(hba.problems, "\n"), "hba: " + row.problem + " (/etc/hba:2)") << row.name;
    ASSERT_EQ(hba.rules.size(), 1u) << row.name;
    EXPECT_EQ(hba.rules[0].line, 3) << row.name;
  }
}

TEST(PoolerHba, ldap_rejects) {
  auto hba = parse("host all all all ldap ldapserver=x\nhost all all all trust");
  const HbaRule* rule = match_hba(hba, client("1.1.1.1", "d", "u"));
  ASSERT_NE(rule, nullptr);
  EXPECT_EQ(rule->method, HbaMethod::reject);
  EXPECT_EQ(join(hba.problems, "\n"), "hba: method ldap is not supported yet, the line rejects (/etc/hba:1)");
}

TEST(PoolerHba, an_address_that_does_not_fit_its_mask_is_named) {
  EXPECT_EQ(join(parse("host all all 1.2.3.4/24 trust").problems, "\n"),
            "hba: address \"1.2.3.4/24\" does not fit its mask, so the line matches nobody (/etc/hba:1)");
}

TEST(PoolerHba, lists_in_files) {
  Files files{{"/etc/dbs", "# databases\na, b\n\nc d\n@sub/more\n"},
              {"/etc/sub/more", "\"e f\"\n@deep"},
              {"/etc/sub/deep", "g"},
              {"/users", "all"}};
  auto hba = parse("local @dbs,z @/users trust", files);
  EXPECT_EQ(join(hba.problems, "\n"), "");
  ASSERT_EQ(hba.rules.size(), 1u);
  EXPECT_EQ(hba.rules[0].databases.names, (std::vector<std::string>{"a", "b", "c", "d", "e f", "g", "z"}));
  EXPECT_TRUE(hba.rules[0].users.all);
  auto loop = parse("local @l all trust", {{"/etc/l", "@l @l @l"}});
  EXPECT_EQ(loop.rules.size(), 0u);
  EXPECT_EQ(join(loop.problems, "\n"), "hba: too many levels of @file (/etc/hba:1)");
  EXPECT_EQ(parse_hba("h", "local @l all trust", nullptr).problems.size(), 1u);
}

TEST(PoolerHba, names_have_a_limit) {
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "x ";
  std::string text;
  for (int i = 0; i < 200; ++i) text += "local @m all trust\n";
  auto hba = parse(text, {{"/etc/m", many}});
  EXPECT_EQ(hba.rules.size(), 100u);
  EXPECT_EQ(hba.problems.size(), 100u);
}

TEST(PoolerIdent, maps) {
  auto ident = parse_ident("i", "# map\nm sys db\nm \"s p\" all\nm x \"all\"\nn sys other\n");
  EXPECT_EQ(join(ident.problems, "\n"), "");
  struct Row {
    const char *map, *system, *database;
    bool allowed;
  };
  for (const Row& row : std::vector<Row>{{"m", "sys", "db", true},
                                         {"m", "sys", "other", false},
                                         {"n", "sys", "other", true},
                                         {"n", "sys", "db", false},
                                         {"m", "s p", "anything", true},
                                         {"m", "x", "anything", false},
                                         {"m", "x", "all", true},
                                         {"unknown", "sys", "db", false},
                                         {"", "same", "same", true},
                                         {"", "same", "Same", false},
                                         {"", "", "", false},
                                         {"m", "s p", "", false}}) {
    EXPECT_EQ(ident_allows(ident, row.map, row.system, row.database), row.allowed)
        << row.map << " " << row.system << " " << row.database;
  }
}

TEST(PoolerIdent, lines_that_are_left_out) {
  struct Row {
    const char *name, *line, *problem;
  };
  for (const Row& row : std::vector<Row>{
           {"too few", "m sys", "expected a map, an outside name and a database user"},
           {"too many", "m sys db x", "expected a map, an outside name and a database user"},
           {"list", "m , db", "lists are not supported"},
           {"regular expression", "m /^(.*)$ \\1", "regular expressions are not supported"},
           {"group", "m sys +g", "groups are not supported"},
           {"empty name", "m \"\" db", "a name is empty"},
           {"quote", "m \"sys db", "a quote without its end"},
       }) {
    auto ident = parse_ident("i", std::string("\n") + row.line + "\nm a b");
    EXPECT_EQ(join(ident.problems, "\n"), fmt::format("ident: {} (i:2)", row.problem)) << row.name;
    EXPECT_EQ(ident.lines.size(), 1u) << row.name;
  }
}

TEST(PoolerIdent, maps_that_are_missing) {
  auto hba = parse("local all all peer map=m\nlocal all all peer map=n\nlocal all all peer");
  EXPECT_EQ(join(missing_maps(hba, parse_ident("i", "m a b")), "\n"),
            "hba line 2: there is no ident map \"n\", so nobody gets in by it");
}

}  // namespace
}  // namespace pgdba::conf
