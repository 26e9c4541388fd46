// Requests to the REST API of members, several at once. The API is Patroni's, so all of it works on real Patroni, too.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/registry.h"
#include "net/http_client.h"
#include "net/loop.h"
#include "net/tls.h"

namespace pgdba::cli {

struct Call {
  std::string url;  // "http://127.0.0.1:8008/patroni"
  std::string method = "GET";
  std::string body = {};  // JSON
};

class Rest {
 public:
  Rest(net::Loop& loop, Credentials credentials, std::shared_ptr<net::TlsContext> tls);

  Task<Result<net::Response>> send(Call call, BootTime deadline);
  // Blocking: one request, or all of them at once; the results are in the order of the calls.
  Result<net::Response> call(const Call& call, Duration patience);
  std::vector<Result<net::Response>> calls(const std::vector<Call>& calls, Duration patience);
  net::Loop& loop() { return loop_; }

 private:
  net::Loop& loop_;
  Credentials credentials_;
  net::HttpClient client_;
};

// What the answer says to a person: the text of {"message": "…"}, else the first line of a plain body, else the status.
std::string message_of(const net::Response& response);

}  // namespace pgdba::cli
