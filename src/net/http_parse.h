// Turns bytes into HTTP messages: Beast's parsers behind plain types, so that Beast is compiled in one file. No I/O.
//
// Bytes are given as a buffer that the caller keeps: feed() takes from its front what it can use, the rest belongs to
// the next call. Every limit is enforced before memory is spent.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "net/http.h"

namespace pgdba::net {

class RequestParser {
 public:
  RequestParser(size_t header_limit, size_t body_limit);
  ~RequestParser();

  // True once the message is complete. On an error status() is the HTTP answer that fits: 400, 413, 431.
  Result<bool> feed(std::string& buffer);
  int status() const;
  bool header_done() const;
  bool expects_continue() const;  // the client waits for "100 Continue" before it sends the body
  bool keep_alive() const;
  bool http10() const;
  Request head() const;  // once header_done(): all but the body
  Request take();

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

class ResponseParser {
 public:
  // `head`: the answer has no body whatever its headers say. body_limit 0: none (for streams that are drained).
  ResponseParser(size_t header_limit, size_t body_limit, bool head);
  ~ResponseParser();

  Result<bool> feed(std::string& buffer);
  Result<bool> feed_end();  // the connection was closed: true when that is where the message ends
  bool started() const;     // any byte of it was used
  bool header_done() const;
  bool done() const;
  bool keep_alive() const;
  std::string take_body();  // what has come so far, each byte once
  Response take();          // status, reason, headers and take_body()

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

// The head of a message with its empty line. Control characters in names or values are dropped, so that no value can
// add a header or split a message.
std::string format_head(const std::string& start_line, const Headers& headers);

}  // namespace pgdba::net
