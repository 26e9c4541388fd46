#include "pooler/directory.h"

#include <gtest/gtest.h>

#include "conf/pooler_ini.h"

namespace pgdba::pooler {

namespace {

std::shared_ptr<const Loaded> loaded(const std::string& databases) {
  auto none = [](const std::string&) -> Result<std::string> { return fail(Errc::not_found, "no file"); };
  conf::PoolerReading read = conf::read_pooler_ini("test.ini", "[databases]\n" + databases + "[pgbouncer]\nlisten_port = 1\ncluster_api = http://localhost\n", none);
  EXPECT_EQ(read.errors, std::vector<std::string>{});
  auto out = std::make_shared<Loaded>();
  out->config = std::move(read.config);
  return out;
}

}  // namespace

struct NameRow {
  const char* asked;
  const char* server_name;  // nullptr: there is no such database
  pool::Route route;
  bool automatic;
};

TEST(Directory, a_name_leads_to_its_own_entry_then_to_the_longest_suffix_then_to_the_template) {
  SecretCache secrets;
  ClientDirectory directory(loaded("* = role=primary\n"
                                   "*_ro = role=replica\n"
                                   "*_any_ro = role=any\n"
                                   "*_fix = dbname=always host=127.0.0.1\n"
                                   "sales_ro = role=primary\n"),
                            "seed", secrets);
  constexpr NameRow kRows[] = {{"shop", "shop", pool::Route::primary, true},
                               {"shop_ro", "shop", pool::Route::replica, true},
                               {"shop_any_ro", "shop", pool::Route::any, true},
                               {"sales_ro", "sales_ro", pool::Route::primary, false},
                               {"_ro", "_ro", pool::Route::primary, true},
                               {"shop_fix", "always", pool::Route::fixed, true},
                               {"*", "*", pool::Route::primary, true}};
  for (const NameRow& row : kRows) {
    pool::Database* found = directory.database(row.asked);
    ASSERT_NE(found, nullptr) << row.asked;
    EXPECT_EQ(found->name, row.asked);
    EXPECT_EQ(found->server_name, row.server_name) << row.asked;
    EXPECT_EQ(found->route, row.route) << row.asked;
    EXPECT_EQ(found->automatic, row.automatic) << row.asked;
    EXPECT_EQ(directory.database(row.asked), found) << row.asked;
  }
  EXPECT_EQ(directory.database(std::string(61, 'x') + "_ro"), nullptr) << "too long";
}

TEST(Directory, a_reload_leads_names_elsewhere_and_keeps_what_pools_point_at) {
  SecretCache secrets;
  ClientDirectory directory(loaded("*_ro = role=replica\n"), "seed", secrets);
  EXPECT_EQ(directory.database("shop"), nullptr);
  pool::Database* reads = directory.database("shop_ro");
  ASSERT_NE(reads, nullptr);
  directory.reload(loaded("* = role=any\n"));
  EXPECT_EQ(directory.database("shop_ro"), reads);
  EXPECT_EQ(reads->server_name, "shop_ro");
  EXPECT_EQ(reads->route, pool::Route::any);
  directory.reload(loaded("other = role=any\n"));
  EXPECT_EQ(directory.database("shop_ro"), nullptr);
}

}  // namespace pgdba::pooler
