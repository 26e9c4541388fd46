#include "conf/pooler_hba.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "conf/acl_tokens.h"
#include "conf/pooler_values.h"

namespace pgdba::conf {

namespace {

constexpr size_t kMaxProblems = 100;
constexpr int kMaxLevels = 10;        // of @file within @file
constexpr size_t kMaxFiles = 1000;    // read for one hba file
constexpr size_t kMaxNames = 100000;  // in the whole file; beyond it something is wrong with a list

using Tokens = std::vector<AclToken>;

std::string beside(const std::string& parent, std::string_view path) {
  auto slash = parent.rfind('/');
  if (path.starts_with('/') || slash == std::string::npos) return std::string(path);
  return parent.substr(0, slash + 1) + std::string(path);
}

std::optional<HbaRule::Type> type_of(const AclToken& token) {
  if (token.is("local")) return HbaRule::Type::local;
  if (token.is("host")) return HbaRule::Type::host;
  if (token.is("hostssl")) return HbaRule::Type::hostssl;
  if (token.is("hostnossl")) return HbaRule::Type::hostnossl;
  return std::nullopt;
}

std::optional<HbaMethod> method_of(const AclToken& token) {
  if (token.is("trust")) return HbaMethod::trust;
  if (token.is("reject")) return HbaMethod::reject;
  if (token.is("md5")) return HbaMethod::md5;
  if (token.is("password")) return HbaMethod::password;
  if (token.is("scram-sha-256")) return HbaMethod::scram_sha_256;
  if (token.is("cert")) return HbaMethod::cert;
  if (token.is("peer")) return HbaMethod::peer;
  return std::nullopt;
}

class Parser {
 public:
  Parser(Hba& out, const FileReader& include) : out_(out), include_(include) {}

  void file(const std::string& path, std::string_view text) {
    for (int number = 1; !text.empty(); ++number) {
      auto end = text.find('\n');
      place_ = fmt::format("{}:{}", path, number);
      tokens_.clear();
      at_ = 0;
      auto tokens = parse_acl_tokens(text.substr(0, end));
      if (!tokens) {
        problem("a quote without its end");
      } else if (!tokens->empty()) {
        tokens_ = std::move(*tokens);
        HbaRule rule;
        rule.line = number;
        if (line(path, rule)) out_.rules.push_back(std::move(rule));
      }
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
  }

 private:
  bool problem(std::string_view sentence) {
    if (out_.problems.size() < kMaxProblems) out_.problems.push_back(fmt::format("hba: {} ({})", sentence, place_));
    return false;
  }
  [[nodiscard]] const AclToken* peek() const { return at_ < tokens_.size() ? &tokens_[at_] : nullptr; }

  bool line(const std::string& path, HbaRule& rule) {
    auto type = type_of(tokens_[0]);
    if (!type) return problem(fmt::format("unknown type \"{}\"", shown(tokens_[0].text)));
    rule.type = *type;
    at_ = 1;
    if (!names(tokens_, at_, path, true, rule.databases, 0) || !names(tokens_, at_, path, false, rule.users, 0))
      return false;
    if (rule.type != HbaRule::Type::local && !address(rule)) return false;
    return method(rule);
  }

  // One list "a, b,@file": a name, and another one after each comma.
  bool names(const Tokens& tokens, size_t& at, const std::string& path, bool databases, HbaNames& out, int level) {
    for (;; ++at) {
      if (at >= tokens.size()) return problem("the line ends too early");
      if (!name(tokens[at], path, databases, out, level)) return false;
      ++at;
      if (at >= tokens.size() || tokens[at].kind != AclToken::Kind::comma) return true;
    }
  }

  bool name(const AclToken& token, const std::string& path, bool databases, HbaNames& out, int level) {
    const std::string& text = token.text;
    if (token.kind == AclToken::Kind::comma) return problem("a name is missing at a comma");
    if (token.kind == AclToken::Kind::word) {
      if (text == "all") return out.all = true;
      if (databases && text == "sameuser") return out.same_user = true;
      if (databases && text == "replication") return out.replication = true;
      if (databases && (text == "samerole" || text == "samegroup")) return problem(text + " is not supported");
      if (text.front() == '+') return problem("groups are not supported");
      if (text.front() == '/') return problem("regular expressions are not supported");
      if (text.front() == '@') return name_file(beside(path, std::string_view(text).substr(1)), databases, out, level);
    }
    if (++names_ > kMaxNames) return problem("too many names");
    out.names.push_back(text);
    return true;
  }

  bool name_file(const std::string& path, bool databases, HbaNames& out, int level) {
    if (level >= kMaxLevels || ++files_ > kMaxFiles) return problem("too many levels of @file");
    auto text = include_ ? include_(path) : fail(Errc::not_found, "files cannot be read here");
    if (!text) return problem(fmt::format("could not read \"{}\": {}", shown(path), text.error().text));
    for (const std::string& row : split(*text, '\n')) {
      auto tokens = parse_acl_tokens(row);
      if (!tokens) return problem(fmt::format("a quote without its end in \"{}\"", shown(path)));
      for (const AclToken& token : *tokens) {  // with or without commas
        if (token.kind != AclToken::Kind::comma && !name(token, path, databases, out, level + 1)) return false;
      }
    }
    return true;
  }

  bool address(HbaRule& rule) {
    const AclToken* token = peek();
    if (token == nullptr || token->kind == AclToken::Kind::comma) return problem("the address is missing");
    ++at_;
    if (token->is("all")) return rule.any_address = true;
    std::string_view text = token->text;
    auto slash = text.find('/');
    auto base = parse_ip(text.substr(0, slash));
    if (!base) return problem(fmt::format("\"{}\" is not an address", shown(text)));
    if (slash != std::string_view::npos) {
      auto bits = parse_int(text.substr(slash + 1));
      auto range = bits ? make_range(*base, *bits) : std::nullopt;
      if (!range) return problem(fmt::format("invalid mask in \"{}\"", shown(text)));
      rule.range = *range;
    } else {
      const AclToken* word = peek();
      auto mask = word != nullptr ? parse_ip(word->text) : std::nullopt;
      if (!mask || mask->size != base->size) return problem(fmt::format("no mask follows \"{}\"", shown(text)));
      ++at_;
      rule.range = {*base, *mask};
    }
    if (rule.range.has_bits_outside_mask())
      (void)problem(fmt::format("address \"{}\" does not fit its mask, so the line matches nobody", shown(text)));
    return true;
  }

  bool method(HbaRule& rule) {
    const AclToken* token = peek();
    if (token == nullptr) return problem("the method is missing");
    ++at_;
    if (token->is("ldap")) {
      rule.method = HbaMethod::reject;
      (void)problem("method ldap is not supported yet, the line rejects");
      return true;
    }
    auto method = method_of(*token);
    if (!method) return problem(fmt::format("unsupported method \"{}\"", shown(token->text)));
    rule.method = *method;
    while ((token = peek()) != nullptr) {
      ++at_;
      bool may_map = rule.method == HbaMethod::cert || rule.method == HbaMethod::peer;
      if (!may_map || token->kind != AclToken::Kind::word || !token->text.starts_with("map="))
        return problem(fmt::format("unsupported option \"{}\"", shown(token->text)));
      rule.map = token->text.substr(4);
      const AclToken* rest = peek();
      if (rule.map.empty() && rest != nullptr && rest->glued && rest->kind == AclToken::Kind::quoted) {
        rule.map = rest->text;
        ++at_;
      }
      if (rule.map.empty()) return problem("map= needs a name");
    }
    return true;
  }

  Hba& out_;
  const FileReader& include_;
  std::string place_;
  Tokens tokens_;
  size_t at_ = 0;
  size_t files_ = 0;
  size_t names_ = 0;
};

bool has(const HbaNames& names, std::string_view name) {
  return std::ranges::find(names.names, name) != names.names.end();
}

bool fits_connection(const HbaRule& rule, const HbaClient& client) {
  if (client.address.size == 0) return rule.type == HbaRule::Type::local;
  if (rule.type == HbaRule::Type::local) return false;
  if (rule.type == HbaRule::Type::hostssl && !client.tls) return false;
  if (rule.type == HbaRule::Type::hostnossl && client.tls) return false;
  return rule.any_address || rule.range.contains(client.address);
}

// As in PostgreSQL "all" and names are not for physical replication, which is not about a database.
bool fits_database(const HbaRule& rule, const HbaClient& client) {
  if (client.physical_replication) return rule.databases.replication;
  return rule.databases.all || (rule.databases.same_user && client.database == client.user) ||
         has(rule.databases, client.database);
}

}  // namespace

Hba parse_hba(const std::string& path, std::string_view text, const FileReader& include) {
  Hba out;
  Parser(out, include).file(path, text);
  return out;
}

const HbaRule* match_hba(const Hba& hba, const HbaClient& client) {
  for (const HbaRule& rule : hba.rules) {
    if (fits_connection(rule, client) && fits_database(rule, client) &&
        (rule.users.all || has(rule.users, client.user)))
      return &rule;
  }
  return nullptr;
}

}  // namespace pgdba::conf
