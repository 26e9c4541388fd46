#include "pg/hba.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/text.h"

namespace pgdba::pg {

namespace {

constexpr std::string_view kHeader = "# Written by pgdba. Edits are lost: configure postgresql.pg_hba instead.\n";
constexpr std::string_view kClosed = "# pgdba gate: closed\n";
constexpr std::string_view kOpen = "# pgdba gate: open\n";

struct Token {
  std::string text;
  bool quoted = false;  // keywords lose their meaning in quotes
};
using Field = std::vector<Token>;

// Fields are separated by blanks; a field is a list separated by commas, after which blanks may follow.
std::vector<Field> parse_fields(std::string_view line) {
  std::vector<Field> fields;
  size_t at = 0;
  bool continues = false;
  while (at < line.size()) {
    char c = line[at];
    if (c == ' ' || c == '\t' || c == '\r') {
      ++at;
      continue;
    }
    if (c == '#') break;
    if (c == ',') {
      continues = true;
      ++at;
      continue;
    }
    Token token;
    bool in_quotes = false;
    for (; at < line.size(); ++at) {
      c = line[at];
      if (c == '"') {
        in_quotes = !in_quotes;
        token.quoted = true;
      } else if (!in_quotes && (c == ' ' || c == '\t' || c == '\r' || c == ',' || c == '#')) {
        break;
      } else {
        token.text += c;
      }
    }
    if (continues && !fields.empty()) {
      fields.back().push_back(std::move(token));
    } else {
      fields.push_back({std::move(token)});
    }
    continues = at < line.size() && line[at] == ',';
    if (continues) ++at;
  }
  return fields;
}

bool matches(const Field& field, std::string_view name) {
  return std::ranges::any_of(
      field, [&](const Token& token) { return (!token.quoted && token.text == "all") || token.text == name; });
}

std::string quote(std::string_view name) {
  std::string out = "\"";
  for (char c : name) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

bool looks_like_ip(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789abcdefABCDEF:.") == std::string_view::npos &&
         text.find_first_of(".:") != std::string_view::npos;
}

struct Line {
  bool local = false;
  std::string type;
  Field database, user;
  std::string address;  // with a separate mask, if there is one
  std::string method;
  std::string options;
};

std::string quote_if_needed(std::string_view text) {
  return text.find_first_of(" \t,#\"") == std::string_view::npos ? std::string(text) : quote(text);
}

// Why PostgreSQL would refuse it, or nothing.
std::string parse_line(std::string_view text, int major, std::optional<Line>& out) {
  std::vector<Field> fields = parse_fields(text);
  if (fields.empty()) return {};
  Line line;
  line.type = fields[0][0].text;
  if (line.type == "include" || line.type == "include_if_exists" || line.type == "include_dir") {
    return major >= 16 ? "" : "include needs PostgreSQL 16";
  }
  constexpr std::string_view types[] = {"local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"};
  if (std::ranges::find(types, line.type) == std::end(types))
    return fmt::format("unknown connection type '{}'", line.type);
  line.local = line.type == "local";
  size_t at = 3;
  if (fields.size() < (line.local ? 4U : 5U)) return "it is not complete";
  line.database = fields[1];
  line.user = fields[2];
  if (!line.local) {
    line.address = fields[3][0].text;
    at = 4;
    if (looks_like_ip(line.address)) {
      if (!looks_like_ip(fields[4][0].text)) return fmt::format("'{}' has no mask", line.address);
      line.address += " " + fields[4][0].text;
      at = 5;
    }
  }
  if (at >= fields.size()) return "it has no method";
  line.method = fields[at][0].text;
  constexpr std::string_view methods[] = {"trust",  "reject", "scram-sha-256", "md5",  "password",
                                          "gss",    "sspi",   "ident",         "peer", "ldap",
                                          "radius", "cert",   "pam",           "bsd",  "oauth"};
  if (std::ranges::find(methods, line.method) == std::end(methods))
    return fmt::format("unknown method '{}'", line.method);
  for (size_t i = at + 1; i < fields.size(); ++i) {
    std::vector<std::string> parts;
    for (const Token& token : fields[i]) parts.push_back(token.text);
    std::string option = join(parts, ",");
    if (option.find('=') == std::string::npos) return fmt::format("'{}' is not of the form name=value", option);
    line.options += " " + quote_if_needed(option);
  }
  out = std::move(line);
  return {};
}

// How the superuser gets in through our socket: as the operator's first matching line says, if that works for us.
std::string own_method(const Settings& settings, const std::vector<Line>& lines, const std::string& os_user) {
  const Login& login = settings.superuser;
  for (const Line& line : lines) {
    if (!line.local || !matches(line.database, settings.database) || !matches(line.user, login.user)) continue;
    bool by_password = line.method == "scram-sha-256" || line.method == "md5" || line.method == "password";
    bool by_name = line.method == "peer" && (os_user == login.user || !line.options.empty());
    if (line.method == "trust" || (by_password && !login.password.empty()) || by_name)
      return line.method + line.options;
    break;
  }
  return login.password.empty() ? "peer" : "scram-sha-256";
}

}  // namespace

Hba render_hba(const Settings& settings, const std::vector<std::string>& lines, bool gate_closed,
               const std::string& os_user, int major) {
  Hba out;
  std::vector<Line> parsed;
  std::string configured;
  for (const std::string& line : lines) {
    std::string_view text = trim(line);
    std::optional<Line> one;
    if (text.find('\n') != std::string_view::npos) {
      out.warnings.push_back(fmt::format("pg_hba line '{}' was left out: it holds a line end", text));
      continue;
    }
    if (std::string why = parse_line(text, major, one); !why.empty()) {
      out.warnings.push_back(fmt::format("pg_hba line '{}' was left out: {}", text, why));
      continue;
    }
    if (one) parsed.push_back(*one);
    configured += fmt::format("{}\n", text);
  }
  const std::string own = own_method(settings, parsed, os_user);
  out.text = std::string(kHeader) + std::string(gate_closed ? kClosed : kOpen);
  out.text += "# the agent itself\n";
  out.text += fmt::format("local all {} {}\n", quote(settings.superuser.user), own);
  out.text += fmt::format("local replication {} {}\n", quote(settings.superuser.user), own);
  if (gate_closed) {
    out.text += "# pg_rewind of the other members\n";
    const std::string& rewind = settings.rewind_login().user;
    for (const Line& line : parsed) {
      if (line.local || !matches(line.database, settings.database) || !matches(line.user, rewind)) continue;
      out.text += fmt::format("{} {} {} {} {}{}\n", line.type, quote(settings.database), quote(rewind), line.address,
                              line.method, line.options);
    }
    out.text += "# nobody else until this member is known to be right\n";
    out.text += "local all all reject\n";
    out.text += "host all all all reject\n";
  }
  out.text += "# as configured\n" + configured;
  return out;
}

bool is_our_hba(std::string_view text) {
  return text.starts_with(kHeader);
}

bool hba_gate_closed(std::string_view text) {
  return is_our_hba(text) && text.substr(kHeader.size()).starts_with(kClosed);
}

}  // namespace pgdba::pg
