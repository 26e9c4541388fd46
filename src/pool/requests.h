// What a server still owes its client, in order: the accounting that decides when a server may be lent to somebody else.
//
// Exists apart because everything else in pool/ may be a little wrong and be noticed; a mistake here gives one client's
// answer to another one. Invariant: an entry for each request that the server will answer, in the order in which it
// will; a server is free only when no entry is left, no COPY runs and its last ReadyForQuery said "idle".
//
// Rules of the protocol that are kept here (PostgreSQL's "Message Flow"):
//   * after an ErrorResponse in the extended protocol the server reads on without answering until Sync;
//   * a Sync that reaches the server while it reads COPY data is skipped, and so is one that was sent before the server
//     said that it wants COPY data, unless the COPY's end had been sent before it; when such a COPY fails, nobody can tell
//     from here whether the server had skipped it or was still to answer it: then there may be one answer too many;
//   * what the extended protocol has done is committed only by a Sync: without one the server is not free, owing or not;
//   * an answer that we asked for ourselves is hidden from the client, and one that the server was never asked for is made
//     up at the place in the order where the client expects it.
//
// Order of calls: push() as each request is sent (or not sent, when it is made up); due_fake() after every push and every
// answer, until it gives nothing; answer(), error(), ready(), copy_in() as the server's messages come.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pool/statements.h"

namespace pgdba::pool {

enum class Request : uint8_t {
  query, function_call, sync, parse, bind, describe, execute, close,
  copy_end,  // a CopyDone or CopyFail sent before the server asked for data; nothing answers it
};

enum class Show : uint8_t {
  forward,    // the client gets the answer
  hide,       // our own request: the client must not see the answer
  fake,       // never sent to the server: the client gets an answer that we make up
  duplicate,  // a Parse that has to fail with "already exists", under the client's own name for it
};

// What a Parse or Close changed when it was sent, so that an error before it can undo it.
struct Undo {
  Request request = Request::parse;
  Show show = Show::forward;
  std::string client_name;  // empty: the client's names were not touched
  StatementRef statement;
};

class Requests {
 public:
  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] size_t size() const { return count_; }
  // The server is reading on to the next Sync: what the client sends until then will not be answered.
  [[nodiscard]] bool skipping() const { return skipping_; }
  // Nothing is owed, and nothing that was sent waits for a Sync: another client may follow.
  [[nodiscard]] bool clean() const { return count_ == 0 && !skipping_ && !unsynced_ && surplus_ == 0; }
  // How many ReadyForQuery are due is known exactly.
  [[nodiscard]] bool certain() const { return surplus_ == 0; }
  // A Parse or Close of a known statement is under way, and a Sync behind it: whether it happens is not known before it is
  // answered, and what follows the Sync happens in any case. Also when there is too much under way: made-up answers cost
  // memory here and never reach a server, which would slow down a client that sends without end.
  [[nodiscard]] bool unsure() const { return unsure_ != 0 || count_ > kMost; }
  static constexpr size_t kMost = 16384;
  // The Parses and Closes that are under way, oldest first.
  [[nodiscard]] const std::deque<Undo>& pending() const { return undo_; }

  // A request other than Parse and Close.
  void push(Request request) {
    if (request == Request::sync) {
      if (in_copy_) {
        ++passed_over_;
        return;
      }
      skipping_ = false;
      unsynced_ = false;
      unsure_ = known_;
    } else {
      if (skipping_) return;
      in_copy_ = false;
      unsynced_ = request != Request::query && request != Request::function_call;
    }
    append(pack(request, Show::forward));
  }
  void push(Undo undo);
  // The Parse that was pushed last as our own is the client's after all.
  void show_last(std::string client_name);

  // The head of the queue is a made-up answer: which request it answers. Nothing when an answer of the server is due first.
  [[nodiscard]] bool fake_is_due() const { return count_ != 0 && show_of(ring_[first_]) == Show::fake; }
  std::optional<Request> due_fake() {
    if (!fake_is_due()) return std::nullopt;
    const Request request = request_of(ring_[first_]);
    pop();
    return request;
  }

  // A message of type '1', '2', '3', 'n', 'T', 'C', 'I', 's' or 'V' has come. False: it answers a request of our own.
  bool answer(char type) {
    if (count_ == 0) return true;
    const uint8_t head = ring_[first_];
    if (!answers(type, request_of(head))) {
      answered_ = true;
      return true;
    }
    const bool shown = show_of(head) != Show::hide;
    pop();
    return shown;
  }

  // An ErrorResponse; the client sees it, also when a Parse of ours caused it (its own statement does not work any more).
  // What was sent and will not be answered comes back, newest first. `duplicate` is set when it answers such a Parse.
  struct Failed {
    std::vector<Undo> undone;
    std::optional<std::string> duplicate;  // the client's name
  };
  Failed error();

  // ReadyForQuery has come. False: none was due.
  bool ready() {
    if (surplus_ != 0 && is_surplus()) return true;
    skipping_ = false;
    in_copy_ = false;
    answered_ = false;
    passed_over_ = 0;
    while (count_ > 0) {
      const Request head = request_of(ring_[first_]);
      pop();
      if (head == Request::sync || head == Request::query || head == Request::function_call) {
        if (count_ == 0) unsynced_ = false;
        return true;
      }
    }
    return false;
  }

  // CopyInResponse or CopyBothResponse; CopyDone or CopyFail of the client.
  void copy_in();
  void copy_ended_by_client() {
    if (in_copy_) {
      in_copy_ = false;
    } else if (count_ != 0 && !skipping_) {
      ++ends_;
      append(pack(Request::copy_end, Show::forward));
    }
  }

  void clear();

 private:
  static constexpr uint8_t pack(Request request, Show show) {
    return static_cast<uint8_t>(static_cast<unsigned>(request) | static_cast<unsigned>(show) << 4);
  }
  static constexpr Request request_of(uint8_t entry) { return static_cast<Request>(entry & 15); }
  static constexpr Show show_of(uint8_t entry) { return static_cast<Show>(entry >> 4); }
  static constexpr bool has_undo(uint8_t entry) {
    return request_of(entry) == Request::parse || request_of(entry) == Request::close;
  }
  static bool answers(char type, Request request) {
    switch (type) {
      case '1': return request == Request::parse;
      case '2': return request == Request::bind;
      case '3': return request == Request::close;
      case 'n':
      case 'T': return request == Request::describe;
      case 'C':
      case 'I':
      case 's': return request == Request::execute;
      default: return false;
    }
  }
  void append(uint8_t entry) {
    if (count_ == capacity_) grow();
    ring_[(first_ + count_) & (capacity_ - 1)] = entry;
    ++count_;
  }
  void pop() {
    if (has_undo(ring_[first_])) drop_undo();
    first_ = (first_ + 1) & (capacity_ - 1);
    --count_;
    if (ends_ != 0) drop_ends();
  }
  void drop_ends();
  void drop_undo();
  bool is_surplus();
  void grow();

  static constexpr size_t kInline = 16;
  std::array<uint8_t, kInline> small_{};
  std::unique_ptr<uint8_t[]> large_;
  uint8_t* ring_ = small_.data();
  size_t capacity_ = kInline;  // a power of two
  size_t first_ = 0;
  size_t count_ = 0;
  bool skipping_ = false;
  bool in_copy_ = false;      // also for a client that does not know yet that it has failed: up to its next request
  bool unsynced_ = false;     // something was sent that only a Sync ends
  bool answered_ = false;     // something of a Query's answer has come
  uint32_t ends_ = 0;         // copy_end entries in the ring, never at its head
  uint32_t passed_over_ = 0;  // Syncs that the server skips if this COPY goes well
  uint32_t known_ = 0;        // entries of undo_ with a statement
  uint32_t unsure_ = 0;       // of these, with a Sync behind them
  uint32_t surplus_ = 0;      // ReadyForQuery that may come beyond those in the ring
  std::deque<Undo> undo_;  // one for each Parse and Close in the ring, in the same order

 public:
  Requests() = default;
  Requests(const Requests&) = delete;
  Requests& operator=(const Requests&) = delete;
};

}  // namespace pgdba::pool
