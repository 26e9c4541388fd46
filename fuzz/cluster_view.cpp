// Lines of "key=value" (a put) or "-key" (a removal): what a watch tells must lead to what a new reading gives.
#include "wire/cluster_view.h"

#include <map>

#include "base/text.h"
#include "target.h"

FUZZ_TARGET(cluster_view) {
  using namespace pgdba::wire;
  const std::string prefix = "/service/demo/";
  std::map<std::string, KeyValue> store;
  pgdba::model::ClusterView followed = build_cluster_view(prefix, {}, {.revision = 1});
  int64_t revision = 1;
  for (const std::string& line : pgdba::split(data.substr(0, 20000), '\n')) {
    ++revision;
    KeyEvent event;
    if (line.starts_with('-')) {
      event = {KeyEvent::Kind::remove, {prefix + line.substr(1), "", 0, revision, 0, 0}};
      store.erase(event.kv.key);
    } else {
      auto equals = line.find('=');
      if (equals == std::string::npos) continue;
      event.kv = {prefix + line.substr(0, equals), line.substr(equals + 1), revision, revision, 1, revision % 3};
      store[event.kv.key] = event.kv;
    }
    apply_event(followed, prefix, event);
  }
  std::vector<KeyValue> kvs;
  for (const auto& [key, kv] : store) kvs.push_back(kv);
  auto read = build_cluster_view(prefix, kvs, {.revision = followed.revision});
  CHECK(read.unreadable == followed.unreadable);
  // Values that cannot be read leave the older one in the view that followed, so only then may the two differ.
  for (const auto& [key, kv] : store) {
    if (read.unreadable.empty() && key == prefix + "leader") CHECK(read.leader == followed.leader);
  }
}
