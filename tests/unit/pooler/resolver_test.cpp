#include "pooler/resolver.h"

#include <atomic>
#include <condition_variable>
#include <gtest/gtest.h>

using namespace pgdba::pooler;
using namespace std::chrono_literals;

namespace {

// Names whose answers the test sets, and a clock that it moves.
struct Names {
  std::mutex mutex;
  Resolver::Answer answer;
  int asked = 0;
  std::atomic<int64_t> now = 1'000'000;
  std::vector<std::string> changes;
  Resolver resolver{[this](const std::string&) {
                      std::lock_guard lock(mutex);
                      ++asked;
                      return answer;
                    },
                    [this] { return now.load(); }};

  Names() {
    resolver.set_ttl(10s, 2s);
    resolver.on_change([this](const std::string& name, const std::vector<std::string>&) {
      std::lock_guard lock(mutex);
      changes.push_back(name);
    });
  }
  ~Names() { resolver.close(); }
  void say(std::vector<std::string> addresses, std::string problem = "") {
    std::lock_guard lock(mutex);
    answer = {std::move(addresses), std::move(problem)};
  }
  Resolver::Answer ask() {
    auto wait = std::make_shared<std::pair<std::mutex, std::condition_variable>>();
    std::optional<Resolver::Answer> got;
    resolver.resolve("h", [&, wait](Resolver::Answer given) {
      std::lock_guard lock(wait->first);
      got = std::move(given);
      wait->second.notify_one();
    });
    std::unique_lock lock(wait->first);
    EXPECT_TRUE(wait->second.wait_for(lock, 10s, [&] { return got.has_value(); }));
    return got.value_or(Resolver::Answer{});
  }
  size_t changed() {
    std::lock_guard lock(mutex);
    return changes.size();
  }
};

TEST(Resolver, RemembersAnAnswerForItsTime) {
  Names names;
  names.say({"1.1.1.1"});
  EXPECT_EQ(names.ask().addresses, std::vector<std::string>{"1.1.1.1"});
  names.say({"2.2.2.2"});
  names.now += 9'000'000;
  EXPECT_EQ(names.ask().addresses, std::vector<std::string>{"1.1.1.1"});
  EXPECT_EQ(names.asked, 1);
  names.now += 2'000'000;
  EXPECT_EQ(names.ask().addresses, std::vector<std::string>{"2.2.2.2"});
  EXPECT_EQ(names.asked, 2);
}

TEST(Resolver, RemembersAFailureForItsOwnTime) {
  Names names;
  names.say({}, "no such name");
  EXPECT_EQ(names.ask().problem, "no such name");
  names.say({"1.1.1.1"});
  names.now += 1'000'000;
  EXPECT_EQ(names.ask().problem, "no such name");
  names.now += 2'000'000;
  EXPECT_EQ(names.ask().addresses.size(), 1u);
}

TEST(Resolver, AddressesTakeTurns) {
  Names names;
  names.say({"1.1.1.1", "2.2.2.2", "3.3.3.3"});
  std::vector<std::string> first;
  for (int i = 0; i < 4; ++i) first.push_back(names.ask().addresses.front());
  EXPECT_EQ(first, (std::vector<std::string>{"1.1.1.1", "2.2.2.2", "3.3.3.3", "1.1.1.1"}));
}

TEST(Resolver, SaysWhenAnAddressHasVanished) {
  Names names;
  names.say({"1.1.1.1"});
  names.ask();
  names.now += 11'000'000;
  names.say({"1.1.1.1", "2.2.2.2"});
  names.ask();
  names.now += 11'000'000;
  names.say({}, "away");  // says nothing about the servers
  names.ask();
  names.now += 11'000'000;
  names.say({"2.2.2.2"});
  names.ask();
  names.resolver.close();  // what is under way is done
  EXPECT_EQ(names.changed(), 1u);
}

TEST(Resolver, OneQuestionForManyAtOnce) {
  std::mutex gate;
  std::condition_variable all;
  int asked = 0, answered = 0;
  bool open = false;
  Resolver resolver(
      [&](const std::string&) {
        std::unique_lock lock(gate);
        ++asked;
        all.wait(lock, [&] { return open; });
        return Resolver::Answer{{"1.1.1.1"}, ""};
      },
      [] { return int64_t{1}; });
  const auto count = [&](const Resolver::Answer&) {
    std::lock_guard lock(gate);
    ++answered;
    all.notify_all();
  };
  for (int i = 0; i < 5; ++i) resolver.resolve("h", count);
  std::unique_lock lock(gate);
  open = true;
  all.notify_all();
  EXPECT_TRUE(all.wait_for(lock, std::chrono::seconds(10), [&] { return answered == 5; }));
  EXPECT_EQ(asked, 1);
}

}  // namespace
