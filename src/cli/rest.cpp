#include "cli/rest.h"

#include <fmt/format.h>

#include "base/text.h"
#include "wire/json_value.h"

namespace pgdba::cli {

Rest::Rest(net::Loop& loop, Credentials credentials, std::shared_ptr<net::TlsContext> tls)
    : loop_(loop), credentials_(std::move(credentials)), client_(loop, std::move(tls)) {}

Task<Result<net::Response>> Rest::send(Call call, BootTime deadline) {
  auto url = net::parse_url(call.url);
  if (!url) co_return tl::unexpected(url.error());
  net::Request request;
  request.method = call.method;
  request.body = std::move(call.body);
  // Reading needs no password, and addresses to read from are guessed or come from others.
  if (!credentials_.user.empty() && call.method != "GET")
    request.headers.emplace_back("Authorization", net::basic_auth(credentials_.user, credentials_.password));
  if (!request.body.empty() || call.method != "GET") request.headers.emplace_back("Content-Type", "application/json");
  co_return co_await client_.request(std::move(*url), std::move(request), deadline);
}

Result<net::Response> Rest::call(const Call& call, Duration patience) {
  BootTime deadline = loop_.after(patience);
  return net::run_blocking(loop_, send(call, deadline), deadline + 100ms);
}

namespace {

Task<Result<std::vector<Result<net::Response>>>> gather(net::Loop& loop,
                                                        std::vector<Task<Result<net::Response>>> tasks) {
  co_return co_await net::all(loop, std::move(tasks));
}

}  // namespace

std::vector<Result<net::Response>> Rest::calls(const std::vector<Call>& calls, Duration patience) {
  BootTime deadline = loop_.after(patience);
  std::vector<Task<Result<net::Response>>> tasks;
  for (const Call& call : calls) tasks.push_back(send(call, deadline));
  auto answers = net::run_blocking(loop_, gather(loop_, std::move(tasks)), deadline + 200ms);
  if (answers) return std::move(*answers);
  return {calls.size(), Result<net::Response>(fail(Errc::timeout, "no answer in time"))};
}

std::string message_of(const net::Response& response) {
  auto json = wire::parse_json_value(response.body);
  if (json) {
    std::string message = json->text("message");
    if (!message.empty()) return message;
  }
  std::string line(trim(response.body.substr(0, response.body.find('\n'))));
  if (line.empty() || line.front() == '<' || line.front() == '{')
    return fmt::format("{} {}", response.status, net::default_reason(response.status));
  return line.substr(0, 300);
}

}  // namespace pgdba::cli
