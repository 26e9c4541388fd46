#include "pool/requests.h"

#include <utility>

namespace pgdba::pool {

void Requests::push(Undo undo) {
  if (skipping_) return;
  append(pack(undo.request, undo.show));
  undo_.push_back(std::move(undo));
}

void Requests::show_last(std::string client_name) {
  if (undo_.empty() || count_ == 0) return;  // skipping: it was not counted
  ring_[(first_ + count_ - 1) & (capacity_ - 1)] = pack(Request::parse, Show::forward);
  undo_.back().show = Show::forward;
  undo_.back().client_name = std::move(client_name);
}

std::optional<Request> Requests::due_fake() {
  if (count_ == 0 || show_of(ring_[first_]) != Show::fake) return std::nullopt;
  const Request request = request_of(ring_[first_]);
  pop();
  return request;
}

Requests::Failed Requests::error() {
  Failed failed;
  if (count_ == 0) return failed;
  const Request head = request_of(ring_[first_]);
  // A failed query or function call is followed by its ReadyForQuery; an error while the server waits for nothing but
  // Sync answers that Sync (a failed commit of an implicit transaction).
  if (head == Request::query || head == Request::function_call || head == Request::sync) {
    in_copy_ = false;
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
    if (has_undo(entry)) failed.undone.insert(failed.undone.begin(), undo_.front());
    pop();
  }
  return failed;
}

void Requests::copy_in() {
  if (count_ == 0) return;
  in_copy_ = true;
  // Syncs that are on their way already will be skipped by the server, which reads them as part of the COPY.
  std::vector<uint8_t> kept;
  for (size_t i = 0; i < count_; ++i) {
    const uint8_t entry = ring_[(first_ + i) & (capacity_ - 1)];
    if (request_of(entry) != Request::sync) kept.push_back(entry);
  }
  first_ = 0;
  count_ = 0;
  for (const uint8_t entry : kept) append(entry);
}

void Requests::clear() {
  first_ = 0;
  count_ = 0;
  skipping_ = false;
  in_copy_ = false;
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
