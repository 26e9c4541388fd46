// The HA decision core of one member: views in, ordered actions with reasons out.
//
// Promises (ha.md section 1): at most one member may acknowledge writes that the newest primary lacks, and no
// acknowledged write is lost in quorum mode. Whatever is unsure means "do not write".
//
// Use: build one Core at the start of the agent. On every event (etcd changed, PostgreSQL observed, an action
// completed, a request, the time wake_at) take a View and call step(); carry out the actions, lane by lane; report each
// in View::completed of a later step, exactly once. Nothing here reads a clock, a socket or a disk: two cores
// fed with the same views decide the same.
#pragma once

#include <memory>

#include "ha/action.h"
#include "ha/rules.h"
#include "ha/settings.h"
#include "ha/view.h"

namespace pgdba::ha {

class Core {
 public:
  explicit Core(Self self, Rules rules = {});
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  Decision step(const View& view);
  // The settings were read again: tags, addresses, what may be done with a diverged data directory. Name and run_id stay.
  void set_self(Self self);

  // What the agent shows in REST; valid after the first step.
  struct Standing {
    bool leader = false;            // the lock is proved and its deadline lies ahead
    std::optional<BootTime> deadline;
    model::Term term = 0;
    bool frozen = false;
    model::Role role = model::Role::uninitialized;
  };
  [[nodiscard]] Standing standing(BootTime now) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pgdba::ha
