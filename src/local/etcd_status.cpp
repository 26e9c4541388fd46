#include "local/etcd_status.h"

#include <charconv>

#include "wire/json_value.h"

namespace pgdba::local {

namespace {

// The gateway writes 64-bit numbers as text.
uint64_t number(const wire::JsonValue& object, std::string_view name) {
  const std::string* text = object[name].as_text();
  if (!text) return static_cast<uint64_t>(object.integer(name));
  uint64_t value = 0;
  auto [stop, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  return error == std::errc() && stop == text->data() + text->size() ? value : 0;
}

}  // namespace

Result<EtcdStatus> parse_etcd_status(std::string_view body) {
  auto json = wire::parse_json_value(body);
  if (!json) return tl::unexpected(json.error());
  EtcdStatus out{number((*json)["header"], "member_id"), number(*json, "leader")};
  if (out.member_id == 0) return fail(Errc::invalid, "no status of etcd");
  return out;
}

}  // namespace pgdba::local
