// Cancel requests: they reach the statement that was meant, or nothing.
//
// A server that is being cancelled is not lent to anybody else before the connection that carries the request has
// ended, and there is one such connection per server at a time. Whoever asked is answered nothing, but its connection
// stays open until all is done: libpq waits for its end.
#include <utility>

#include "pool/client_login.h"
#include "pool/core.h"
#include "wire/pg_build.h"
#include "wire/pg_frame.h"

namespace pgdba::pool {

namespace {

// In the last byte of a key: how many peers may still pass it on.
constexpr uint8_t kHops = 3;

bool over(Moment since, Moment now, Micros limit) {
  return limit.count() > 0 && now - since > limit.count();
}

}  // namespace

// Random, but as PgBouncer's: the first bit is 0, and with peers bytes 1 and 2 are our number and the last two bits are
// set.
uint64_t Core::new_cancel_key() {
  for (;;) {
    std::array<uint8_t, 8> bytes;
    host_.random(bytes);
    bytes[0] &= 0x7f;
    if (settings_.peer_id != 0) {
      bytes[1] = static_cast<uint8_t>(settings_.peer_id & 0xff);
      bytes[2] = static_cast<uint8_t>(settings_.peer_id >> 8);
      bytes[7] |= kHops;
    }
    uint64_t key = 0;
    for (const uint8_t byte : bytes) key = key << 8 | byte;
    if (key != 0 && !keys_.contains(key)) return key;
  }
}

// The first packet of a connection that is nothing else.
void Core::cancel_requested(Client& requester, wire::CancelKey key) {
  requester.login->stage = LoginStage::cancelling;
  requester.request_at = now_;
  if (key.secret.size() != 4) return close_client(requester, {});
  if (settings_.peer_id != 0) {
    const int peer = static_cast<int>((key.pid >> 16 & 0xff) | (key.pid >> 8 & 0xff) << 8);
    const auto last = static_cast<uint8_t>(key.secret[3]);
    if (peer != settings_.peer_id) {
      if ((last & kHops) == 0) {
        host_.log(LogLevel::warning, &requester, "a cancel request has passed through too many peers");
        return close_client(requester, {});
      }
      key.secret[3] = static_cast<char>(last - 1);
      wait_for_cancel(requester);
      host_.cancel_at_peer(requester, peer, key);
      return;
    }
    key.secret[3] = static_cast<char>(last | kHops);
  }
  cancel(key, true, &requester);
}

void Core::cancel(const wire::CancelKey& key, bool ask_others, Client* requester) {
  const auto none = [&] {
    if (requester != nullptr) close_client(*requester, {});
  };
  if (key.secret.size() != 4) return none();
  auto found = keys_.find(static_cast<uint64_t>(key.pid) << 32 | wire::load_u32(key.secret.data()));
  if (found == keys_.end()) {
    if (ask_others && requester != nullptr && host_.cancel_for(*requester, key)) {
      wait_for_cancel(*requester);
      return;
    }
    if (ask_others) host_.cancel_elsewhere(key);
    return none();
  }
  Client& client = *found->second;
  if (client.state == ClientState::waiting || (client.state == ClientState::active && client.queue.is_linked())) {
    cancel_waiting(client);
    return none();
  }
  if (client.server == nullptr || client.server->chore != Chore::none || client.server->requests.empty()) return none();
  cancel_server(*client.server, requester);
}

void Core::wait_for_cancel(Client& requester) {
  requester.queue.unlink();
  cancelers_.push_back(requester);
}

void Core::cancel_server(Server& server, Client* requester) {
  if (requester != nullptr) {
    requester->login->cancels = server.id;
    requester->login->cancel_sent = !server.being_canceled;
    wait_for_cancel(*requester);
  } else if (server.being_canceled) {
    server.cancel_again = true;
  }
  if (server.being_canceled) return;
  server.being_canceled = true;
  host_.send_cancel(server);
}

// Its request has not left: it is dropped, up to the place where PostgreSQL would be ready again.
void Core::cancel_waiting(Client& client) {
  const std::string& held = client.held;
  size_t at = 0;
  bool whole = false;
  wire::MessageHead head;
  while (!whole && wire::read_head(std::string_view(held).substr(at), head) == wire::Scan::complete &&
         head.size() <= held.size() - at) {
    at += head.size();
    whole = head.type == wire::frontend::query || head.type == wire::frontend::sync ||
            head.type == wire::frontend::function_call;
  }
  if (!whole) return;
  client.held.erase(0, at);
  client.queue.unlink();
  publish(*client.pool);
  if (client.server == nullptr) client.state = ClientState::idle;
  send_error(client, "ERROR", "57014", "canceling statement due to user request");
  std::string answer;
  wire::append_ready_for_query(answer, 'I');
  send(client, answer);
  want_input(client, true);
  if (!client.held.empty()) client_input(client, {});
}

void Core::cancel_sent(Server& server) {
  if (server.dead || !server.being_canceled) return;
  server.being_canceled = false;
  bool again = std::exchange(server.cancel_again, false);
  for (auto at = cancelers_.begin(); at != cancelers_.end();) {
    Client& requester = *at;
    ++at;  // closing takes it out of the list
    if (requester.login->cancels != server.id) continue;
    if (requester.login->cancel_sent) {
      close_client(requester, {});
    } else {
      requester.login->cancel_sent = again = true;
    }
  }
  if (server.client != nullptr) {
    if (again && server.chore == Chore::none && !server.requests.empty()) {
      server.being_canceled = true;
      host_.send_cancel(server);
      return;
    }
    if (again) end_cancels(server.id);
    return;
  }
  end_cancels(server.id);
  if (server.state == ServerState::busy && server.chore == Chore::none) let_go(server);
}

// Nothing is left to be cancelled there.
void Core::end_cancels(uint64_t server_id) {
  for (auto at = cancelers_.begin(); at != cancelers_.end();) {
    Client& requester = *at;
    ++at;
    if (requester.login->cancels == server_id) close_client(requester, {});
  }
}

void Core::peer_cancelled(uint64_t requester_id) {
  for (Client& requester : cancelers_) {
    if (requester.id != requester_id) continue;
    close_client(requester, {});
    return;
  }
}

void Core::tick_cancels() {
  for (auto at = cancelers_.begin(); at != cancelers_.end();) {
    Client& requester = *at;
    ++at;
    if (requester.login->cancel_sent || !over(requester.request_at, now_, settings_.cancel_wait_timeout)) continue;
    host_.log(LogLevel::info, &requester, "closing because: cancel_wait_timeout");
    close_client(requester, {});
  }
}

}  // namespace pgdba::pool
