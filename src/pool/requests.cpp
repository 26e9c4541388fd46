#include "pool/requests.h"

#include <algorithm>
#include <utility>

namespace pgdba::pool {

void Requests::push(Undo undo) {
  if (skipping_) return;
  in_copy_ = false;
  if (undo.show != Show::fake) unsynced_ = true;
  append(pack(undo.request, undo.show));
  if (undo.statement) ++known_;
  undo_.push_back(std::move(undo));
}

void Requests::show_last(std::string client_name) {
  if (undo_.empty() || count_ == 0) return;  // skipping: it was not counted
  ring_[(first_ + count_ - 1) & (capacity_ - 1)] = pack(Request::parse, Show::forward);
  undo_.back().show = Show::forward;
  undo_.back().client_name = std::move(client_name);
}

Requests::Failed Requests::error() {
  Failed failed;
  surplus_ += passed_over_;
  passed_over_ = 0;
  if (count_ == 0) return failed;
  const Request head = request_of(ring_[first_]);
  // A failed query or function call is followed by its ReadyForQuery; an error while the server waits for nothing but
  // Sync answers that Sync (a failed commit of an implicit transaction).
  if (head == Request::query || head == Request::function_call || head == Request::sync) {
    in_copy_ = false;
    answered_ = true;
    return failed;
  }
  if (show_of(ring_[first_]) == Show::duplicate) failed.duplicate = undo_.front().client_name;
  in_copy_ = false;
  skipping_ = true;
  while (count_ > 0) {
    const uint8_t entry = ring_[first_];
    // A query or function call in between is skipped as well, and no ReadyForQuery of its own comes.
    if (request_of(entry) == Request::sync) {
      skipping_ = false;
      break;
    }
    if (has_undo(entry)) failed.undone.push_back(undo_.front());
    pop();
  }
  std::reverse(failed.undone.begin(), failed.undone.end());
  return failed;
}

void Requests::copy_in() {
  if (count_ == 0) return;
  in_copy_ = true;
  // Syncs that are on their way already will be skipped by the server, which reads them as part of the COPY, up to its end.
  // Any other request is proof that it ends before: by then it has failed, or else the server gives up the connection.
  const size_t count = count_;
  count_ = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint8_t entry = ring_[(first_ + i) & (capacity_ - 1)];
    if (in_copy_ && request_of(entry) == Request::sync) {
      ++passed_over_;
      unsynced_ = true;
    } else if (in_copy_ && request_of(entry) == Request::copy_end) {
      --ends_;
      in_copy_ = false;
    } else {
      if (i != 0) in_copy_ = false;
      append(entry);  // not beyond the place that was just read
    }
  }
}

void Requests::drop_undo() {
  if (undo_.front().statement) {
    --known_;
    if (unsure_ != 0) --unsure_;
  }
  undo_.pop_front();
}

void Requests::drop_ends() {
  while (count_ > 0 && request_of(ring_[first_]) == Request::copy_end) {
    first_ = (first_ + 1) & (capacity_ - 1);
    --count_;
    --ends_;
  }
}

// A ReadyForQuery that answers a Sync we took for skipped: nothing in the ring is answered by it. Where both are possible
// the ring goes first, for the client sees the same either way.
bool Requests::is_surplus() {
  if (count_ > 0) {
    const Request head = request_of(ring_[first_]);
    if (head == Request::sync || (answered_ && (head == Request::query || head == Request::function_call))) return false;
  } else {
    unsynced_ = false;
  }
  --surplus_;
  skipping_ = false;
  answered_ = false;
  return true;
}

void Requests::clear() {
  first_ = 0;
  count_ = 0;
  skipping_ = false;
  in_copy_ = false;
  unsynced_ = false;
  answered_ = false;
  ends_ = 0;
  passed_over_ = 0;
  known_ = 0;
  unsure_ = 0;
  surplus_ = 0;
  undo_.clear();
}

void Requests::grow() {
  const size_t larger = capacity_ * 2;
  auto ring = std::make_unique<uint8_t[]>(larger);
  for (size_t i = 0; i < count_; ++i) ring[i] = ring_[(first_ + i) & (capacity_ - 1)];
  large_ = std::move(ring);
  ring_ = large_.get();
  capacity_ = larger;
  first_ = 0;
}

}  // namespace pgdba::pool
