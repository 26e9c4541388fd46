// The TLS settings made into OpenSSL contexts: one for clients that come, one for servers that are connected to.
//
// Invariant: what is made is whole and never changes. A mistake in a setting or a file is an error that names the setting;
// whoever had contexts keeps them. A connection keeps the context with which it began, so a reload touches none.
// How to call: load_tls() at start and at each reload; loop/tls_stream.h makes connections of them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "base/error.h"
#include "conf/pooler_settings.h"

struct ssl_ctx_st;
struct x509_st;

namespace pgdba::pooler {

struct TlsContext {
  explicit TlsContext(ssl_ctx_st* made) : handle(made) {}
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  ssl_ctx_st* const handle;
  conf::SslMode mode = conf::SslMode::disable;
  std::string digest;  // of our own certificate, for channel binding; empty: it has none
};

struct TlsContexts {
  std::shared_ptr<const TlsContext> clients;  // null: sslmode is disable
  std::shared_ptr<const TlsContext> servers;
  // Of the settings and files behind `servers`: what changes it makes servers connect anew.
  std::array<uint8_t, 16> servers_mark{};
};

Result<TlsContexts> load_tls(const conf::PoolerSettings& settings);

// tls-server-end-point (RFC 5929): the certificate's hash by the function of its signature, SHA-256 in place of MD5 and
// SHA-1. Empty where the signature has none (Ed25519): there is no channel binding then.
std::string certificate_digest(const x509_st* certificate);

}  // namespace pgdba::pooler
