#include "local/secrets.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <cerrno>

#include "base/text.h"
#include "local/files.h"

namespace pgdba::local {

namespace {

std::string secret_path(const ClusterFile& cluster, const char* name) {
  return fmt::format("{}/{}", cluster.secrets(), name);
}

Result<Secret> read_secret(const std::string& path) {
  auto text = read_file(path, 4096);
  if (!text) return tl::unexpected(text.error());
  auto value = trim(*text);
  if (value.empty()) return fail(Errc::invalid, path + " is empty");
  return Secret(std::string(value));
}

Result<Secret> ensure_secret(const std::string& path) {
  auto old = read_secret(path);
  if (old || old.error().code != Errc::not_found) return old;
  auto made = generate_secret();
  if (!made) return made;
  if (auto done = write_atomic(path, made->reveal() + "\n"); !done) return tl::unexpected(done.error());
  return made;
}

}  // namespace

Result<Secret> generate_secret() {
  constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  std::string out;
  while (out.size() < 32) {
    unsigned char bytes[64];
    ssize_t n = ::getrandom(bytes, sizeof bytes, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return tl::unexpected(errno_error("getrandom"));
    for (ssize_t i = 0; i < n && out.size() < 32; ++i) {
      // 248 is the largest multiple of 62 in a byte; what is above would favour the first letters.
      if (bytes[i] < 248) out += alphabet[bytes[i] % alphabet.size()];
    }
  }
  return Secret(std::move(out));
}

Result<Secrets> ensure_secrets(const ClusterFile& cluster) {
  if (auto done = make_private_folder(cluster.secrets()); !done) return tl::unexpected(done.error());
  Secrets out;
  for (auto [name, secret] : {std::pair{"superuser", &out.superuser},
                              {"replication", &out.replication},
                              {"rewind", &out.rewind},
                              {"rest", &out.rest},
                              {"pooler", &out.pooler}}) {
    auto value = ensure_secret(secret_path(cluster, name));
    if (!value) return tl::unexpected(value.error());
    *secret = std::move(*value);
  }
  return out;
}

Result<Secret> read_rest_secret(const ClusterFile& cluster) {
  return read_secret(secret_path(cluster, "rest"));
}

Result<void> write_rest_secret(const ClusterFile& cluster, const Secret& secret) {
  std::string path = secret_path(cluster, "rest");
  return secret.empty() ? remove_tree(path) : write_atomic(path, secret.reveal() + "\n");
}

Result<Secret> read_pooler_secret(const ClusterFile& cluster) {
  return read_secret(secret_path(cluster, "pooler"));
}

}  // namespace pgdba::local
