#include "pooler/tls.h"

#include <cstring>
#include <fstream>
#include <iterator>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <string_view>

#include "pooler/digest.h"

namespace pgdba::pooler {

namespace {

constexpr unsigned char kProtocol[] = "\x0apostgresql";  // as ALPN has it: a length, and the name
constexpr size_t kProtocolSize = sizeof kProtocol - 1;

// The settings of one side, named alike.
struct Side {
  std::string prefix;
  conf::SslMode mode;
  const std::string& key_file;
  const std::string& cert_file;
  const std::string& ca_file;
  const conf::TlsProtocols& protocols;
  const std::string& ciphers;
  const std::string& ciphers13;
};

Side clients_side(const conf::PoolerSettings& s) {
  return {"client_tls", s.client_tls_sslmode, s.client_tls_key_file, s.client_tls_cert_file, s.client_tls_ca_file,
          s.client_tls_protocols, s.client_tls_ciphers, s.client_tls13_ciphers};
}

Side servers_side(const conf::PoolerSettings& s) {
  return {"server_tls", s.server_tls_sslmode, s.server_tls_key_file, s.server_tls_cert_file, s.server_tls_ca_file,
          s.server_tls_protocols, s.server_tls_ciphers, s.server_tls13_ciphers};
}

std::string openssl_reason() {
  const unsigned long code = ERR_peek_error();  // the first one: those behind it are the callers'
  const char* reason = ERR_SYSTEM_ERROR(code) ? std::strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
  const std::string text = reason == nullptr ? "OpenSSL does not say why" : reason;
  ERR_clear_error();
  return text;
}

tl::unexpected<Error> wrong(const std::string& setting, const std::string& value) {
  return fail(Errc::invalid, setting + " \"" + value + "\": " + openssl_reason());
}

// Nobody is there to be asked for the password of a key.
int no_password(char*, int, int, void*) { return -1; }

int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* size, const unsigned char* offered, unsigned int offered_size, void*) {
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, size, kProtocol, kProtocolSize, offered, offered_size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

Result<void> set_protocols(ssl_ctx_st* context, const Side& side) {
  const struct {
    bool on;
    int version;
    uint64_t off;
  } known[] = {{side.protocols.v1_0, TLS1_VERSION, SSL_OP_NO_TLSv1},
               {side.protocols.v1_1, TLS1_1_VERSION, SSL_OP_NO_TLSv1_1},
               {side.protocols.v1_2, TLS1_2_VERSION, SSL_OP_NO_TLSv1_2},
               {side.protocols.v1_3, TLS1_3_VERSION, SSL_OP_NO_TLSv1_3}};
  int lowest = 0, highest = 0;
  for (const auto& each : known) {
    if (!each.on) {
      SSL_CTX_set_options(context, each.off);
      continue;
    }
    if (lowest == 0) lowest = each.version;
    highest = each.version;
  }
  if (lowest == 0) return fail(Errc::invalid, side.prefix + "_protocols leaves no version");
  if (SSL_CTX_set_min_proto_version(context, lowest) != 1 || SSL_CTX_set_max_proto_version(context, highest) != 1) {
    return wrong(side.prefix + "_protocols", side.protocols.text);
  }
  return {};
}

Result<void> set_ciphers(ssl_ctx_st* context, const Side& side) {
  const std::string& words = side.ciphers;
  const bool usual = words.empty() || words == "default" || words == "secure" || words == "fast" || words == "normal";
  const std::string list = words == "all" ? "ALL:!aNULL:!eNULL" : words;
  if (!usual && SSL_CTX_set_cipher_list(context, list.c_str()) != 1) return wrong(side.prefix + "_ciphers", words);
  if (!side.ciphers13.empty() && SSL_CTX_set_ciphersuites(context, side.ciphers13.c_str()) != 1) {
    return wrong(side.prefix + "13_ciphers", side.ciphers13);
  }
  return {};
}

Result<void> set_certificate(ssl_ctx_st* context, const Side& side) {
  if (side.cert_file.empty()) return {};
  if (SSL_CTX_use_certificate_chain_file(context, side.cert_file.c_str()) != 1) return wrong(side.prefix + "_cert_file", side.cert_file);
  const std::string& key = side.key_file.empty() ? side.cert_file : side.key_file;
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(context) != 1) {
    return wrong(side.prefix + "_key_file", key);
  }
  return {};
}

Result<std::shared_ptr<TlsContext>> make_context(const Side& side, bool of_clients) {
  ERR_clear_error();
  SSL_CTX* made = SSL_CTX_new(of_clients ? TLS_server_method() : TLS_client_method());
  if (made == nullptr) return fail(Errc::invalid, side.prefix + ": " + openssl_reason());
  auto context = std::make_shared<TlsContext>(made);
  context->mode = side.mode;
  // Each login is a handshake of its own, as with PostgreSQL: nothing is resumed, so a certificate is checked each time.
  SSL_CTX_set_options(made, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(made, 0);
  SSL_CTX_set_mode(made, SSL_MODE_RELEASE_BUFFERS);  // an idle connection holds none
  SSL_CTX_set_default_passwd_cb(made, no_password);
  if (auto ok = set_protocols(made, side); !ok) return tl::unexpected(ok.error());
  if (auto ok = set_ciphers(made, side); !ok) return tl::unexpected(ok.error());
  if (auto ok = set_certificate(made, side); !ok) return tl::unexpected(ok.error());
  if (!side.ca_file.empty() && SSL_CTX_load_verify_locations(made, side.ca_file.c_str(), nullptr) != 1) {
    return wrong(side.prefix + "_ca_file", side.ca_file);
  }
  if (!side.cert_file.empty()) context->digest = certificate_digest(SSL_CTX_get0_certificate(made));
  return context;
}

Result<std::shared_ptr<const TlsContext>> for_clients(const conf::PoolerSettings& settings) {
  const Side side = clients_side(settings);
  const bool verify = side.mode >= conf::SslMode::verify_ca;
  if (settings.auth_type == conf::AuthType::cert && side.mode != conf::SslMode::verify_full) {
    return fail(Errc::invalid, "auth_type=cert requires client_tls_sslmode=verify-full");
  }
  if (side.mode == conf::SslMode::disable) return nullptr;
  if (side.key_file.empty() || side.cert_file.empty()) {
    return fail(Errc::invalid, "To allow TLS connections from clients, client_tls_key_file and client_tls_cert_file must be set.");
  }
  if (verify && side.ca_file.empty()) return fail(Errc::invalid, "client_tls_sslmode requires client_tls_ca_file");
  auto made = make_context(side, true);
  if (!made) return tl::unexpected(made.error());
  SSL_CTX* context = (*made)->handle;
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
  SSL_CTX_set_dh_auto(context, 1);
  const std::string& curve = settings.client_tls_ecdhcurve;
  if (!curve.empty() && curve != "auto" && curve != "none" && SSL_CTX_set1_groups_list(context, curve.c_str()) != 1) {
    return wrong("client_tls_ecdhcurve", curve);
  }
  if (!side.ca_file.empty()) {
    // What is shown is checked, whatever the mode; only `verify-…` insists that something is shown.
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | (verify ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), nullptr);
    SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(side.ca_file.c_str()));
  }
  return *made;
}

Result<std::shared_ptr<const TlsContext>> for_servers(const conf::PoolerSettings& settings) {
  const Side side = servers_side(settings);
  if (side.mode == conf::SslMode::disable) return nullptr;
  auto made = make_context(side, false);
  if (!made) return tl::unexpected(made.error());
  SSL_CTX* context = (*made)->handle;
  if (SSL_CTX_set_alpn_protos(context, kProtocol, kProtocolSize) != 0) return fail(Errc::invalid, "server_tls: " + openssl_reason());
  if (side.mode >= conf::SslMode::verify_ca) {
    if (side.ca_file.empty()) SSL_CTX_set_default_verify_paths(context);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  }
  return *made;
}

std::array<uint8_t, 16> mark_of(const Side& side) {
  std::string all = std::to_string(static_cast<int>(side.mode));
  const auto add = [&all](std::string_view text) { all.append(std::to_string(text.size())).append(":").append(text); };
  for (const std::string* file : {&side.key_file, &side.cert_file, &side.ca_file}) {
    std::ifstream in(*file, std::ios::binary);
    add(*file);
    add(std::string(std::istreambuf_iterator<char>(in), {}));
  }
  for (const std::string* text : {&side.protocols.text, &side.ciphers, &side.ciphers13}) add(*text);
  return statement_digest(all);
}

}  // namespace

TlsContext::~TlsContext() { SSL_CTX_free(handle); }

Result<TlsContexts> load_tls(const conf::PoolerSettings& settings) {
  TlsContexts made;
  // Before the files are read: a change in between is a change for the next reload.
  if (settings.server_tls_sslmode != conf::SslMode::disable) made.servers_mark = mark_of(servers_side(settings));
  auto clients = for_clients(settings);
  if (!clients) return tl::unexpected(clients.error());
  auto servers = for_servers(settings);
  if (!servers) return tl::unexpected(servers.error());
  made.clients = std::move(*clients);
  made.servers = std::move(*servers);
  return made;
}

std::string certificate_digest(const x509_st* certificate) {
  int hash = NID_undef;
  if (certificate == nullptr || X509_get_signature_info(const_cast<X509*>(certificate), &hash, nullptr, nullptr, nullptr) != 1) return {};
  if (hash == NID_md5 || hash == NID_sha1) hash = NID_sha256;
  const EVP_MD* function = EVP_get_digestbynid(hash);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (function == nullptr || X509_digest(certificate, function, digest, &size) != 1) return {};
  return {reinterpret_cast<const char*>(digest), size};
}

}  // namespace pgdba::pooler
