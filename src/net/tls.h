// TLS settings of a client and of a server. OpenSSL stays inside tls.cpp and stream.cpp.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "base/secret.h"

namespace pgdba::net {

struct TlsClientOptions {
  TlsClientOptions() = default;  // no aggregate: see task.h
  std::string ca_file;    // empty: the system's certificates
  std::string cert_file;  // client certificate, PEM with chain; empty: none
  std::string key_file;   // empty: inside cert_file
  Secret key_password;
  bool verify = true;     // false accepts any certificate (Patroni's `insecure`)
};

struct TlsServerOptions {
  TlsServerOptions() = default;
  enum class ClientCertificate { none, optional, required };
  std::string cert_file;
  std::string key_file;  // empty: inside cert_file
  Secret key_password;
  std::string ca_file;   // for clients' certificates
  std::string ciphers;   // empty: the library's default
  ClientCertificate client_certificate = ClientCertificate::none;
};

// Loaded files. Shared by many connections; a connection keeps the context with which it began.
class TlsContext {
 public:
  static Result<std::shared_ptr<TlsContext>> client(const TlsClientOptions& options);
  static Result<std::shared_ptr<TlsContext>> server(const TlsServerOptions& options);
  ~TlsContext();

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  TlsContext();
  std::unique_ptr<Impl> impl_;
};

}  // namespace pgdba::net
