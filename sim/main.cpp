// pgdba-sim: runs seeds, prints what they violate, replays and minimises one.
#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>

#include "base/text.h"
#include "world.h"

namespace {

using pgdba::sim::Options;
using pgdba::sim::Verdict;
using pgdba::sim::World;

constexpr const char* kUsage =
    "usage: pgdba-sim [options]\n"
    "  --seeds N       run N seeds (default 1000)\n"
    "  --first S       beginning with seed S (default 1)\n"
    "  --seed S        replay one seed with its trace\n"
    "  --jobs J        threads (default: one per processor)\n"
    "  --mutate RULE   switch one rule of ha/rules.h or pool/rules.h off\n"
    "  --focus RULE    the directed schedule for RULE (of ha/rules.h, or \"pool\")\n"
    "  --minimise      with --seed: leave out the faults that the violation does not need\n"
    "  --safety-only   judge A and B only, not C and D\n"
    "  --poolers       most seeds also have clients that go through real poolers (src/pool)\n"
    "  --stop          at the first violation\n"
    "  --list-rules    names and meanings\n";

struct Arguments {
  uint64_t first = 1;
  uint64_t seeds = 1000;
  std::optional<uint64_t> seed;
  unsigned jobs = 0;
  bool minimise = false;
  bool stop = false;
  Options options;
};

int list_rules() {
  for (const pgdba::ha::RuleName& rule : pgdba::ha::rule_names()) fmt::print("{:4} {}\n", rule.name, rule.what);
  for (const pgdba::pool::RuleName& rule : pgdba::pool::rule_names()) fmt::print("{}: of the pooler\n", rule.name);
  return 0;
}

bool parse(int argc, char** argv, Arguments& arguments) {
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    auto number = [&]() -> std::optional<uint64_t> {
      if (i + 1 >= argc) return std::nullopt;
      auto value = pgdba::parse_int(argv[++i]);
      if (!value || *value < 0) return std::nullopt;
      return static_cast<uint64_t>(*value);
    };
    if (word == "--minimise") {
      arguments.minimise = true;
    } else if (word == "--safety-only") {
      arguments.options.liveness = false;
    } else if (word == "--poolers") {
      arguments.options.poolers = true;
    } else if (word == "--stop") {
      arguments.stop = true;
    } else if ((word == "--mutate" || word == "--focus") && i + 1 < argc) {
      std::string rule = argv[++i];
      auto flag = pgdba::ha::find_rule(rule);
      if (auto pool = pgdba::pool::find_rule(rule); pool && word == "--mutate") {
        arguments.options.pool_rules.*(*pool) = false;
        continue;
      }
      if (rule == pgdba::sim::kPoolFocus && word == "--focus") {
        arguments.options.focus = rule;
        continue;
      }
      if (!flag) {
        fmt::print(stderr, "no rule is called {}; --list-rules names them\n", rule);
        return false;
      }
      if (word == "--mutate") {
        arguments.options.rules.*(*flag) = false;
      } else {
        arguments.options.focus = rule;
      }
    } else if (word == "--seeds" || word == "--first" || word == "--seed" || word == "--jobs") {
      auto value = number();
      if (!value) return false;
      if (word == "--seeds") arguments.seeds = *value;
      if (word == "--first") arguments.first = *value;
      if (word == "--seed") arguments.seed = *value;
      if (word == "--jobs") arguments.jobs = static_cast<unsigned>(*value);
    } else {
      return false;
    }
  }
  return true;
}

Verdict run_one(uint64_t seed, const Options& options, std::vector<std::string>* trace = nullptr) {
  World world(seed, options);
  Verdict verdict = world.run();
  if (trace != nullptr) *trace = std::move(world.trace);
  return verdict;
}

std::set<size_t> minimise(uint64_t seed, Options options, const Verdict& first) {
  size_t faults = pgdba::sim::draw_plan(seed, options.focus, options.poolers).faults.size();
  for (size_t chunk = faults; chunk >= 1; chunk /= 2) {
    for (size_t begin = 0; begin < faults; begin += chunk) {
      Options fewer = options;
      for (size_t i = begin; i < std::min(begin + chunk, faults); ++i) fewer.without.insert(i);
      if (fewer.without == options.without) continue;
      Verdict verdict = run_one(seed, fewer);
      if (verdict.violation && verdict.violation->promise == first.violation->promise) options.without = fewer.without;
    }
  }
  return options.without;
}

int replay(const Arguments& arguments) {
  Options options = arguments.options;
  uint64_t seed = *arguments.seed;
  if (arguments.minimise) {
    Verdict verdict = run_one(seed, options);
    if (verdict.violation) options.without = minimise(seed, options, verdict);
  }
  options.trace = true;
  std::vector<std::string> trace;
  Verdict verdict = run_one(seed, options, &trace);
  for (const std::string& line : trace) fmt::print("{}\n", line);
  if (!verdict.violation) {
    fmt::print("seed {}: clean; {} writes acknowledged, {} primaries, settled {} ms after the last fault, {} steps, {} events\n", seed,
               verdict.acknowledged, verdict.primaries, pgdba::to_ms(verdict.settled_after), verdict.steps, verdict.events);
    return 0;
  }
  fmt::print("seed {}: violation of {} with {} faults: {}\n", seed, verdict.violation->promise, verdict.faults, verdict.violation->text);
  return 1;
}

int run_many(const Arguments& arguments) {
  unsigned jobs = arguments.jobs != 0 ? arguments.jobs : std::max(1u, std::thread::hardware_concurrency());
  std::atomic<uint64_t> next{arguments.first};
  std::atomic<uint64_t> violations{0}, waits{0}, acknowledged{0}, primaries{0}, done{0}, steps{0}, events{0};
  std::atomic<uint64_t> pooled_ok{0}, pooled_failed{0}, pooled_unknown{0}, pooled_reads{0};
  std::mutex printing;
  uint64_t end = arguments.first + arguments.seeds;
  auto begun = std::chrono::steady_clock::now();
  auto work = [&] {
    while (true) {
      uint64_t seed = next++;
      if (seed >= end || (arguments.stop && violations > 0)) return;
      Verdict verdict = run_one(seed, arguments.options);
      ++done;
      acknowledged += verdict.acknowledged;
      primaries += static_cast<uint64_t>(verdict.primaries);
      steps += verdict.steps;
      events += verdict.events;
      if (verdict.waits) ++waits;
      pooled_ok += verdict.pooled.ok;
      pooled_failed += verdict.pooled.failed;
      pooled_unknown += verdict.pooled.unknown;
      pooled_reads += verdict.pooled.reads;
      if (!verdict.violation) continue;
      ++violations;
      std::lock_guard lock(printing);
      fmt::print("seed {}: {} at {:.3f} s: {}\n", seed, verdict.violation->promise,
                 std::chrono::duration<double>(verdict.violation->at).count(), verdict.violation->text);
      std::fflush(stdout);
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < jobs; ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  fmt::print("{} seeds in {:.1f} s ({:.1f} per second): {} violations; {} wait for a person; {} writes acknowledged, {} changes of primary, {} steps, {} events\n",
             done.load(), seconds, static_cast<double>(done) / seconds, violations.load(), waits.load(), acknowledged.load(), primaries.load(), steps.load(),
             events.load());
  fmt::print("through real poolers: {} transactions ok, {} failed, {} indeterminate; {} reads\n", pooled_ok.load(), pooled_failed.load(),
             pooled_unknown.load(), pooled_reads.load());
  return violations > 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--list-rules") return list_rules();
  Arguments arguments;
  arguments.options.poolers = false;
  arguments.options.make_core = pgdba::sim::real_core();
  if (!parse(argc, argv, arguments)) {
    fmt::print(stderr, "{}", kUsage);
    return 2;
  }
  return arguments.seed ? replay(arguments) : run_many(arguments);
}
