// A tolerant look into one JSON answer of etcd's, without boost in the header. Internal to wire/etcd_*.
//
// A field that is absent reads as zero, empty or false, as the JSON of protocol buffers wants it. A field of another
// type reads so, too, and marks the whole document as broken.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "wire/etcd.h"

namespace pgdba::wire::etcd {

class Reader {
 public:
  bool present() const { return value_ != nullptr; }
  bool is_object() const;
  bool broken() const { return *broken_; }

  Reader child(std::string_view name) const;
  int64_t i64(std::string_view name) const;   // a number, or a number as text
  uint64_t u64(std::string_view name) const;
  bool boolean(std::string_view name) const;
  std::string text(std::string_view name) const;
  std::string bytes(std::string_view name) const;  // base64
  std::vector<std::string> texts(std::string_view name) const;
  void each(std::string_view name, const std::function<void(const Reader&)>& visit) const;

 private:
  friend class Document;
  Reader(const void* value, bool* broken) : value_(value), broken_(broken) {}
  const void* find(std::string_view name) const;
  const void* value_;
  bool* broken_;
};

class Document {
 public:
  static Result<Document> parse(std::string_view text, size_t limit);
  Document(Document&&) noexcept;
  ~Document();
  Reader root() const;

 private:
  struct Impl;
  explicit Document(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// {"error": "…" or "message": "…", "code" or "grpc_code": n}
ErrorAnswer error_of(const Reader& object);

}  // namespace pgdba::wire::etcd
