#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include "base/text.h"
#include "net/process.h"
#include "pg/config_files.h"
#include "pg/durable.h"
#include "pg/hba.h"
#include "pg/history.h"
#include "pg/own_settings.h"

namespace pgdba::pg {

namespace {

using model::PgConfig;

std::string os_user() {
  char buffer[4096];
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(::geteuid(), &entry, buffer, sizeof buffer, &found) != 0 || found == nullptr) return {};
  return found->pw_name;
}

// "name = value" or "name value"; comments and blank lines have no name.
std::string setting_name(std::string_view line) {
  line = trim(line);
  if (line.starts_with('#')) return {};
  return lower(line.substr(0, line.find_first_of(" \t=")));
}

// The original postgresql.conf becomes the base, once. A crash between the two steps leaves no postgresql.conf, and
// then the base is there already.
Result<void> keep_base(const Layout& layout) {
  auto there = read_file(layout.postgresql_conf());
  if (there && !is_our_conf(*there)) {
    if (exists(layout.base_conf())) return {};  // a file of another agent's, Patroni's say, which has the same base
    return rename_durably(layout.postgresql_conf(), layout.base_conf());
  }
  if (!exists(layout.base_conf())) return write_durably(layout.base_conf(), "");
  return {};
}

Result<bool> clean_auto_conf(const Layout& layout) {
  auto text = read_file(layout.auto_conf());
  if (!text) return false;
  std::string kept;
  for (const std::string& line : split(*text, '\n')) {
    if (std::string name = setting_name(line); !name.empty() && wins_over_files(name)) continue;
    kept += line + "\n";
  }
  while (kept.ends_with("\n\n")) kept.pop_back();
  if (trim(kept) == trim(*text)) return false;
  return write_if_different(layout.auto_conf(), kept);
}

Result<std::vector<std::string>> first_hba(const Layout& layout) {
  std::string base = layout.in_data("pg_hba.base.conf");
  auto there = read_file(layout.hba_conf());
  if (!exists(base)) {
    if (auto kept = write_durably(base, there && !is_our_hba(*there) ? *there : ""); !kept)
      return tl::unexpected(kept.error());
  }
  auto text = read_file(base);
  if (!text) return tl::unexpected(text.error());
  return split(*text, '\n');
}

}  // namespace

Result<Written> write_files(const Settings& settings, FileInputs inputs, const PgConfig& config,
                            const Install& install) {
  const Layout& layout = settings.layout;
  if (inputs.pg_hba.empty()) {
    auto lines = first_hba(layout);
    if (!lines) return tl::unexpected(lines.error());
    inputs.pg_hba = std::move(*lines);
  }
  RenderedFiles files = render(settings, inputs, config, install, os_user());
  Written out;
  out.generation = files.generation;
  out.warnings = std::move(files.warnings);
  if (auto kept = keep_base(layout); !kept) return tl::unexpected(kept.error());
  auto write = [&](const std::string& path, const std::string& text) -> Result<void> {
    auto done = write_if_different(path, text);
    if (!done) return tl::unexpected(std::move(done.error()).context("while writing the configuration"));
    out.changed = out.changed || *done;
    out.access_changed = out.access_changed || (*done && (path == layout.live_hba_conf() || path == layout.ident_conf()));
    return {};
  };
  // pgdba.ha.conf says what the whole means, so it comes last; the other order would claim a gate that is not closed
  // yet. Before it, too, what holds at rest: the postmaster that is started next leaves it behind when it is killed.
  std::vector<std::pair<std::string, const std::string*>> order;
  if (!files.passfile.empty()) order.emplace_back(settings.walreceiver_passfile(), &files.passfile);
  order.emplace_back(layout.hba_conf(), &files.rest_hba);
  if (!files.pg_ident.empty()) order.emplace_back(layout.ident_conf(), &files.pg_ident);
  order.emplace_back(layout.postgresql_conf(), &files.postgresql_conf);
  order.emplace_back(layout.live_hba_conf(), &files.pg_hba);
  order.emplace_back(layout.ha_conf(), &files.ha_conf);
  auto cleaned = clean_auto_conf(layout);
  if (!cleaned) return tl::unexpected(cleaned.error());
  out.changed = *cleaned;
  for (const auto& [path, text] : order) {
    if (auto done = write(path, *text); !done) return tl::unexpected(done.error());
  }
  if (config.upstream == PgConfig::Upstream::member) {
    if (auto removed = remove_history_stubs(layout); !removed) return tl::unexpected(removed.error());
  }
  return out;
}

namespace {

std::optional<PgConfig> ha_config_in(std::string_view ha_conf) {
  constexpr std::string_view kKey = "\npgdba.ha_config = '";
  auto at = ha_conf.find(kKey);
  if (at == std::string_view::npos) return std::nullopt;
  auto from = at + kKey.size();
  auto parsed = parse_ha_config(ha_conf.substr(from, ha_conf.find('\'', from) - from));
  if (!parsed) return std::nullopt;
  return *parsed;
}

}  // namespace

Result<PgConfig> read_on_disk(const Layout& layout) {
  PgConfig unknown;  // somebody else's files: nothing safe may be said of them
  unknown.upstream = PgConfig::Upstream::member;
  unknown.gate_closed = false;
  auto conf = read_file(layout.postgresql_conf());
  if (!conf && conf.error().code == Errc::not_found) return PgConfig{};
  if (!conf) return tl::unexpected(conf.error());
  if (!is_our_conf(*conf)) return unknown;
  auto ha = read_file(layout.ha_conf());
  if (!ha && ha.error().code == Errc::not_found) return PgConfig{};
  if (!ha) return tl::unexpected(ha.error());
  auto parsed = ha_config_in(*ha);
  if (!parsed) return unknown;
  auto hba = read_file(layout.live_hba_conf());
  if (hba && !hba_gate_closed(*hba)) parsed->gate_closed = false;
  return *parsed;
}

Result<PgConfig> read_ha_config(const Layout& layout) {
  auto ha = read_file(layout.ha_conf());
  if (!ha) return tl::unexpected(ha.error());
  auto config = ha_config_in(*ha);
  if (!config) return fail(Errc::invalid, fmt::format("{} is not as this agent writes it", layout.ha_conf()));
  return *config;
}

Task<Result<CheckedParameters>> check_parameters(net::Loop& loop, const Install& install, std::string folder,
                                                 std::map<std::string, std::string> parameters, BootTime deadline) {
  CheckedParameters out;
  out.good = std::move(parameters);
  for (size_t round = out.good.size() + 1; round > 0; --round) {
    net::ProcessSpec spec;
    spec.argv = {install.program("postgres"), "-D", folder, "-C", "port", "-c", "config_file=/dev/null"};
    for (const auto& [name, value] : out.good) {
      if (is_own_setting(name)) continue;
      spec.argv.push_back("-c");
      spec.argv.push_back(name + "=" + value);
    }
    spec.env = {{"LC_ALL", "C"}};
    auto ran = co_await net::run_process(loop, std::move(spec), deadline);
    if (!ran) co_return tl::unexpected(std::move(ran.error()).context("while checking parameters"));
    if (ran->status.success()) co_return out;
    // FATAL:  unrecognized configuration parameter "x" / invalid value for parameter "x": "y" / … for parameter "x" …
    std::string_view text = ran->output;
    auto fatal = text.rfind("FATAL:");
    std::string_view message = trim(text.substr(fatal == std::string_view::npos ? 0 : fatal + 6));
    message = message.substr(0, message.find('\n'));
    std::string culprit;
    for (const auto& [name, value] : out.good) {
      if (message.find(fmt::format("parameter \"{}\"", name)) != std::string_view::npos) culprit = name;
    }
    for (const auto& [name, value] : out.good) {
      if (culprit.empty() && message.find(fmt::format("\"{}\"", name)) != std::string_view::npos) culprit = name;
      if (culprit.empty() && (message.starts_with(fmt::format("{} must be", name)) ||
                              message.find(fmt::format(" {} ", name)) != std::string_view::npos))
        culprit = name;
    }
    if (culprit.empty()) {
      // Not one parameter's fault as far as the message says: the start itself will tell.
      out.warnings.push_back(fmt::format("the parameters could not be checked: {}", message));
      co_return out;
    }
    out.warnings.push_back(fmt::format("parameter {} was left out: {}", culprit, message));
    out.good.erase(culprit);
  }
  co_return out;
}

}  // namespace pgdba::pg
