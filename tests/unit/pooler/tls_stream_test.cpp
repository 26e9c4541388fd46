#include "pooler/loop/tls_stream.h"

#include <cstdio>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <unistd.h>

namespace pgdba::pooler {
namespace {

struct Key {
  EVP_PKEY* key;
  explicit Key(bool ed25519 = false) : key(ed25519 ? EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519") : EVP_EC_gen("P-256")) {}
  ~Key() { EVP_PKEY_free(key); }
};

X509* make_certificate(EVP_PKEY* key, const EVP_MD* digest, std::string_view name) {
  X509* made = X509_new();
  X509_set_version(made, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(made), 1);
  X509_gmtime_adj(X509_getm_notBefore(made), -60);
  X509_gmtime_adj(X509_getm_notAfter(made), 3600);
  X509_NAME* subject = X509_get_subject_name(made);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(name.data()), static_cast<int>(name.size()), -1, 0);
  X509_set_issuer_name(made, subject);
  X509_set_pubkey(made, key);
  X509_sign(made, key, digest);
  return made;
}

struct Files {
  std::string cert, key;
  explicit Files(std::string_view name = "localhost") {
    char folder[] = "/tmp/pgdba-tls-XXXXXX";
    if (::mkdtemp(folder) == nullptr) throw std::runtime_error("no folder");
    cert = std::string(folder) + "/cert";
    key = std::string(folder) + "/key";
    Key made;
    X509* certificate = make_certificate(made.key, EVP_sha256(), name);
    FILE* out = std::fopen(cert.c_str(), "w");
    PEM_write_X509(out, certificate);
    std::fclose(out);
    out = std::fopen(key.c_str(), "w");
    PEM_write_PrivateKey(out, made.key, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(out);
    X509_free(certificate);
  }
  ~Files() {
    ::unlink(cert.c_str());
    ::unlink(key.c_str());
    ::rmdir(cert.substr(0, cert.rfind('/')).c_str());
  }
};

conf::PoolerSettings settings_of(const Files& files) {
  conf::PoolerSettings settings = conf::default_pooler_settings();
  settings.client_tls_sslmode = conf::SslMode::require;
  settings.client_tls_cert_file = files.cert;
  settings.client_tls_key_file = files.key;
  settings.server_tls_sslmode = conf::SslMode::require;
  return settings;
}

// A client of ours and a server of ours, over a pair of sockets.
struct Pair {
  int fds[2];
  std::unique_ptr<TlsStream> accepting, connecting;
  explicit Pair(const TlsContexts& contexts) {
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0) throw std::runtime_error("no sockets");
    const int room = 1 << 20;
    for (const int fd : fds) ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    accepting = std::make_unique<TlsStream>(contexts.clients, fds[0]);
    connecting = std::make_unique<TlsStream>(contexts.servers, fds[1], "localhost");
  }
  ~Pair() {
    ::close(fds[0]);
    ::close(fds[1]);
  }
  static void leave(int fd, std::string& made) {
    ASSERT_EQ(::send(fd, made.data(), made.size(), 0), static_cast<ssize_t>(made.size()));
    made.clear();
  }
  void shake_hands() {
    std::string made;
    auto one = TlsStream::Step::more, other = TlsStream::Step::more;
    for (int i = 0; i < 10 && (one != TlsStream::Step::done || other != TlsStream::Step::done); ++i) {
      if (other == TlsStream::Step::more) other = connecting->handshake(made);
      if (!made.empty()) leave(fds[1], made);
      if (one == TlsStream::Step::more) one = accepting->handshake(made);
      if (!made.empty()) leave(fds[0], made);
    }
    ASSERT_EQ(one, TlsStream::Step::done) << accepting->problem();
    ASSERT_EQ(other, TlsStream::Step::done) << connecting->problem();
  }
  void say(std::string_view text) {
    std::string made;
    const pool::Slice slice{text.data(), text.size()};
    ASSERT_TRUE(connecting->encrypt({&slice, 1}, made));
    leave(fds[1], made);
  }
};

std::string pattern(size_t size, unsigned seed) {
  std::string text(size, ' ');
  for (char& byte : text) byte = static_cast<char>((seed = seed * 1103515245 + 12345) >> 16);
  return text;
}

TEST(TlsDigest, IsOfTheSignaturesFunction) {
  const struct {
    const char* name;
    const EVP_MD* signature;
    const EVP_MD* expected;  // null: no channel binding
  } rows[] = {{"sha1", EVP_sha1(), EVP_sha256()},
              {"sha256", EVP_sha256(), EVP_sha256()},
              {"sha384", EVP_sha384(), EVP_sha384()},
              {"sha512", EVP_sha512(), EVP_sha512()},
              {"ed25519", nullptr, nullptr}};
  for (const auto& row : rows) {
    Key key(row.signature == nullptr);
    X509* certificate = make_certificate(key.key, row.signature, "x");
    std::string expected;
    if (row.expected != nullptr) {
      unsigned char digest[EVP_MAX_MD_SIZE];
      unsigned int size = 0;
      X509_digest(certificate, row.expected, digest, &size);
      expected.assign(reinterpret_cast<const char*>(digest), size);
    }
    EXPECT_EQ(certificate_digest(certificate), expected) << row.name;
    X509_free(certificate);
  }
  EXPECT_EQ(certificate_digest(nullptr), "");
}

TEST(TlsContexts, AMarkChangesWithWhatServersSee) {
  Files files, others;
  conf::PoolerSettings settings = settings_of(files);
  const auto first = load_tls(settings);
  ASSERT_TRUE(first) << first.error().text;
  EXPECT_EQ(load_tls(settings)->servers_mark, first->servers_mark);
  settings.client_tls_ciphers = "HIGH";
  EXPECT_EQ(load_tls(settings)->servers_mark, first->servers_mark);
  settings.server_tls_ca_file = files.cert;
  const auto with_ca = load_tls(settings);
  ASSERT_TRUE(with_ca);
  EXPECT_NE(with_ca->servers_mark, first->servers_mark);
  ASSERT_EQ(std::rename(others.cert.c_str(), files.cert.c_str()), 0);
  settings.client_tls_key_file = others.key;
  const auto replaced = load_tls(settings);
  ASSERT_TRUE(replaced) << replaced.error().text;
  EXPECT_NE(replaced->servers_mark, with_ca->servers_mark);
  settings.server_tls_sslmode = conf::SslMode::disable;
  EXPECT_EQ(load_tls(settings)->servers, nullptr);
}

TEST(TlsStream, BytesArriveWholeWhateverTheReaderTakes) {
  Files files;
  const auto contexts = load_tls(settings_of(files));
  ASSERT_TRUE(contexts) << contexts.error().text;
  for (const size_t taken : {size_t{1000}, size_t{16384}, size_t{65536}}) {
    Pair pair(*contexts), noise(*contexts);
    pair.shake_hands();
    noise.shake_hands();
    const std::string sent = pattern(150'000, 7);
    pair.say(sent);
    std::string received, ignored;
    std::vector<char> into(taken);
    size_t got = 0;
    for (int i = 0; i < 1000 && received.size() < sent.size(); ++i) {
      noise.say("something in between, through the same thread's buffer");
      char other[100];
      ASSERT_EQ(noise.accepting->decrypt(other, sizeof other, got, ignored), Read::data);
      ASSERT_EQ(pair.accepting->decrypt(into.data(), into.size(), got, ignored), Read::data);
      if (received.size() + got < sent.size()) {
        EXPECT_FALSE(pair.accepting->took_all() && got == taken);
      }
      received.append(into.data(), got);
    }
    EXPECT_TRUE(received == sent) << taken;
    EXPECT_EQ(pair.accepting->decrypt(into.data(), into.size(), got, ignored), Read::nothing);
    EXPECT_TRUE(pair.accepting->took_all());
  }
}

TEST(TlsStream, WhatComesWithTheEndOfTheHandshakeIsKept) {
  Files files;
  const auto contexts = load_tls(settings_of(files));
  ASSERT_TRUE(contexts);
  Pair pair(*contexts);
  std::string to_client, to_server;
  EXPECT_EQ(pair.connecting->handshake(to_server), TlsStream::Step::more);
  Pair::leave(pair.fds[1], to_server);
  EXPECT_EQ(pair.accepting->handshake(to_client), TlsStream::Step::more);
  Pair::leave(pair.fds[0], to_client);
  EXPECT_EQ(pair.connecting->handshake(to_server), TlsStream::Step::done);
  const std::string text = pattern(5000, 3);
  const pool::Slice slices[] = {{text.data(), 2000}, {text.data() + 2000, 3000}};
  EXPECT_TRUE(pair.connecting->encrypt(slices, to_server));
  Pair::leave(pair.fds[1], to_server);
  EXPECT_EQ(pair.accepting->handshake(to_client), TlsStream::Step::done);
  char into[8192];
  size_t got = 0;
  EXPECT_EQ(pair.accepting->decrypt(into, sizeof into, got, to_client), Read::data);
  EXPECT_EQ(std::string_view(into, got), text);
  EXPECT_NE(pair.accepting->text().find("TLSv1.3/TLS_AES_"), std::string::npos);
  EXPECT_NE(pair.accepting->text().find("/ECDH="), std::string::npos);
  EXPECT_EQ(pair.connecting->peer_digest(), contexts->clients->digest);
}

TEST(TlsStream, AGoodbyeEndsIt) {
  Files files;
  const auto contexts = load_tls(settings_of(files));
  Pair pair(*contexts);
  pair.shake_hands();
  std::string made;
  pair.connecting->say_goodbye(made);
  Pair::leave(pair.fds[1], made);
  char into[100];
  size_t got = 0;
  EXPECT_EQ(pair.accepting->decrypt(into, sizeof into, got, made), Read::closed);
}

TEST(TlsStream, FullVerificationLooksAtTheName) {
  const struct {
    const char* name;
    bool fine;
  } rows[] = {{"localhost", true}, {"elsewhere", false}};
  for (const auto& row : rows) {
    Files files(row.name);
    conf::PoolerSettings settings = settings_of(files);
    settings.server_tls_sslmode = conf::SslMode::verify_full;
    settings.server_tls_ca_file = files.cert;
    const auto contexts = load_tls(settings);
    ASSERT_TRUE(contexts) << contexts.error().text;
    Pair pair(*contexts);
    std::string made;
    pair.connecting->handshake(made);
    Pair::leave(pair.fds[1], made);
    pair.accepting->handshake(made);
    Pair::leave(pair.fds[0], made);
    EXPECT_EQ(pair.connecting->handshake(made), row.fine ? TlsStream::Step::done : TlsStream::Step::failed) << pair.connecting->problem();
  }
}

TEST(TlsStream, ANameWithANulIsNoName) {
  const struct {
    std::string_view name, expected;
  } rows[] = {{"app", "app"}, {std::string_view("app\0.evil", 9), ""}};
  for (const auto& row : rows) {
    Files files(row.name);
    conf::PoolerSettings settings = settings_of(files);
    settings.client_tls_sslmode = conf::SslMode::verify_ca;
    settings.client_tls_ca_file = settings.server_tls_cert_file = files.cert;
    settings.server_tls_key_file = files.key;
    const auto contexts = load_tls(settings);
    ASSERT_TRUE(contexts) << contexts.error().text;
    Pair pair(*contexts);
    pair.shake_hands();
    EXPECT_TRUE(pair.accepting->peer_has_certificate());
    EXPECT_EQ(pair.accepting->common_name(), row.expected);
  }
}

TEST(TlsStream, WithoutARequestTheProtocolHasToBeNamed) {
  Files files;
  const auto contexts = load_tls(settings_of(files));
  for (const bool named : {true, false}) {
    if (!named) SSL_CTX_set_alpn_protos(contexts->servers->handle, nullptr, 0);
    Pair pair(*contexts);
    std::string made;
    pair.connecting->handshake(made);
    pair.accepting->began_at_once(std::exchange(made, {}));
    EXPECT_EQ(pair.accepting->handshake(made), TlsStream::Step::more);
    Pair::leave(pair.fds[0], made);
    EXPECT_EQ(pair.connecting->handshake(made), TlsStream::Step::done);
    Pair::leave(pair.fds[1], made);
    EXPECT_EQ(pair.accepting->handshake(made), named ? TlsStream::Step::done : TlsStream::Step::failed);
  }
}

}  // namespace
}  // namespace pgdba::pooler
