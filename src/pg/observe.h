// Reads everything that model::LocalPg says: files, processes, and one query on a connection kept for it.
//
// Decides nothing, and changes nothing but this: what a dead guardian left alive is killed on sight. Never takes longer
// than its deadline; files are read by a helper thread, pg_controldata runs only when pg_control has changed. What is
// remembered from one reading to the next are facts that hold until the postmaster ends (WAL exhausted) or until their
// inputs change; each is kept with the incarnation for which it holds.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/time.h"
#include "model/local.h"
#include "net/loop.h"
#include "net/task.h"
#include "pg/server.h"

namespace pgdba::pg {

class Observer {
 public:
  explicit Observer(Server& server);
  ~Observer();
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  // Names and conn_urls of the members, so that `streaming_from` can name the one whose walsender feeds us.
  void set_members(std::map<std::string, std::string> conn_url_by_name);

  // Typical 1–3 ms; the very first takes as long as the disk takes, because a data directory that was not read yet must
  // not look like none. The query is given until `deadline`; without an answer by then LocalPg says query_timed_out.
  // wal_end's Position has term 0: pg/ knows no terms.
  Task<model::LocalPg> observe(BootTime deadline);

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace pgdba::pg
