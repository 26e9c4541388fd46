// From the keys of one range reading, and the events of a watch after it, to model::ClusterView.
//
// Invariant: the view after build_cluster_view(range at R) and apply_event for every event up to revision S equals
// build_cluster_view(range at S), apart from values that could not be read: such a value leaves the field as it was
// (absent after a build) and is listed in `view.unreadable` with its revision. Whoever acts on an absent field of
// importance (sync, config, a promise) must look there first: absent and unreadable are not the same.
//
// Order of calls: build once, then every event in the order in which etcd sent them. The events of one transaction
// share a revision; decide only after all events of one watch answer have been applied.
#pragma once

#include <string_view>
#include <vector>

#include "base/time.h"
#include "model/cluster.h"
#include "wire/key_value.h"

namespace pgdba::wire {

// What etcd said about itself in the header of the answer.
struct ReadHeader {
  int64_t revision = 0;
  uint64_t cluster_id = 0;
  uint64_t raft_term = 0;
  BootTime as_of{};  // when the reading was sent
};

// Keys outside `prefix` and unknown keys are ignored.
model::ClusterView build_cluster_view(std::string_view prefix, const std::vector<KeyValue>& kvs,
                                      const ReadHeader& header);

// Updates the view and its revision. False when nothing in it changed: the key is none of ours, or the event is older
// than the view (a watch that starts at the view's own revision repeats that one; repeating it is harmless).
// `as_of` is left alone: only the caller knows when the watch was last proved to be current.
bool apply_event(model::ClusterView& view, std::string_view prefix, const KeyEvent& event);

}  // namespace pgdba::wire
