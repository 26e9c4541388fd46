// Which action runs when: one queue per lane, the order and the dropping that ha/action.h promises to the core.
//
// Lanes knows no PostgreSQL and no etcd: it hands each action to `Hands` at its turn and takes the completion. So the
// rules that matter can be tested with a few lines: one completion per action, a lane runs one action at a time, a
// failure drops what was queued behind it, an immediate stop and CancelJob do not wait behind a clone.
//
// Order of calls: submit() with the actions of one decision; `finished` may be called from inside start() or
// later, once per action (a second call is ignored); take_completed() before the next step of the core.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <vector>

#include "ha/action.h"
#include "ha/view.h"

namespace pgdba::agent {

class Hands {
 public:
  using Finished = std::function<void(ha::Completion)>;
  virtual ~Hands() = default;
  // Begins the action; `finished` is called once it has ended. Must not block.
  virtual void start(const ha::Action& action, Finished finished) = 0;
  // Memory lane: carried out before it returns.
  virtual void at_once(const ha::Action& action) = 0;
  // The running action should end soon; it still calls `finished`.
  virtual void cancel(ha::ActionId id) = 0;
  // An immediate stop was ordered: PostgreSQL must be dying before this returns, whatever the lane is still busy with (a
  // file that a slow disk does not take). The action itself follows at its turn and waits for the end.
  virtual void stop_at_once() = 0;
};

class Lanes {
 public:
  // `changed` is called after each completion, so that the core is asked again.
  Lanes(Hands& hands, std::function<void()> changed);
  Lanes(const Lanes&) = delete;
  Lanes& operator=(const Lanes&) = delete;

  void submit(std::vector<ha::Action> actions);
  [[nodiscard]] std::vector<ha::Completion> take_completed();
  [[nodiscard]] const ha::Action* running(ha::Lane lane) const;  // nullptr: idle; not for the probe lane
  [[nodiscard]] bool idle() const;                               // nothing runs and nothing waits, probes included

 private:
  struct Queue {
    std::deque<ha::Action> waiting;
    std::optional<ha::Action> running;
    bool preempted = false;  // the running one was cancelled to make room: its failure drops nothing
  };
  Queue& queue(ha::Lane lane) { return queues_[static_cast<size_t>(lane)]; }
  void preempt_local(const char* why);
  void drop_waiting(Queue& lane, std::string_view why);
  void start_next(ha::Lane lane);
  void finished(ha::Lane lane, ha::Completion completion);
  void complete(ha::Completion completion);

  Hands& hands_;
  std::function<void()> changed_;
  std::array<Queue, 5> queues_;
  std::vector<ha::ActionId> probes_;  // under way
  std::vector<ha::Completion> completed_;
};

// A clone, rewind or initdb: a child process that may run for hours.
bool is_job(const ha::Body& body);
// May be broken off by an immediate stop: jobs, and whatever waits for PostgreSQL.
bool is_preemptable(const ha::Body& body);

}  // namespace pgdba::agent
