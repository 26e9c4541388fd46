#include "conf/userlist.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "base/base64.h"
#include "base/text.h"
#include "conf/pooler_entries.h"

namespace pgdba::conf {

namespace {

constexpr size_t kMaxErrors = 100;
constexpr size_t kMd5Length = 35;
constexpr size_t kKeyLength = 32;

// Takes "…" off the text, which begins with the quote.
std::optional<std::string> take_quoted(std::string_view& text) {
  std::string out;
  for (size_t at = 1; at < text.size(); ++at) {
    if (text[at] == '"') {
      ++at;
      if (at == text.size() || text[at] != '"') {
        text.remove_prefix(at);
        return out;
      }
    }
    out += text[at];
  }
  return std::nullopt;
}

// SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey
std::optional<ScramVerifier> parse_verifier(std::string_view text) {
  constexpr std::string_view prefix = "SCRAM-SHA-256$";
  if (!text.starts_with(prefix)) return std::nullopt;
  text.remove_prefix(prefix.size());
  auto dollar = text.find('$');
  if (dollar == std::string_view::npos) return std::nullopt;
  std::string_view front = text.substr(0, dollar);
  std::string_view keys = text.substr(dollar + 1);
  auto salt_at = front.find(':');
  auto server_at = keys.find(':');
  if (salt_at == std::string_view::npos || server_at == std::string_view::npos) return std::nullopt;
  auto iterations = parse_int(front.substr(0, salt_at));
  auto salt = base64_decode(front.substr(salt_at + 1));
  auto stored = base64_decode(keys.substr(0, server_at));
  auto server = base64_decode(keys.substr(server_at + 1));
  if (!iterations || *iterations < 1 || *iterations > std::numeric_limits<int32_t>::max()) return std::nullopt;
  if (!salt || salt->empty() || !stored || !server) return std::nullopt;
  if (stored->size() != kKeyLength || server->size() != kKeyLength) return std::nullopt;
  return ScramVerifier{static_cast<uint32_t>(*iterations), *salt, Secret(*stored), Secret(*server)};
}

bool is_md5(std::string_view text) {
  auto hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return text.size() == kMd5Length && text.starts_with("md5") && std::ranges::all_of(text.substr(3), hex);
}

// What is wrong with the line, or "".
std::string_view parse_line(std::string_view line, Userlist& out) {
  line = trim(line);
  if (line.empty() || line.front() == ';') return "";
  if (line.find('\0') != std::string_view::npos) return "a zero byte";
  if (line.front() != '"') return "a line must begin with a name in double quotes";
  auto name = take_quoted(line);
  if (!name) return "the name has no closing quote";
  auto quote = line.find('"');
  if (quote == std::string_view::npos) return "no secret in double quotes follows the name";
  line.remove_prefix(quote);
  auto secret = take_quoted(line);
  if (!secret) return "the secret has no closing quote";
  if (name->size() > kMaxUserName) return "the name is too long";
  if (secret->size() > kMaxSecret) return "the secret is too long";
  out.users[*name] = Secret(*secret);
  return "";
}

}  // namespace

StoredSecret classify_secret(const Secret& secret) {
  if (secret.empty()) return EmptySecret{};
  if (is_md5(secret.reveal())) return Md5Secret{secret};
  if (auto verifier = parse_verifier(secret.reveal())) return *verifier;
  return PlainSecret{secret};
}

const Secret* Userlist::find(std::string_view name) const {
  auto found = users.find(name);
  return found != users.end() ? &found->second : nullptr;
}

Userlist parse_userlist(const std::string& path, std::string_view text) {
  Userlist out;
  for (size_t number = 1; !text.empty(); ++number) {
    auto end = text.find('\n');
    std::string_view problem = parse_line(text.substr(0, end), out);
    if (!problem.empty() && out.errors.size() < kMaxErrors)
      out.errors.push_back(fmt::format("broken auth file ({}:{}): {}", path, number, problem));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return out;
}

}  // namespace pgdba::conf
