// The rules of tags (patroni.md 6.9): from name and JSON text, as patroni.yml or a member key gives them, to the
// fields that mean something to the cluster, and back to what is published.
//
// Invariant: make_tags(published_tags(t)) == t for every t that make_tags gave.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/cluster.h"

namespace pgdba::model {

using TagEntries = std::vector<std::pair<std::string, std::string>>;  // name and JSON text

// The boolean wins over the priority: nofailover false with failover_priority 0 may lead. A quoted "false" or "no" is
// taken for what it says.
Tags make_tags(const TagEntries& entries);

// Sorted by name. Of the booleans false ones are left out, nofailover and nosync only without the matching priority.
TagEntries published_tags(const Tags& tags);

}  // namespace pgdba::model
