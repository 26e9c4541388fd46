#include "wire/etcd_json.h"

#include <fmt/format.h>

#include "base/base64.h"
#include "base/json_writer.h"
#include "base/text.h"
#include "wire/etcd_reader.h"

namespace pgdba::wire::etcd {
namespace {

JsonWriter& bytes(JsonWriter& json, std::string_view name, std::string_view value) {
  return json.text(name, base64_encode(value));
}
JsonWriter& number(JsonWriter& json, std::string_view name, int64_t value) {
  return json.text(name, std::to_string(value));
}

void write_range(JsonWriter& json, std::string_view key, bool prefix, bool serializable) {
  json.begin_object();
  bytes(json, "key", key);
  if (prefix) bytes(json, "range_end", prefix_end(key));
  if (serializable) json.boolean("serializable", true);
  json.end_object();
}

void write_compare(JsonWriter& json, const Compare& compare) {
  static constexpr const char* targets[] = {"VERSION", "CREATE", "MOD", "VALUE", "LEASE"};
  static constexpr const char* relations[] = {"EQUAL", "GREATER", "LESS", "NOT_EQUAL"};
  json.begin_object();
  bytes(json, "key", compare.key);
  json.text("target", targets[static_cast<size_t>(compare.target)]);
  json.text("result", relations[static_cast<size_t>(compare.relation)]);
  switch (compare.target) {
    case Compare::Target::version: number(json, "version", compare.number); break;
    case Compare::Target::create: number(json, "create_revision", compare.number); break;
    case Compare::Target::mod: number(json, "mod_revision", compare.number); break;
    case Compare::Target::value: bytes(json, "value", compare.value); break;
    case Compare::Target::lease: number(json, "lease", compare.number); break;
  }
  json.end_object();
}

void write_op(JsonWriter& json, const Op& op) {
  json.begin_object();
  switch (op.kind) {
    case Op::Kind::put:
      json.key("requestPut").begin_object();
      bytes(json, "key", op.key);
      bytes(json, "value", op.value);
      if (op.lease != 0) number(json, "lease", op.lease);
      json.end_object();
      break;
    case Op::Kind::remove:
      json.key("requestDeleteRange").begin_object();
      bytes(json, "key", op.key);
      if (op.prefix) bytes(json, "range_end", prefix_end(op.key));
      json.end_object();
      break;
    case Op::Kind::range:
      json.key("requestRange");
      write_range(json, op.key, op.prefix, false);
      break;
  }
  json.end_object();
}

void write_ops(JsonWriter& json, std::string_view name, const std::vector<Op>& ops) {
  if (ops.empty()) return;
  json.key(name).begin_array();
  for (const Op& op : ops) write_op(json, op);
  json.end_array();
}

std::string only_id(int64_t id) {
  JsonWriter json;
  json.begin_object();
  number(json, "ID", id);
  return json.end_object().take();
}

}  // namespace

std::string prefix_end(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty()) {
    if (static_cast<unsigned char>(end.back()) < 0xff) {
      end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
      return end;
    }
    end.pop_back();
  }
  return std::string(1, '\0');
}

std::string format_range(std::string_view key, bool prefix, bool serializable) {
  JsonWriter json;
  write_range(json, key, prefix, serializable);
  return json.take();
}

Result<std::string> format_txn(const Txn& txn) {
  if (txn.then_ops.empty() && txn.else_ops.empty()) {
    return fail(Errc::bug, "a transaction without operations proves nothing: etcd answers it from one member's memory");
  }
  JsonWriter json;
  json.begin_object();
  if (!txn.compares.empty()) {
    json.key("compare").begin_array();
    for (const Compare& compare : txn.compares) write_compare(json, compare);
    json.end_array();
  }
  write_ops(json, "success", txn.then_ops);
  write_ops(json, "failure", txn.else_ops);
  return json.end_object().take();
}

std::string format_lease_grant(int64_t ttl_s, int64_t id) {
  JsonWriter json;
  json.begin_object();
  number(json, "TTL", ttl_s);
  if (id != 0) number(json, "ID", id);
  return json.end_object().take();
}

std::string format_lease_keepalive(int64_t id) { return only_id(id); }
std::string format_lease_revoke(int64_t id) { return only_id(id); }

std::string format_watch_create(std::string_view key, bool prefix, int64_t start_revision) {
  JsonWriter json;
  json.begin_object().key("create_request").begin_object();
  bytes(json, "key", key);
  if (prefix) bytes(json, "range_end", prefix_end(key));
  number(json, "start_revision", start_revision);
  json.boolean("progress_notify", true);
  return json.end_object().end_object().take();
}

std::string format_watch_progress() { return R"({"progress_request":{}})"; }

std::string format_authenticate(std::string_view user, std::string_view password) {
  JsonWriter json;
  json.begin_object().text("name", user).text("password", password);
  return json.end_object().take();
}

// ---- answers

namespace {

Header header_of(const Reader& answer) {
  Reader header = answer.child("header");
  return {header.u64("cluster_id"), header.u64("member_id"), header.i64("revision"), header.u64("raft_term")};
}

// Every answer of a live member names its cluster: what does not is not etcd.
Result<Header> need_header(const Reader& answer) {
  Header header = header_of(answer);
  if (header.cluster_id == 0) return fail(Errc::invalid, "an answer without a header is not etcd's");
  return header;
}

KeyValue key_value_of(const Reader& kv) {
  KeyValue out;
  out.key = kv.bytes("key");
  out.value = kv.bytes("value");
  out.create = kv.i64("create_revision");
  out.mod = kv.i64("mod_revision");
  out.version = kv.i64("version");
  out.lease = kv.i64("lease");
  return out;
}

std::vector<KeyValue> kvs_of(const Reader& range) {
  std::vector<KeyValue> out;
  range.each("kvs", [&](const Reader& kv) { out.push_back(key_value_of(kv)); });
  return out;
}

template <class T, class Fill>
Result<T> parse_answer(std::string_view text, Fill fill) {
  auto document = Document::parse(text, kMaxEtcdAnswer);
  if (!document) return tl::unexpected(document.error());
  Reader root = document->root();
  auto header = need_header(root);
  if (!header) return tl::unexpected(header.error());
  T out;
  out.header = *header;
  fill(root, out);
  if (root.broken()) return fail(Errc::invalid, "a field of etcd's answer has the wrong type");
  return out;
}

}  // namespace

Result<Range> parse_range(std::string_view text) {
  return parse_answer<Range>(text, [](const Reader& root, Range& out) { out.kvs = kvs_of(root); });
}

Result<TxnResult> parse_txn(std::string_view text) {
  return parse_answer<TxnResult>(text, [](const Reader& root, TxnResult& out) {
    out.succeeded = root.boolean("succeeded");
    root.each("responses", [&](const Reader& response) {
      OpResult result;
      if (Reader removed = response.child("response_delete_range"); removed.present()) {
        result.kind = Op::Kind::remove;
        result.removed = removed.i64("deleted");
      } else if (Reader range = response.child("response_range"); range.present()) {
        result.kind = Op::Kind::range;
        result.kvs = kvs_of(range);
      }
      out.results.push_back(std::move(result));
    });
  });
}

Result<Lease> parse_lease_grant(std::string_view text) {
  return parse_answer<Lease>(text, [](const Reader& root, Lease& out) {
    out.id = root.i64("ID");
    out.ttl_s = root.i64("TTL");
  });
}

Result<Lease> parse_lease_keepalive(std::string_view text) {
  text = trim(text);
  if (size_t line = text.rfind('\n'); line != std::string_view::npos) text.remove_prefix(line + 1);
  auto document = Document::parse(text, kMaxEtcdAnswer);
  if (!document) return tl::unexpected(document.error());
  if (Reader error = document->root().child("error"); error.present()) {
    ErrorAnswer answer = error_of(error);
    return fail(errc_of(answer), answer.message);
  }
  Reader root = document->root().child("result");
  auto header = need_header(root);
  if (!header) return tl::unexpected(header.error());
  Lease out{*header, root.i64("ID"), root.i64("TTL")};
  if (root.broken()) return fail(Errc::invalid, "a field of etcd's answer has the wrong type");
  return out;
}

Result<Header> parse_header_only(std::string_view text) {
  struct Only {
    Header header;
  };
  auto out = parse_answer<Only>(text, [](const Reader&, Only&) {});
  if (!out) return tl::unexpected(out.error());
  return out->header;
}

Result<Status> parse_status(std::string_view text) {
  return parse_answer<Status>(text, [](const Reader& root, Status& out) {
    out.version = root.text("version");
    out.leader = root.u64("leader");
  });
}

Result<std::vector<Member>> parse_members(std::string_view text) {
  struct Members {
    Header header;
    std::vector<Member> list;
  };
  auto out = parse_answer<Members>(text, [](const Reader& root, Members& members) {
    root.each("members", [&](const Reader& member) {
      members.list.push_back({member.u64("ID"), member.text("name"), member.texts("peerURLs"),
                              member.texts("clientURLs"), member.boolean("isLearner")});
    });
  });
  if (!out) return tl::unexpected(out.error());
  return std::move(out->list);
}

Result<std::string> parse_token(std::string_view text) {
  auto document = Document::parse(text, kMaxEtcdAnswer);
  if (!document) return tl::unexpected(document.error());
  std::string token = document->root().text("token");
  if (token.empty()) return fail(Errc::invalid, "etcd's answer holds no token");
  return token;
}

Result<WatchMessage> parse_watch_message(std::string_view text) {
  auto document = Document::parse(text, kMaxEtcdAnswer);
  if (!document) return tl::unexpected(document.error());
  if (Reader error = document->root().child("error"); error.present()) {
    ErrorAnswer answer = error_of(error);
    return fail(errc_of(answer), answer.message);
  }
  Reader root = document->root().child("result");
  auto header = need_header(root);
  if (!header) return tl::unexpected(header.error());
  WatchMessage out;
  out.header = *header;
  out.created = root.boolean("created");
  out.canceled = root.boolean("canceled");
  out.compact_revision = root.i64("compact_revision");
  out.cancel_reason = root.text("cancel_reason");
  out.fragment = root.boolean("fragment");
  root.each("events", [&](const Reader& event) {
    KeyEvent change;
    change.kind = event.text("type") == "DELETE" ? KeyEvent::Kind::remove : KeyEvent::Kind::put;
    change.kv = key_value_of(event.child("kv"));
    out.events.push_back(std::move(change));
  });
  if (root.broken()) return fail(Errc::invalid, "a field of etcd's answer has the wrong type");
  return out;
}

Result<ErrorAnswer> parse_error(std::string_view text) {
  text = trim(text);
  // The gateway appends its trailers after the object in some versions.
  if (size_t end = text.rfind('}'); end != std::string_view::npos) text = text.substr(0, end + 1);
  auto document = Document::parse(text, kMaxEtcdAnswer);
  if (!document) return tl::unexpected(document.error());
  Reader root = document->root();
  if (Reader nested = root.child("error"); nested.present() && nested.is_object()) return error_of(nested);
  ErrorAnswer answer = error_of(root);
  if (answer.message.empty()) return fail(Errc::invalid, "not an error of etcd's");
  return answer;
}

Errc errc_of(const ErrorAnswer& answer) {
  enum Grpc { invalid_argument = 3, not_found = 5, permission_denied = 7, resource_exhausted = 8, failed = 9,
              out_of_range = 11, unimplemented = 12, unavailable = 14, unauthenticated = 16 };
  auto says = [&](std::string_view text) { return answer.message.find(text) != std::string::npos; };
  // The gateway writes some codes as "unknown" and keeps the text.
  if (says("requested lease not found")) return Errc::not_found;
  if (says("invalid auth token") || says("user name is empty") || says("permission denied") ||
      says("auth token is not provided") || says("revision of auth store is old") ||
      says("authentication failed, invalid user ID or password")) {
    return Errc::denied;
  }
  switch (answer.code) {
    case invalid_argument:
    case failed:
    case out_of_range:
    case unimplemented: return Errc::invalid;
    case not_found: return Errc::not_found;
    case permission_denied:
    case unauthenticated: return Errc::denied;
    case resource_exhausted: return Errc::unavailable;  // too many requests, no space: refused before proposing
    case unavailable:
      // "no leader" is said before anything is proposed; "request timed out" and "leader changed" are said after.
      return answer.message == "etcdserver: no leader" ? Errc::unavailable : Errc::timeout;
    default: return Errc::timeout;
  }
}

}  // namespace pgdba::wire::etcd
