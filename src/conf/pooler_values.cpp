#include "conf/pooler_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/text.h"
#include "conf/address.h"

namespace pgdba::conf {

namespace {

constexpr size_t kMaxShown = 120;
constexpr double kLongest = 1e9;  // seconds; 31 years stand for every longer time, so that sums do not overflow

constexpr std::pair<std::string_view, PoolMode> kPoolModes[] = {
    {"session", PoolMode::session}, {"transaction", PoolMode::transaction}, {"statement", PoolMode::statement}};
constexpr std::pair<std::string_view, AuthType> kAuthTypes[] = {{"any", AuthType::any},
                                                                {"trust", AuthType::trust},
                                                                {"plain", AuthType::plain},
                                                                {"md5", AuthType::md5},
                                                                {"cert", AuthType::cert},
                                                                {"hba", AuthType::hba},
                                                                {"scram-sha-256", AuthType::scram_sha_256}};
constexpr std::pair<std::string_view, SslMode> kSslModes[] = {
    {"disable", SslMode::disable}, {"allow", SslMode::allow},         {"prefer", SslMode::prefer},
    {"require", SslMode::require}, {"verify-ca", SslMode::verify_ca}, {"verify-full", SslMode::verify_full}};

template <class Enum, size_t N>
ReadProblem read_word(std::string_view text, const std::pair<std::string_view, Enum> (&words)[N], Enum& out) {
  std::vector<std::string> names;
  for (const auto& [word, value] : words) {
    if (iequals(word, text)) {
      out = value;
      return std::nullopt;
    }
    names.emplace_back(word);
  }
  return "expected " + join(names, ", ");
}

template <class Enum, size_t N>
std::string word_of(Enum value, const std::pair<std::string_view, Enum> (&words)[N]) {
  for (const auto& [word, known] : words) {
    if (known == value) return std::string(word);
  }
  return "INVALID";
}

template <class Integer>
ReadProblem read_integer(std::string_view text, Integer& out) {
  auto value = parse_c_integer(text);
  if (!value) return "";
  if (*value < std::numeric_limits<Integer>::min() || *value > std::numeric_limits<Integer>::max())
    return "out of range";
  out = static_cast<Integer>(*value);
  return std::nullopt;
}

ReadProblem read_endpoints(std::string_view text, std::string_view plain, std::string_view secure, uint16_t port,
                           Endpoints& out) {
  Endpoints fresh;
  bool first = true;
  for (const std::string& part : split(text, ',')) {
    std::string_view address = trim(part);
    auto scheme = address.find("://");
    if (scheme != std::string_view::npos) {
      std::string_view word = address.substr(0, scheme);
      bool tls = iequals(word, secure);
      if (!tls && !iequals(word, plain))
        return fmt::format("expected {0}://host:port,... or {1}://host:port,...", plain, secure);
      if (!first && tls != fresh.tls) return fmt::format("{} and {} cannot be mixed", plain, secure);
      fresh.tls = tls;
      address.remove_prefix(scheme + 3);
    } else if (first) {
      return fmt::format("expected {0}://host:port,... or {1}://host:port,...", plain, secure);
    }
    first = false;
    if (address.ends_with('/')) address.remove_suffix(1);
    auto parsed = parse_address(address, port);
    if (!parsed) return "expected host:port after the scheme";
    fresh.addresses.push_back(*parsed);
  }
  out = fresh;
  return std::nullopt;
}

std::string write_endpoints(const Endpoints& value, std::string_view plain, std::string_view secure) {
  if (value.addresses.empty()) return "";
  std::vector<std::string> parts;
  for (const Address& address : value.addresses) parts.push_back(format_address(address));
  return fmt::format("{}://{}", value.tls ? secure : plain, join(parts, ","));
}

}  // namespace

bool NameList::contains(std::string_view name) const {
  return std::ranges::find(names, name) != names.end();
}

std::optional<int64_t> parse_c_integer(std::string_view text) {
  text = trim(text);
  bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  int base = 10;
  if (text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
    base = 16;
    text.remove_prefix(2);
  } else if (text.size() > 1 && text[0] == '0') {
    base = 8;
  }
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data(), end, value, base);
  if (text.empty() || error != std::errc() || stop != end) return std::nullopt;
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return negative ? -static_cast<int64_t>(value) : static_cast<int64_t>(value);
}

std::optional<microseconds> parse_seconds(std::string_view text) {
  text = trim(text);
  if (text.starts_with('+')) text.remove_prefix(1);
  // Digits first: from_chars would take "inf" and "nan", too.
  if (text.empty() || text.size() > 64 || (text[0] != '.' && (text[0] < '0' || text[0] > '9'))) return std::nullopt;
  double value = 0;
  const char* end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data(), end, value, std::chars_format::general);
  if (error != std::errc() || stop != end) return std::nullopt;
  return microseconds(std::llround(std::min(value, kLongest) * 1e6));
}

std::string format_seconds(microseconds time) {
  return fmt::format("{:g}", static_cast<double>(time.count()) / 1e6);
}

std::string shown(std::string_view text) {
  std::string out(text.substr(0, kMaxShown));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text.size() > kMaxShown ? out + "..." : out;
}

ReadProblem read_value(std::string_view text, std::string& out) {
  out = text;
  return std::nullopt;
}
ReadProblem read_value(std::string_view text, int32_t& out) {
  return read_integer(text, out);
}
ReadProblem read_value(std::string_view text, uint32_t& out) {
  return read_integer(text, out);
}

ReadProblem read_value(std::string_view text, bool& out) {
  auto value = parse_c_integer(text);
  if (!value) return "expected 0 or 1";
  out = *value != 0;
  return std::nullopt;
}

ReadProblem read_value(std::string_view text, seconds& out) {
  int32_t value = 0;
  if (auto problem = read_integer(text, value)) return problem->empty() ? "expected whole seconds" : problem;
  out = seconds(value);
  return std::nullopt;
}

ReadProblem read_value(std::string_view text, microseconds& out) {
  auto value = parse_seconds(text);
  if (!value) return "expected seconds";
  out = *value;
  return std::nullopt;
}

ReadProblem read_value(std::string_view text, PoolMode& out) {
  return read_word(text, kPoolModes, out);
}
ReadProblem read_value(std::string_view text, AuthType& out) {
  if (iequals(text, "pam") || iequals(text, "ldap")) return lower(text) + " is not supported yet";
  return read_word(text, kAuthTypes, out);
}
ReadProblem read_value(std::string_view text, SslMode& out) {
  return read_word(text, kSslModes, out);
}

ReadProblem read_value(std::string_view text, NameList& out) {
  NameList fresh{std::string(text), {}};
  for (const std::string& part : split(text, ',')) {
    if (auto name = trim(part); !name.empty()) fresh.names.emplace_back(name);
  }
  out = std::move(fresh);
  return std::nullopt;
}

ReadProblem read_value(std::string_view text, TlsProtocols& out) {
  TlsProtocols fresh{std::string(text)};
  for (char& c : fresh.text) {
    if (c == ':') c = ',';
  }
  for (const std::string& part : split(fresh.text, ',')) {
    std::string word = lower(trim(part));
    bool on = !word.starts_with('!');
    if (!on) word = word.substr(1);
    bool every = word == "all" || word == "legacy" || word == "tlsv1";
    bool modern = word == "secure" || word == "default";
    if (!every && !modern && word != "tlsv1.0" && word != "tlsv1.1" && word != "tlsv1.2" && word != "tlsv1.3")
      return "expected secure, all, legacy, or tlsv1.0 to tlsv1.3";
    if (every || word == "tlsv1.0") fresh.v1_0 = on;
    if (every || word == "tlsv1.1") fresh.v1_1 = on;
    if (every || modern || word == "tlsv1.2") fresh.v1_2 = on;
    if (every || modern || word == "tlsv1.3") fresh.v1_3 = on;
  }
  if (!fresh.v1_0 && !fresh.v1_1 && !fresh.v1_2 && !fresh.v1_3) return "no version is left";
  fresh.text = text;
  out = std::move(fresh);
  return std::nullopt;
}

ReadProblem read_value(std::string_view text, DcsEndpoints& out) {
  return read_endpoints(text, "etcd", "etcds", 2379, out);
}
ReadProblem read_value(std::string_view text, ApiEndpoints& out) {
  return read_endpoints(text, "http", "https", 8008, out);
}

ReadProblem read_value(std::string_view text, std::optional<Address>& out) {
  if (text.empty()) {
    out = std::nullopt;
    return std::nullopt;
  }
  auto listen = parse_listen(text, 0);
  if (!listen || listen->hosts.size() != 1) return "expected host:port";
  out = Address{listen->hosts[0] == "*" ? "" : listen->hosts[0], listen->port};
  return std::nullopt;
}

std::string write_value(const std::string& value) {
  return value;
}
std::string write_value(int32_t value) {
  return std::to_string(value);
}
std::string write_value(uint32_t value) {
  return std::to_string(value);
}
std::string write_value(bool value) {
  return value ? "1" : "0";
}
std::string write_value(seconds value) {
  return std::to_string(value.count());
}
std::string write_value(microseconds value) {
  return format_seconds(value);
}
std::string write_value(PoolMode value) {
  return word_of(value, kPoolModes);
}
std::string write_value(AuthType value) {
  return word_of(value, kAuthTypes);
}
std::string write_value(SslMode value) {
  return word_of(value, kSslModes);
}
std::string write_value(const NameList& value) {
  return value.text;
}
std::string write_value(const TlsProtocols& value) {
  return value.text;
}
std::string write_value(const DcsEndpoints& value) {
  return write_endpoints(value, "etcd", "etcds");
}
std::string write_value(const ApiEndpoints& value) {
  return write_endpoints(value, "http", "https");
}
std::string write_value(const std::optional<Address>& value) {
  if (!value) return "";
  return format_address({value->host.empty() ? "*" : value->host, value->port});
}

}  // namespace pgdba::conf
