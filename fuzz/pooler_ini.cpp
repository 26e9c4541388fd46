// The text up to a line of "---" is the main file; what follows is the only file that it can include.
#include "conf/pooler_ini.h"

#include "conf/pooler_rules.h"
#include "target.h"

FUZZ_TARGET(pooler_ini) {
  using namespace pgdba;
  using namespace pgdba::conf;
  auto cut = data.find("\n---\n");
  std::string included(cut == std::string_view::npos ? std::string_view() : data.substr(cut + 5));
  int times = 0;  // a file that includes itself would only make this slow
  auto include = [&](const std::string&) -> Result<std::string> {
    if (++times > 20) return fail(Errc::not_found, "not again");
    return included;
  };
  auto reading = read_pooler_ini("p.ini", data.substr(0, cut), include);
  if (!reading.ok()) {
    CHECK(reading.errors.size() <= 101);
    for (const std::string& sentence : reading.errors) CHECK(sentence.find('\n') == std::string::npos);
    return;
  }
  // What was accepted is written and read back as the same value.
  PoolerSettings again;
  for (const SettingRow& row : setting_rows()) {
    std::string written = row.write(reading.config.settings);
    CHECK(!row.read(again, written));
    CHECK(row.write(again) == written);
  }
  for (const DatabaseEntry& entry : reading.config.databases) {
    CHECK(!entry.name.empty() && entry.port != 0);
    auto rules = pool_rules(reading.config, entry, "requested", "user");
    CHECK(rules.pool_size >= 0 && rules.max_db_connections >= 0 && !rules.server_dbname.empty());
    CHECK(client_rules(reading.config, entry, "user").query_timeout.count() >= 0);
    CHECK(!needs_reconnect(entry, entry));
  }
  for (const PeerEntry& entry : reading.config.peers) CHECK(entry.id >= 1 && entry.id <= 16383 && !entry.host.empty());
}
