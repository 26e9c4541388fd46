// TLS on one socket: the handshake, and bytes made unreadable and readable again.
//
// OpenSSL reads from the socket, and never writes to it: what it makes is handed to the caller and leaves as any other bytes
// do. So nothing here ever waits for the socket to take something, and a write is never repeated. Reading takes one recv()
// per call, of many records; what is left of it when the caller's buffer is full is kept for the next call.
// Invariant: no byte is read before the handshake is over that is handed out as decrypted later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "pool/host.h"
#include "pooler/tls.h"

struct ssl_st;

namespace pgdba::pooler {

enum class Read : uint8_t { data, nothing, closed };

class TlsStream {
 public:
  // Of a client that has come; to a server, which is called `host`.
  TlsStream(std::shared_ptr<const TlsContext> context, int fd);
  TlsStream(std::shared_ptr<const TlsContext> context, int fd, std::string host);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  // A client began with TLS at once: its first bytes, read before that was known. ALPN has to name PostgreSQL then.
  void began_at_once(std::string bytes);

  // In all of these: what is to leave is appended to `made`.
  enum class Step : uint8_t { done, more, failed };
  Step handshake(std::string& made);
  bool encrypt(std::span<const pool::Slice> slices, std::string& made);
  // `got` bytes, from as many records as one recv() brought. `data` without bytes: there is more to read.
  Read decrypt(char* into, size_t size, size_t& got, std::string& made);
  void say_goodbye(std::string& made);

  [[nodiscard]] bool took_all() const { return took_all_; }  // the last decrypt() left nothing, here or in the kernel
  [[nodiscard]] const std::string& problem() const { return problem_; }  // why the handshake failed
  [[nodiscard]] const std::string& host() const { return host_; }
  [[nodiscard]] const std::shared_ptr<const TlsContext>& context() const { return context_; }
  [[nodiscard]] std::string text() const;         // "TLSv1.3/TLS_AES_256_GCM_SHA384/ECDH=X25519"
  [[nodiscard]] std::string common_name() const;  // of the peer's certificate, if it has shown one; it has been checked then
  [[nodiscard]] bool peer_has_certificate() const;
  [[nodiscard]] std::string peer_digest() const;  // see certificate_digest()

 private:
  struct Plumbing;
  bool receive();
  void keep_rest();
  bool acceptable();

  std::shared_ptr<const TlsContext> context_;
  ssl_st* ssl_;
  const int fd_;
  const std::string host_;
  std::string problem_;
  std::string rest_;            // received and not looked at yet
  const char* at_ = nullptr;    // the same during a call, in `rest_` or in the thread's buffer
  const char* end_ = nullptr;
  std::string* made_ = nullptr; // during a call
  bool may_receive_ = false;    // once per call
  bool kernel_empty_ = false;
  bool took_all_ = false;
  bool ended_ = false;          // the peer has closed, or something is wrong
  bool at_once_ = false;
};

}  // namespace pgdba::pooler
