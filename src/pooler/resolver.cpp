#include "pooler/resolver.h"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <utility>

namespace pgdba::pooler {

namespace {

constexpr int kThreads = 4;
constexpr size_t kMaxNames = 4096;

}  // namespace

Resolver::Answer Resolver::system_lookup(const std::string& name) {
  Answer answer;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (const int code = ::getaddrinfo(name.c_str(), nullptr, &hints, &list); code != 0) {
    answer.problem = ::gai_strerror(code);
    return answer;
  }
  for (const addrinfo* each = list; each != nullptr; each = each->ai_next) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    const void* address = each->ai_family == AF_INET ? static_cast<const void*>(&reinterpret_cast<sockaddr_in*>(each->ai_addr)->sin_addr)
                                                     : static_cast<const void*>(&reinterpret_cast<sockaddr_in6*>(each->ai_addr)->sin6_addr);
    if (::inet_ntop(each->ai_family, address, text.data(), text.size()) != nullptr) answer.addresses.emplace_back(text.data());
  }
  ::freeaddrinfo(list);
  if (answer.addresses.empty()) answer.problem = "it has no address";
  return answer;
}

Resolver::Resolver(Lookup lookup, Clock clock) : lookup_(std::move(lookup)), clock_(std::move(clock)), helpers_(kThreads) {}

Resolver::~Resolver() { close(); }

void Resolver::close() { helpers_.close(); }

void Resolver::set_ttl(std::chrono::microseconds good, std::chrono::microseconds bad) {
  std::lock_guard lock(mutex_);
  good_ = good;
  bad_ = bad;
}

void Resolver::on_change(std::function<void(const std::string&, const std::vector<std::string>&)> changed) {
  std::lock_guard lock(mutex_);
  changed_ = std::move(changed);
}

// The answer with the next address in front.
Resolver::Answer Resolver::turned(Name& name) {
  Answer out = name.answer;
  if (out.addresses.size() > 1) {
    std::ranges::rotate(out.addresses, out.addresses.begin() + static_cast<ptrdiff_t>(name.next++ % out.addresses.size()));
  }
  return out;
}

void Resolver::resolve(const std::string& name, Done done) {
  std::unique_lock lock(mutex_);
  Name& known = names_[name];
  if (known.until > clock_()) {
    Answer answer = turned(known);
    lock.unlock();
    done(std::move(answer));
    return;
  }
  known.waiting.push_back(std::move(done));
  if (std::exchange(known.asking, true)) return;
  lock.unlock();
  auto answer = std::make_shared<Answer>();
  helpers_.submit([answer, name, lookup = lookup_] { *answer = lookup(name); }, [this, answer, name] { answered(name, std::move(*answer)); });
}

void Resolver::answered(const std::string& name, Answer answer) {
  std::unique_lock lock(mutex_);
  Name& known = names_[name];
  bool vanished = false;
  if (!answer.addresses.empty()) {  // a failure says nothing about the servers that were found before
    for (const std::string& old : known.last) vanished = vanished || std::ranges::find(answer.addresses, old) == answer.addresses.end();
    known.last = answer.addresses;
  }
  known.answer = std::move(answer);
  known.asking = false;
  known.until = clock_() + (known.answer.addresses.empty() ? bad_ : good_).count();
  std::vector<Done> waiting = std::exchange(known.waiting, {});
  std::vector<Answer> answers;
  for (size_t i = 0; i < waiting.size(); ++i) answers.push_back(turned(known));
  const auto changed = vanished ? changed_ : nullptr;
  const std::vector<std::string> now = known.answer.addresses;
  if (names_.size() > kMaxNames) std::erase_if(names_, [&](const auto& each) { return !each.second.asking && each.second.until <= clock_(); });
  lock.unlock();
  for (size_t i = 0; i < waiting.size(); ++i) waiting[i](std::move(answers[i]));
  if (changed) changed(name, now);
}

std::vector<Resolver::Row> Resolver::rows() const {
  std::lock_guard lock(mutex_);
  std::vector<Row> out;
  for (const auto& [name, known] : names_) out.push_back({name, std::max<int64_t>(0, known.until - clock_()), known.answer.addresses, known.asking});
  return out;
}

}  // namespace pgdba::pooler
