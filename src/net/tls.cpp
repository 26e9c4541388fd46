#include "net/tls.h"

#include <fmt/format.h>
#include <openssl/ssl.h>

#include "net/tls_impl.h"

namespace pgdba::net {
namespace {

namespace ssl = boost::asio::ssl;
using boost::system::error_code;

Result<void> load_certificate(ssl::context& context, const std::string& cert, const std::string& key,
                              const Secret& password) {
  error_code ec;
  context.set_password_callback([password](size_t, ssl::context::password_purpose) { return password.reveal(); }, ec);
  context.use_certificate_chain_file(cert, ec);
  if (ec) return fail(Errc::invalid, fmt::format("certificate {}: {}", cert, ec.message()));
  const std::string& key_file = key.empty() ? cert : key;
  context.use_private_key_file(key_file, ssl::context::pem, ec);
  if (ec) return fail(Errc::invalid, fmt::format("private key {}: {}", key_file, ec.message()));
  return {};
}

Result<void> load_ca(ssl::context& context, const std::string& file) {
  error_code ec;
  context.load_verify_file(file, ec);
  if (ec) return fail(Errc::invalid, fmt::format("CA file {}: {}", file, ec.message()));
  return {};
}

constexpr auto hardened = ssl::context::default_workarounds | ssl::context::no_sslv2 | ssl::context::no_sslv3 |
                          ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1;

}  // namespace

TlsContext::TlsContext() = default;
TlsContext::~TlsContext() = default;

Result<std::shared_ptr<TlsContext>> TlsContext::client(const TlsClientOptions& options) {
  std::shared_ptr<TlsContext> out(new TlsContext);
  out->impl_ = std::make_unique<Impl>(ssl::context::tls_client);
  ssl::context& context = out->impl_->context;
  error_code ec;
  context.set_options(hardened, ec);
  out->impl_->verify = options.verify;
  if (!options.ca_file.empty()) {
    if (auto ok = load_ca(context, options.ca_file); !ok) return tl::unexpected(ok.error());
  } else {
    context.set_default_verify_paths(ec);
  }
  if (!options.cert_file.empty()) {
    auto ok = load_certificate(context, options.cert_file, options.key_file, options.key_password);
    if (!ok) return tl::unexpected(ok.error());
  }
  context.set_verify_mode(options.verify ? ssl::verify_peer : ssl::verify_none, ec);
  return out;
}

Result<std::shared_ptr<TlsContext>> TlsContext::server(const TlsServerOptions& options) {
  using Certificate = TlsServerOptions::ClientCertificate;
  std::shared_ptr<TlsContext> out(new TlsContext);
  out->impl_ = std::make_unique<Impl>(ssl::context::tls_server);
  ssl::context& context = out->impl_->context;
  error_code ec;
  context.set_options(hardened | ssl::context::single_dh_use, ec);
  auto ok = load_certificate(context, options.cert_file, options.key_file, options.key_password);
  if (!ok) return tl::unexpected(ok.error());
  if (!options.ca_file.empty()) {
    if (auto ca = load_ca(context, options.ca_file); !ca) return tl::unexpected(ca.error());
  }
  if (!options.ciphers.empty() && SSL_CTX_set_cipher_list(context.native_handle(), options.ciphers.c_str()) != 1) {
    return fail(Errc::invalid, fmt::format("no usable cipher in \"{}\"", options.ciphers));
  }
  // Without a session id context, resuming a session with a client certificate fails.
  SSL_CTX_set_session_id_context(context.native_handle(), reinterpret_cast<const unsigned char*>("pgdba"), 5);
  if (options.client_certificate == Certificate::none) {
    context.set_verify_mode(ssl::verify_none, ec);
  } else {
    auto mode = ssl::verify_peer;
    if (options.client_certificate == Certificate::required) mode |= ssl::verify_fail_if_no_peer_cert;
    context.set_verify_mode(mode, ec);
    if (options.ca_file.empty()) return fail(Errc::invalid, "client certificates need a CA file to check them with");
  }
  return out;
}

}  // namespace pgdba::net
