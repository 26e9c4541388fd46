// The REST API: Patroni's routes, codes and texts (patroni.md section 2) on top of the pure functions of wire/.
//
// Invariant: nothing here runs a query or waits for PostgreSQL; what a GET answers is in memory. Waiting (a switchover's
// effect, a restart) holds one connection of the server and nothing else.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "agent/rest/node.h"
#include "net/http.h"
#include "net/http_server.h"
#include "net/loop.h"

namespace pgdba::agent::rest {

class Api {
 public:
  Api(net::Loop& loop, Node& node) : loop_(loop), node_(node) {}
  Api(const Api&) = delete;
  Api& operator=(const Api&) = delete;

  // The handler of net::HttpServer. The request outlives the task.
  Task<net::Response> answer(const net::Request& request, const net::PeerAddress& peer);
  // Who may not write is told so before the body is read.
  std::optional<net::Response> refuse_early(const net::Request& head, const net::PeerAddress& peer) const;

 private:
  struct Call {
    const net::Request& request;
    wire::RestTarget target;
    bool json = false;  // the client sent JSON: it gets {"message": …} in place of plain text
    std::optional<std::string_view> body;
  };

  net::Response read(const Call& call, wire::Route route) const;
  net::Response health(const Call& call) const;
  net::Response metrics() const;
  Task<wire::RestAnswer> change(const Call& call, wire::Route route, std::string& json_body);

  // config_routes.cpp; a filled `json_body` is sent in place of the text.
  Task<wire::RestAnswer> patch_config(const Call& call, std::string& json_body);
  Task<wire::RestAnswer> put_config(const Call& call, std::string& json_body);
  // switchover_routes.cpp
  Task<wire::RestAnswer> switchover(const Call& call, bool is_switchover);
  Task<wire::RestAnswer> delete_switchover();
  // operate_routes.cpp
  Task<wire::RestAnswer> restart(const Call& call);
  wire::RestAnswer delete_restart();
  Task<wire::RestAnswer> reinitialize(const Call& call);
  wire::RestAnswer failsafe(const Call& call) const;

  net::Loop& loop_;
  Node& node_;
};

net::Response json_response(std::string body, int status = 200);
net::Response render(const wire::RestAnswer& answer, bool json);

}  // namespace pgdba::agent::rest
