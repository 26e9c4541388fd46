// A client's first packet; its `options`, if any, are read, too.
#include "wire/pg_startup.h"

#include "target.h"

FUZZ_TARGET(pg_startup) {
  using namespace pgdba::wire;
  auto options = parse_options(data);
  if (options && data.find('\0') == std::string_view::npos) {
    auto again = parse_options(format_options(*options));
    CHECK(again.has_value() || format_options(*options).size() > kMaxStartup);
    CHECK(!again || *again == *options);
  }
  auto parsed = parse_first_packet(data);
  if (!parsed || !*parsed) return;
  const FirstPacket& packet = **parsed;
  CHECK(packet.size <= data.size());
  std::string out;
  switch (packet.kind) {
    case FirstKind::startup:
      CHECK(append_startup(out, packet.minor, packet.parameters, packet.protocol_options));
      if (const std::string* text = packet.find("options")) (void)parse_options(*text);
      break;
    case FirstKind::ssl_request: append_ssl_request(out); break;
    case FirstKind::gssenc_request: append_gssenc_request(out); break;
    case FirstKind::cancel_request: CHECK(append_cancel_request(out, packet.cancel)); break;
    case FirstKind::protocol_2:
    case FirstKind::tls_hello: return;
  }
  CHECK(out.size() == packet.size);
  auto again = parse_first_packet(out);
  CHECK(again && *again);
  CHECK((**again).kind == packet.kind && (**again).minor == packet.minor && (**again).cancel == packet.cancel);
  CHECK((**again).parameters == packet.parameters && (**again).protocol_options == packet.protocol_options);
}
