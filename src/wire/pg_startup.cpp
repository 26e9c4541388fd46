#include "wire/pg_startup.h"

#include <fmt/format.h>

#include <algorithm>

#include "wire/pg_frame.h"
#include "wire/pg_writer.h"

namespace pgdba::wire {
namespace {

constexpr uint32_t kCancelCode = 80877102;
constexpr uint32_t kSslCode = 80877103;
constexpr uint32_t kGssencCode = 80877104;
constexpr std::string_view kProtocolOption = "_pq_.";
constexpr char kTlsHandshake = 0x16;

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

tl::unexpected<Error> bad_options() {
  return fail(Errc::invalid,
              "unsupported options startup parameter: only '-c name=value' and '--name=value' are known");
}

Result<std::optional<FirstPacket>> read_startup(FirstPacket packet, std::string_view body) {
  ByteReader reader(body);
  while (reader.ok()) {
    std::string_view name = reader.text();
    if (name.empty()) break;
    auto& list = name.starts_with(kProtocolOption) ? packet.protocol_options : packet.parameters;
    list.push_back({std::string(name), std::string(reader.text())});
  }
  if (!reader.done()) {
    return fail(Errc::invalid, "invalid startup packet layout: expected terminator as last byte");
  }
  return packet;
}

}  // namespace

const std::string* FirstPacket::find(std::string_view name) const {
  auto found =
      std::find_if(parameters.rbegin(), parameters.rend(), [&](const auto& each) { return each.name == name; });
  return found == parameters.rend() ? nullptr : &found->value;
}

Result<std::optional<FirstPacket>> parse_first_packet(std::string_view bytes) {
  FirstPacket packet;
  if (!bytes.empty() && bytes[0] == kTlsHandshake) {
    packet.kind = FirstKind::tls_hello;
    return packet;
  }
  if (bytes.size() < 4) return std::nullopt;
  packet.size = load_u32(bytes.data());
  if (packet.size < 8 || packet.size > kMaxStartup) return fail(Errc::invalid, "invalid length of startup packet");
  if (bytes.size() < 8) return std::nullopt;
  uint32_t code = load_u32(bytes.data() + 4);
  uint32_t major = code >> 16;
  if (code == kSslCode || code == kGssencCode) {
    if (packet.size != 8) return fail(Errc::invalid, "invalid length of encryption request");
    packet.kind = code == kSslCode ? FirstKind::ssl_request : FirstKind::gssenc_request;
    return packet;
  }
  if (code == kCancelCode && (packet.size < 12 + kMinCancelKey || packet.size > 12 + kMaxCancelKey)) {
    return fail(Errc::invalid, "invalid length of cancel request packet");
  }
  if (code != kCancelCode && major != 2 && major != 3) {
    return fail(Errc::invalid, fmt::format("unsupported frontend protocol {}.{}", major, code & 0xffff));
  }
  if (bytes.size() < packet.size) return std::nullopt;
  std::string_view body = bytes.substr(8, packet.size - 8);
  if (code == kCancelCode) {
    packet.kind = FirstKind::cancel_request;
    packet.cancel = {load_u32(body.data()), std::string(body.substr(4))};
    return packet;
  }
  if (major == 2) {
    packet.kind = FirstKind::protocol_2;
    return packet;
  }
  packet.minor = static_cast<uint16_t>(code & 0xffff);
  return read_startup(std::move(packet), body);
}

bool append_startup(std::string& out, uint16_t minor, const std::vector<StartupParameter>& parameters,
                    const std::vector<StartupParameter>& protocol_options) {
  MessageWriter writer(out, 0);
  writer.u32(3U << 16 | minor);
  for (const auto* list : {&parameters, &protocol_options}) {
    for (const auto& [name, value] : *list) {
      if (!name.empty() && name[0] != '\0') writer.text(name).text(value);  // an empty name would end the packet
    }
  }
  return writer.u8('\0').finish(0, kMaxStartup);
}

bool append_ssl_request(std::string& out) {
  return MessageWriter(out, 0).u32(kSslCode).finish();
}

bool append_gssenc_request(std::string& out) {
  return MessageWriter(out, 0).u32(kGssencCode).finish();
}

bool append_cancel_request(std::string& out, const CancelKey& key) {
  if (key.secret.size() < kMinCancelKey || key.secret.size() > kMaxCancelKey) return false;
  return MessageWriter(out, 0).u32(kCancelCode).u32(key.pid).bytes(key.secret).finish();
}

Result<std::vector<StartupParameter>> parse_options(std::string_view text) {
  if (text.size() > kMaxStartup) return fail(Errc::invalid, "unsupported options startup parameter: too long");
  std::vector<StartupParameter> options;
  size_t at = 0;
  auto skip_space = [&] {
    while (at < text.size() && is_space(text[at])) ++at;
  };
  for (skip_space(); at < text.size(); skip_space()) {
    std::string_view rest = text.substr(at);
    if (!rest.starts_with("-c") && !rest.starts_with("--")) return bad_options();
    at += 2;
    if (rest[1] == 'c') skip_space();
    StartupParameter option;
    bool in_value = false;
    for (; at < text.size() && !is_space(text[at]); ++at) {
      if (text[at] == '\\' && ++at == text.size()) break;
      if (!in_value && text[at] == '=') {
        in_value = true;
      } else if (in_value) {
        option.value += text[at];
      } else {
        option.name += text[at] == '-' ? '_' : text[at];
      }
    }
    if (!in_value || option.name.empty()) return bad_options();
    options.push_back(std::move(option));
  }
  return options;
}

std::string format_options(const std::vector<StartupParameter>& options) {
  std::string text;
  for (const auto& [name, value] : options) {
    text += text.empty() ? "-c " : " -c ";
    for (char c : name + '=' + value) {
      if (is_space(c) || c == '\\') text += '\\';
      text += c;
    }
  }
  return text;
}

}  // namespace pgdba::wire
