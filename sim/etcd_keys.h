// One cluster's keys in etcd as a store of typed values: model::ClusterView with get, put and delete by key name.
#pragma once

#include <functional>

#include "ha/action.h"
#include "model/cluster.h"

namespace pgdba::sim {

struct KeyMeta {
  model::Revision mod = 0;  // 0: absent
  model::Revision create = 0;
  model::LeaseId lease = 0;
};
KeyMeta meta_of(const model::ClusterView& view, const model::Key& key);

// One change, to be repeated on the copies of the watchers.
using Change = std::function<void(model::ClusterView&)>;
Change make_put(const model::ClusterView& before, const model::Key& key, const ha::Value& value, model::LeaseId lease,
                model::Revision revision);
Change make_config(const model::ClusterView& before, const model::DynamicConfig& config, model::Revision revision);
Change make_pooler(const model::ClusterView& before, const std::string& id, const model::PoolerRecord& record, model::Revision revision,
                   model::LeaseId lease = 0);
Change make_delete(const model::Key& key, model::Revision revision);

std::vector<model::Key> keys_of_lease(const model::ClusterView& view, model::LeaseId lease);
std::string describe(const model::Key& key);
std::string describe(const ha::Value& value);
std::string describe(const model::SyncState& sync);

}  // namespace pgdba::sim
