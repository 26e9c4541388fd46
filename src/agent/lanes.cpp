#include "agent/lanes.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace pgdba::agent {

namespace {

using Outcome = ha::Completion::Outcome;

template <class... Kinds>
bool is_any(const ha::Body& body) {
  return (std::holds_alternative<Kinds>(body) || ...);
}

bool is_immediate_stop(const ha::Body& body) {
  const auto* stop = std::get_if<ha::StopPg>(&body);
  return stop != nullptr && stop->mode == ha::StopPg::Mode::immediate;
}

ha::Completion ended(ha::ActionId id, Outcome outcome, std::string_view text) {
  ha::Completion completion;
  completion.id = id;
  completion.outcome = outcome;
  completion.text = text;
  return completion;
}

}  // namespace

bool is_job(const ha::Body& body) { return is_any<ha::Clone, ha::Rewind, ha::InitDb>(body); }

bool is_preemptable(const ha::Body& body) {
  if (const auto* stop = std::get_if<ha::StopPg>(&body)) return stop->mode == ha::StopPg::Mode::fast;
  // What is left writes files only: it is quick, and half of it would be worse than all.
  return is_job(body) || is_any<ha::ApplyConfig, ha::StartPg, ha::Promote, ha::MeasureWal, ha::CreateUsers,
                                ha::EnsurePoolerAuth, ha::ProbeSync, ha::WriteWal, ha::EndWalsender, ha::SyncSlots>(body);
}

Lanes::Lanes(Hands& hands, std::function<void()> changed) : hands_(hands), changed_(std::move(changed)) {}

void Lanes::submit(std::vector<ha::Action> actions) {
  // Only what was given out before this decision is broken off; what this decision itself puts before its stop (a
  // freeze record, a configuration) was meant to happen first.
  if (std::any_of(actions.begin(), actions.end(), [](const ha::Action& a) { return is_immediate_stop(a.body); })) {
    hands_.stop_at_once();
    preempt_local("an immediate stop was ordered");
  }
  for (ha::Action& action : actions) {
    const ha::Lane lane = lane_of(action.body);
    switch (lane) {
      case ha::Lane::memory: {
        if (std::holds_alternative<ha::CancelJob>(action.body)) {
          Queue& local = queue(ha::Lane::local);
          const bool job = (local.running && is_job(local.running->body)) ||
                           std::any_of(local.waiting.begin(), local.waiting.end(), [](const ha::Action& a) { return is_job(a.body); });
          if (job) preempt_local("the job was cancelled");
        }
        hands_.at_once(action);
        complete(ended(action.id, Outcome::done, ""));
        break;
      }
      case ha::Lane::probe: {
        probes_.push_back(action.id);
        const ha::ActionId id = action.id;
        hands_.start(action, [this, id](ha::Completion completion) {
          auto found = std::find(probes_.begin(), probes_.end(), id);
          if (found == probes_.end()) return;
          probes_.erase(found);
          completion.id = id;
          complete(std::move(completion));
        });
        break;
      }
      case ha::Lane::lease:
      case ha::Lane::dcs:
      case ha::Lane::local:
        queue(lane).waiting.push_back(std::move(action));
        start_next(lane);
        break;
    }
  }
}

void Lanes::preempt_local(const char* why) {
  Queue& local = queue(ha::Lane::local);
  drop_waiting(local, why);
  if (local.running && !local.preempted && is_preemptable(local.running->body)) {
    local.preempted = true;
    hands_.cancel(local.running->id);
  }
}

void Lanes::drop_waiting(Queue& lane, std::string_view why) {
  std::deque<ha::Action> waiting = std::move(lane.waiting);
  lane.waiting.clear();
  for (const ha::Action& action : waiting) complete(ended(action.id, Outcome::dropped, why));
}

void Lanes::start_next(ha::Lane lane) {
  Queue& line = queue(lane);
  // A loop, not recursion: an action may end inside start().
  while (!line.running && !line.waiting.empty()) {
    line.running = std::move(line.waiting.front());
    line.waiting.pop_front();
    line.preempted = false;
    const ha::Action action = *line.running;
    hands_.start(action, [this, lane, id = action.id](ha::Completion completion) {
      Queue& own = queue(lane);
      if (!own.running || own.running->id != id) return;
      completion.id = id;
      finished(lane, std::move(completion));
    });
  }
}

void Lanes::finished(ha::Lane lane, ha::Completion completion) {
  Queue& line = queue(lane);
  const bool broke = completion.outcome == Outcome::failed || completion.outcome == Outcome::unknown;
  if (broke && !line.preempted) {
    drop_waiting(line, fmt::format("{} before it {}", name_of(line.running->body), completion.outcome == Outcome::failed ? "failed" : "got no answer"));
  }
  line.running.reset();
  line.preempted = false;
  complete(std::move(completion));
  start_next(lane);
}

void Lanes::complete(ha::Completion completion) {
  completed_.push_back(std::move(completion));
  changed_();
}

std::vector<ha::Completion> Lanes::take_completed() { return std::exchange(completed_, {}); }

const ha::Action* Lanes::running(ha::Lane lane) const {
  const Queue& line = queues_[static_cast<size_t>(lane)];
  return line.running ? &*line.running : nullptr;
}

bool Lanes::idle() const {
  return probes_.empty() && std::all_of(queues_.begin(), queues_.end(), [](const Queue& q) { return !q.running && q.waiting.empty(); });
}

}  // namespace pgdba::agent
