#include "local/supervised.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/text.h"
#include "local/files.h"

namespace pgdba::local {

Result<KeyValues> read_key_values(const std::string& path) {
  auto text = read_file(path);
  if (!text) return tl::unexpected(text.error());
  KeyValues out;
  for (const std::string& line : split(*text, '\n')) {
    auto at = line.find('=');
    if (at != std::string::npos) out.emplace_back(line.substr(0, at), line.substr(at + 1));
  }
  return out;
}

Result<void> write_key_values(const std::string& path, const KeyValues& values, bool lasting) {
  std::string text;
  for (const auto& [key, value] : values) {
    if (value.find('\n') != std::string::npos) return fail(Errc::invalid, fmt::format("{}: a value spans lines", path));
    text += key + "=" + value + "\n";
  }
  return write_atomic(path, text, 0600, lasting);
}

std::string value_of(const KeyValues& values, std::string_view key) {
  auto found = std::ranges::find(values, key, [](const auto& pair) { return std::string_view(pair.first); });
  return found == values.end() ? std::string() : found->second;
}

Result<void> Supervised::write_spec(const Spec& spec) const {
  KeyValues values;
  for (const std::string& argument : spec.argv) values.emplace_back("arg", argument);
  for (const std::string& variable : spec.variables) values.emplace_back("env", variable);
  values.emplace_back("folder", spec.folder);
  values.emplace_back("log", spec.log);
  return write_key_values(file(spec.name, "spec"), values, false);  // `up` writes it again
}

Result<Spec> Supervised::read_spec(const std::string& name) const {
  auto values = read_key_values(file(name, "spec"));
  if (!values) return tl::unexpected(values.error());
  Spec spec;
  spec.name = name;
  for (const auto& [key, value] : *values) {
    if (key == "arg") spec.argv.push_back(value);
    if (key == "env") spec.variables.push_back(value);
  }
  spec.folder = value_of(*values, "folder");
  spec.log = value_of(*values, "log");
  if (spec.argv.empty() || spec.folder.empty()) return fail(Errc::invalid, file(name, "spec") + " is not complete");
  return spec;
}

std::vector<std::string> Supervised::names() const {
  std::vector<std::string> out;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    if (entry.path().extension() == ".spec") out.push_back(entry.path().stem().string());
  }
  std::ranges::sort(out);
  return out;
}

Result<void> Supervised::write_want(const std::string& name, Want want) const {
  std::string path = file(name, "want");
  if (want != Want::up) return write_key_values(path, {{"want", want == Want::killed ? "killed" : "stopped"}}, true);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return tl::unexpected(errno_error("cannot remove " + path));
  return {};
}

Want Supervised::read_want(const std::string& name) const {
  auto values = read_key_values(file(name, "want"));
  if (!values) return Want::up;
  return value_of(*values, "want") == "killed" ? Want::killed : Want::stopped;
}

Result<void> Supervised::write_own_run(const std::string& name) const {
  auto stat = read_stat(::getpid());
  if (!stat) return fail(Errc::invalid, "/proc is not readable");
  return write_key_values(
      file(name, "run"),
      {{"pid", std::to_string(stat->id.pid)}, {"start", std::to_string(stat->id.start_ticks)}, {"boot", boot_id()}},
      false);
}

std::optional<ProcessId> Supervised::running(const std::string& name) const {
  auto values = read_key_values(file(name, "run"));
  if (!values || value_of(*values, "boot") != boot_id()) return std::nullopt;
  auto pid = parse_int(value_of(*values, "pid"));
  auto start = parse_int(value_of(*values, "start"));
  if (!pid || !start) return std::nullopt;
  ProcessId id{static_cast<pid_t>(*pid), static_cast<uint64_t>(*start)};
  return alive(id) ? std::optional(id) : std::nullopt;
}

Result<void> Supervised::write_exits(const std::string& name, const Exits& exits) const {
  KeyValues values = {{"restarts", std::to_string(exits.restarts)},
                      {"last", exits.last},
                      {"backoff_ms", std::to_string(exits.backoff_ms)}};
  if (exits.at) values.emplace_back("at", format_utc(*exits.at));
  if (exits.next) values.emplace_back("next", format_utc(*exits.next));
  return write_key_values(file(name, "exits"), values, false);
}

void Supervised::forget_exits(const std::string& name) const {
  ::unlink(file(name, "exits").c_str());
}

Exits Supervised::read_exits(const std::string& name) const {
  Exits out;
  auto values = read_key_values(file(name, "exits"));
  if (!values) return out;
  out.restarts = parse_int(value_of(*values, "restarts")).value_or(0);
  out.last = value_of(*values, "last");
  out.at = parse_utc(value_of(*values, "at"));
  out.next = parse_utc(value_of(*values, "next"));
  out.backoff_ms = parse_int(value_of(*values, "backoff_ms")).value_or(0);
  return out;
}

}  // namespace pgdba::local
