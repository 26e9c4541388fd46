// resolve(): getaddrinfo on a helper thread, with a memory. One question per name at a time, so that a silent name
// server cannot use up the helper threads.
#include <netdb.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/ip/address.hpp>
#include <map>

#include "net/asio_util.h"
#include "net/names.h"
#include "net/port.h"

namespace pgdba::net {
namespace {

using Addresses = std::vector<std::string>;

Result<Addresses> ask(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* list = nullptr;
  int error = getaddrinfo(host.c_str(), nullptr, &hints, &list);
  if (error != 0) {
    return fail(error == EAI_NONAME ? Errc::not_found : Errc::unavailable,
                fmt::format("resolving \"{}\": {}", host, gai_strerror(error)));
  }
  Addresses out;
  for (addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    std::array<char, NI_MAXHOST> text;
    if (getnameinfo(entry->ai_addr, entry->ai_addrlen, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) == 0) {
      out.emplace_back(text.data());
    }
  }
  freeaddrinfo(list);
  if (out.empty()) return fail(Errc::not_found, fmt::format("resolving \"{}\": no address", host));
  return out;
}

Task<void> ask_and_remember(Loop& loop, std::string host, std::shared_ptr<Names::Entry> entry) {
  std::function<Result<Addresses>()> question = [host] { return ask(host); };
  auto answer = co_await loop.offload(std::move(question));
  entry->asking = false;
  entry->failure.reset();
  if (answer) {
    entry->addresses = std::move(*answer);
  } else {
    entry->failure = answer.error();
  }
  entry->answered.notify();
}

}  // namespace

Task<Result<std::vector<std::string>>> resolve(Loop& loop, std::string host, BootTime deadline) {
  error_code ec;
  asio::ip::make_address(host, ec);
  if (!ec) co_return std::vector<std::string>{host};
  std::shared_ptr<Names::Entry>& slot = loop.names().entries[host];
  if (!slot) slot = std::make_shared<Names::Entry>(loop);
  std::shared_ptr<Names::Entry> entry = slot;
  if (!entry->asking) {
    entry->asking = true;
    loop.spawn(ask_and_remember(loop, host, entry), "resolve");
  }
  // What we knew before is better than a late answer.
  BootTime patience = entry->addresses.empty() ? deadline : boot_now() + (deadline - boot_now()) / 2;
  while (entry->asking) {
    if (!co_await entry->answered.wait_until(patience)) break;
  }
  if (!entry->asking && entry->failure && entry->failure->code == Errc::not_found) {
    co_return tl::unexpected(*entry->failure);
  }
  if (!entry->addresses.empty()) co_return entry->addresses;
  if (!entry->asking && entry->failure) co_return tl::unexpected(*entry->failure);
  co_return fail(Errc::unavailable, fmt::format("resolving \"{}\" takes too long", host));
}

}  // namespace pgdba::net
