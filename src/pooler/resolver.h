// The addresses of servers' names, remembered: an answer for dns_max_ttl, a failure for dns_nxdomain_ttl.
//
// One for all workers. getaddrinfo runs on helper threads; questions for the same name share one. Invariant: each question
// is answered once, on some thread, never from within resolve() itself unless the answer is remembered. Addresses of a name
// take turns: each answer begins with another one.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "net/helpers.h"

namespace pgdba::pooler {

class Resolver {
 public:
  struct Answer {
    std::vector<std::string> addresses;
    std::string problem;  // why there are none
  };
  using Done = std::function<void(Answer)>;
  using Lookup = std::function<Answer(const std::string& name)>;
  using Clock = std::function<int64_t()>;  // microseconds

  static Answer system_lookup(const std::string& name);
  Resolver(Lookup lookup, Clock clock);
  ~Resolver();

  void set_ttl(std::chrono::microseconds good, std::chrono::microseconds bad);
  // Called, on a helper thread, with the new addresses of a name when the old ones are not all among them.
  void on_change(std::function<void(const std::string& name, const std::vector<std::string>& addresses)> changed);

  void resolve(const std::string& name, Done done);
  void close();  // no Done is called after this has returned

  // For SHOW DNS_HOSTS and what counts names.
  struct Row {
    std::string name;
    int64_t ttl_us = 0;  // left
    std::vector<std::string> addresses;
    bool asking = false;
  };
  [[nodiscard]] std::vector<Row> rows() const;

 private:
  struct Name {
    Answer answer;
    std::vector<std::string> last;  // of the last answer that had addresses
    int64_t until = 0;
    size_t next = 0;
    bool asking = false;
    std::vector<Done> waiting;
  };
  Answer turned(Name& name);
  void answered(const std::string& name, Answer answer);

  const Lookup lookup_;
  const Clock clock_;
  mutable std::mutex mutex_;
  std::chrono::microseconds good_{15'000'000}, bad_{15'000'000};
  std::function<void(const std::string&, const std::vector<std::string>&)> changed_;
  std::map<std::string, Name> names_;
  net::Helpers helpers_;
};

}  // namespace pgdba::pooler
