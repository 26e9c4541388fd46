#include "pooler/loop/tls_stream.h"

#include <algorithm>
#include <array>
#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <utility>

namespace pgdba::pooler {

namespace {

constexpr size_t kBuffer = 65536;
constexpr size_t kGather = 16384;  // small pieces up to a record's size leave as one record
constexpr int kEmptyRounds = 4;    // full buffers without a byte for us

// Encrypted bytes on their way into OpenSSL; nothing stays here between two calls.
std::array<char, kBuffer>& thread_buffer() {
  thread_local std::array<char, kBuffer> buffer;
  return buffer;
}

bool is_ip(const std::string& host) {
  std::array<unsigned char, 16> bytes;
  return ::inet_pton(AF_INET, host.c_str(), bytes.data()) == 1 || ::inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1;
}

std::string reason_of(SSL* ssl, int why) {
  if (const long verified = SSL_get_verify_result(ssl); verified != X509_V_OK) return X509_verify_cert_error_string(verified);
  const unsigned long code = ERR_peek_last_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  if (reason != nullptr && ERR_GET_REASON(code) != SSL_R_UNEXPECTED_EOF_WHILE_READING) return reason;
  return why == SSL_ERROR_SYSCALL || why == SSL_ERROR_ZERO_RETURN || reason != nullptr ? "the other side has closed the connection" : "error";
}

}  // namespace

// What OpenSSL takes for the socket.
struct TlsStream::Plumbing {
  static int read(BIO* bio, char* into, int size) {
    auto& stream = *static_cast<TlsStream*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (stream.at_ == stream.end_ && !stream.receive()) {
      if (stream.ended_) return 0;
      BIO_set_retry_read(bio);
      return -1;
    }
    const size_t count = std::min(static_cast<size_t>(size), static_cast<size_t>(stream.end_ - stream.at_));
    std::memcpy(into, stream.at_, count);
    stream.at_ += count;
    return static_cast<int>(count);
  }

  static int write(BIO* bio, const char* from, int size) {
    auto& stream = *static_cast<TlsStream*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (stream.made_ != nullptr) stream.made_->append(from, static_cast<size_t>(size));
    return size;
  }

  static long control(BIO* bio, int command, long, void*) {
    if (command == BIO_CTRL_EOF) return static_cast<TlsStream*>(BIO_get_data(bio))->ended_ ? 1 : 0;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP ? 1 : 0;
  }

  static int create(BIO* bio) {
    BIO_set_init(bio, 1);
    return 1;
  }

  static const BIO_METHOD* method() {
    static const BIO_METHOD* const made = [] {
      BIO_METHOD* fresh = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pooler");
      BIO_meth_set_read(fresh, read);
      BIO_meth_set_write(fresh, write);
      BIO_meth_set_ctrl(fresh, control);
      BIO_meth_set_create(fresh, create);
      return fresh;
    }();
    return made;
  }
};

TlsStream::TlsStream(std::shared_ptr<const TlsContext> context, int fd, std::string host)
    : context_(std::move(context)), ssl_(SSL_new(context_->handle)), fd_(fd), host_(std::move(host)) {
  BIO* bio = BIO_new(Plumbing::method());
  BIO_set_data(bio, this);
  SSL_set_bio(ssl_, bio, bio);
  if (host_.empty()) {
    SSL_set_accept_state(ssl_);
  } else {
    SSL_set_connect_state(ssl_);
    if (!is_ip(host_)) SSL_set_tlsext_host_name(ssl_, host_.c_str());
  }
}

TlsStream::TlsStream(std::shared_ptr<const TlsContext> context, int fd) : TlsStream(std::move(context), fd, {}) {}

TlsStream::~TlsStream() { SSL_free(ssl_); }

void TlsStream::began_at_once(std::string bytes) {
  at_once_ = true;
  rest_ = std::move(bytes);
  at_ = rest_.data();
  end_ = at_ + rest_.size();
}

// True: there are bytes to look at.
bool TlsStream::receive() {
  if (!may_receive_ || ended_) return false;
  may_receive_ = false;
  auto& buffer = thread_buffer();
  ssize_t got = 0;
  do got = ::recv(fd_, buffer.data(), buffer.size(), 0);
  while (got < 0 && errno == EINTR);
  kernel_empty_ = got < static_cast<ssize_t>(buffer.size());
  if (got > 0) {
    at_ = buffer.data();
    end_ = at_ + got;
    return true;
  }
  ended_ = got == 0 || errno != EAGAIN;
  return false;
}

// At the end of each call: the thread's buffer is the next connection's.
void TlsStream::keep_rest() {
  made_ = nullptr;
  const auto left = static_cast<size_t>(end_ - at_);
  if (left == 0) {
    if (!rest_.empty()) std::string().swap(rest_);
    at_ = end_ = nullptr;
    return;
  }
  if (end_ == rest_.data() + rest_.size()) return;  // there already
  rest_.assign(at_, left);
  at_ = rest_.data();
  end_ = at_ + left;
}

TlsStream::Step TlsStream::handshake(std::string& made) {
  made_ = &made;
  Step step = Step::more;
  for (;;) {
    may_receive_ = true;
    kernel_empty_ = true;
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_);
    if (result == 1) {
      step = acceptable() ? Step::done : Step::failed;
      break;
    }
    const int why = SSL_get_error(ssl_, result);
    if (why == SSL_ERROR_WANT_READ && !kernel_empty_) continue;
    if (why != SSL_ERROR_WANT_READ) {
      problem_ = reason_of(ssl_, why);
      step = Step::failed;
    }
    break;
  }
  ERR_clear_error();
  keep_rest();
  return step;
}

// What OpenSSL has not looked at itself.
bool TlsStream::acceptable() {
  if (at_once_) {
    const unsigned char* protocol = nullptr;
    unsigned int size = 0;
    SSL_get0_alpn_selected(ssl_, &protocol, &size);
    if (size == 0) problem_ = "TLS without a request for it has to name the protocol (ALPN)";
  }
  if (!host_.empty() && context_->mode == conf::SslMode::verify_full) {
    X509* shown = SSL_get1_peer_certificate(ssl_);
    const bool named = shown != nullptr && ((is_ip(host_) && X509_check_ip_asc(shown, host_.c_str(), 0) == 1) ||
                                            X509_check_host(shown, host_.data(), host_.size(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, nullptr) == 1);
    X509_free(shown);
    if (!named) problem_ = "the server's certificate is not for host \"" + host_ + "\"";
  }
  return problem_.empty();
}

bool TlsStream::encrypt(std::span<const pool::Slice> slices, std::string& made) {
  made_ = &made;
  thread_local std::string gathered;
  bool fine = true;
  const auto write = [&](const char* data, size_t size) {
    size_t written = 0;
    fine = fine && (size == 0 || SSL_write_ex(ssl_, data, size, &written) == 1);
  };
  ERR_clear_error();
  for (const pool::Slice& slice : slices) {
    if (slices.size() > 1 && gathered.size() + slice.size <= kGather) {
      gathered.append(slice.data, slice.size);
      continue;
    }
    write(gathered.data(), gathered.size());
    gathered.clear();
    write(slice.data, slice.size);
  }
  write(gathered.data(), gathered.size());
  gathered.clear();
  keep_rest();
  return fine;
}

Read TlsStream::decrypt(char* into, size_t size, size_t& got, std::string& made) {
  got = 0;
  took_all_ = false;
  made_ = &made;
  may_receive_ = true;
  kernel_empty_ = true;
  bool open = true;
  ERR_clear_error();
  for (int empty = 0; got < size;) {
    size_t count = 0;
    const int result = SSL_read_ex(ssl_, into + got, size - got, &count);
    if (result == 1) {
      got += count;
      continue;
    }
    if (SSL_get_error(ssl_, result) != SSL_ERROR_WANT_READ) {
      open = false;
      break;
    }
    if (got == 0 && !kernel_empty_ && ++empty < kEmptyRounds) {
      may_receive_ = true;
      kernel_empty_ = true;
      continue;
    }
    took_all_ = kernel_empty_;
    break;
  }
  ERR_clear_error();
  keep_rest();
  if (got > 0) return Read::data;
  if (!open) return Read::closed;
  return took_all_ ? Read::nothing : Read::data;
}

void TlsStream::say_goodbye(std::string& made) {
  made_ = &made;
  ERR_clear_error();
  SSL_shutdown(ssl_);
  ERR_clear_error();
  keep_rest();
}

std::string TlsStream::text() const {
  std::string text = std::string(SSL_get_version(ssl_)) + "/" + SSL_get_cipher_name(ssl_);
  const int group = static_cast<int>(SSL_get_negotiated_group(ssl_));
  const char* name = (group & TLSEXT_nid_unknown) != 0 || group == NID_undef ? nullptr : OBJ_nid2sn(group);
  if (name != nullptr) text += std::string("/ECDH=") + name;
  return text;
}

bool TlsStream::peer_has_certificate() const { return SSL_get0_peer_certificate(ssl_) != nullptr; }

std::string TlsStream::common_name() const {
  X509* shown = SSL_get0_peer_certificate(ssl_);
  if (shown == nullptr || SSL_get_verify_result(ssl_) != X509_V_OK) return {};
  X509_NAME* subject = X509_get_subject_name(shown);
  const int index = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (index < 0) return {};
  unsigned char* utf8 = nullptr;
  const int size = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, index)));
  if (size < 0) return {};
  std::string name(reinterpret_cast<const char*>(utf8), static_cast<size_t>(size));
  OPENSSL_free(utf8);
  if (name.find('\0') != std::string::npos) return {};  // somebody's trick
  return name;
}

std::string TlsStream::peer_digest() const { return certificate_digest(SSL_get0_peer_certificate(ssl_)); }

}  // namespace pgdba::pooler
