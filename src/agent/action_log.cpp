#include "agent/action_log.h"

#include <fmt/format.h>

#include <algorithm>

#include "net/log.h"

namespace pgdba::agent {

namespace {

constexpr std::string_view kLog = "ha";
constexpr Duration kSayAgain = 60s;
constexpr size_t kMostRemembered = 256;

bool only_bookkeeping(const ha::Txn& txn) {
  using model::KeyKind;
  return txn.deletes.empty() && std::all_of(txn.puts.begin(), txn.puts.end(), [](const ha::Write& write) {
           return write.key.kind == KeyKind::member || write.key.kind == KeyKind::status || write.key.kind == KeyKind::beat;
         });
}

}  // namespace

bool is_routine(const ha::Action& action) {
  const ha::Body& body = action.body;
  if (const auto* txn = std::get_if<ha::Txn>(&body)) return only_bookkeeping(*txn);
  return std::holds_alternative<ha::KeepAlive>(body) || std::holds_alternative<ha::ProveLock>(body) || std::holds_alternative<ha::SetDeadline>(body) ||
         std::holds_alternative<ha::ProbePeer>(body) || std::holds_alternative<ha::FetchHistory>(body) || std::holds_alternative<ha::ReadCluster>(body) ||
         std::holds_alternative<ha::WriteWal>(body) || std::holds_alternative<ha::SyncSlots>(body);
}

bool ActionLog::worth_saying(const std::string& line, BootTime now, int& again) {
  if (told_.size() >= kMostRemembered) std::erase_if(told_, [&](const auto& entry) { return now > entry.second.at + kSayAgain; });
  if (told_.size() >= 2 * kMostRemembered) told_.clear();
  auto [entry, fresh] = told_.try_emplace(line);
  if (!fresh && now < entry->second.at + kSayAgain) {
    ++entry->second.again;
    return false;
  }
  again = entry->second.again;
  entry->second = {now, 0};
  return true;
}

void ActionLog::decided(const ha::Decision& decision, BootTime now) {
  if (!decision.state.empty() && decision.state != state_) {
    state_ = decision.state;
    log::info(kLog, "{}", state_);
  }
  for (const ha::Action& action : decision.actions) {
    const std::string line = describe(action);
    names_[action.id] = line;
    if (is_routine(action)) {
      log::debug(kLog, "{} id={}", line, action.id);
      continue;
    }
    int again = 0;
    if (!worth_saying(line, now, again)) {
      log::debug(kLog, "{} id={}", line, action.id);
    } else if (again > 0) {
      log::info(kLog, "{} id={} repeated={}", line, action.id, again);
    } else {
      log::info(kLog, "{} id={}", line, action.id);
    }
  }
}

void ActionLog::ended(const ha::Completion& completion, BootTime now) {
  using Outcome = ha::Completion::Outcome;
  auto name = names_.extract(completion.id);
  const std::string what = name.empty() ? "action" : name.mapped();
  const auto took = to_ms(completion.answered_at - completion.sent_at);
  switch (completion.outcome) {
    case Outcome::done:
      log::debug(kLog, "done id={} took_ms={} succeeded={} revision={}", completion.id, took, completion.succeeded, completion.revision);
      return;
    case Outcome::dropped:
      log::debug(kLog, "dropped id={}: {}", completion.id, completion.text);
      return;
    case Outcome::failed:
    case Outcome::unknown: break;
  }
  const std::string line = fmt::format("{}: {}: {}", completion.outcome == Outcome::failed ? "failed" : "no answer", what, completion.text);
  int again = 0;
  if (!worth_saying(line, now, again)) {
    log::debug(kLog, "{} id={}", line, completion.id);
  } else if (again > 0) {
    log::warning(kLog, "{} id={} took_ms={} repeated={}", line, completion.id, took, again);
  } else {
    log::warning(kLog, "{} id={} took_ms={}", line, completion.id, took);
  }
}

}  // namespace pgdba::agent
