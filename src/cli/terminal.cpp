#include "cli/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "base/text.h"

namespace pgdba::cli {

namespace {

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // the reader has gone (| head)
    text.remove_prefix(static_cast<size_t>(n));
  }
}

// Characters on the screen: UTF-8 continuation bytes take no room.
size_t columns(std::string_view text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool wanted(Colour colour, int fd) {
  if (colour != Colour::automatic) return colour == Colour::always;
  const char* off = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return ::isatty(fd) && !(off && *off) && !(term && std::string_view(term) == "dumb");
}

}  // namespace

namespace {

// How this program was called; "pgdba" where the shell finds this very program by that name.
std::string called_as() {
  auto same = [](const std::string& path) {
    struct stat one {}, other {};
    return ::stat(path.c_str(), &one) == 0 && ::stat("/proc/self/exe", &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
  };
  const char* path = std::getenv("PATH");
  for (const std::string& folder : split(path ? path : "", ':')) {
    if (::access((folder + "/pgdba").c_str(), X_OK) != 0) continue;
    if (same(folder + "/pgdba")) return "pgdba";
    break;
  }
  std::string name;
  if (std::FILE* file = std::fopen("/proc/self/cmdline", "re")) {
    for (int c = std::fgetc(file); c > 0; c = std::fgetc(file)) name += static_cast<char>(c);
    std::fclose(file);
  }
  const bool plain = name.find_first_of(" '\"\\$`*?()&;<>|") == std::string::npos;
  if (name.find('/') == std::string::npos || !same(name)) return "pgdba";
  return plain ? name : "'" + name + "'";
}

}  // namespace

std::string to_type(std::string_view text) {
  static const std::string name = called_as();
  std::string out;
  constexpr std::string_view word = "pgdba ";
  for (size_t at = 0; at < text.size();) {
    const bool begins = at == 0 || std::string_view(" \t\n`(\"").find(text[at - 1]) != std::string_view::npos;
    if (begins && text.substr(at).starts_with(word)) {
      out += name + " ";
      at += word.size();
    } else {
      out += text[at++];
    }
  }
  return out;
}

Failure as_failure(const Error& error, std::string next) {
  Exit exit = Exit::failed;
  switch (error.code) {
    case Errc::unavailable: exit = Exit::unreachable; break;
    case Errc::timeout: exit = Exit::timed_out; break;
    default: break;
  }
  return Failure{exit, error.text, std::move(next)};
}

Terminal::Terminal(TerminalOptions options)
    : options_(options),
      tty_out_(::isatty(STDOUT_FILENO) == 1),
      colour_out_(wanted(options.colour, STDOUT_FILENO)),
      colour_err_(wanted(options.colour, STDERR_FILENO)),
      began_(std::chrono::steady_clock::now()) {}

void Terminal::data(std::string_view text) const {
  if (options_.dry_run && structured()) {
    wire::JsonValue plan;
    return show(plan.set("schema_version", 1).set("dry_run", true).set("plan", std::string(trim(text))));
  }
  shown_ = true;
  write_all(STDOUT_FILENO, text);
}

void Terminal::show(const wire::JsonValue& value) const {
  shown_ = true;
  write_all(STDOUT_FILENO, options_.format == Format::yaml ? wire::format_yaml_value(value) : wire::format_json_value(value) + "\n");
}

void Terminal::outcome(const std::optional<Failure>& failure) const {
  if (shown_ || !structured()) return;
  wire::JsonValue out;
  out.set("schema_version", 1).set("done", !failure);
  if (failure) {
    out.set("exit", static_cast<int64_t>(failure->exit)).set("error", failure->text);
    out.set("next", failure->next.empty() ? wire::JsonValue() : wire::JsonValue(to_type(failure->next)));
  }
  show(out);
}

void Terminal::say(std::string_view line) const {
  write_all(STDERR_FILENO, std::string(line) + "\n");
}
void Terminal::warn(std::string_view line) const {
  say(tint(Tint::warn, "warning:", true) + " " + std::string(line));
}

void Terminal::failure(const Failure& failure) const {
  say(tint(Tint::bad, failure.exit == Exit::refused ? "refused:" : "error:", true) + " " + failure.text);
  if (!failure.next.empty()) say("  next: " + to_type(failure.next));
}

void Terminal::phase(std::string_view line) {
  say(tint(Tint::dim, fmt::format("{:6.2f} s", elapsed_seconds()), true) + "  " + std::string(line));
}
void Terminal::restart_clock() {
  began_ = std::chrono::steady_clock::now();
}

double Terminal::elapsed_seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
}

Outcome<void> Terminal::confirm(const std::string& question) const {
  if (options_.yes) return {};
  if (!::isatty(STDIN_FILENO)) {
    return give_up(Exit::refused, question + " Nobody can be asked here (no terminal), so nothing was changed.",
                   "the same command with --yes");
  }
  write_all(STDERR_FILENO, question + " [y/N] ");
  std::string answer;
  std::getline(std::cin, answer);
  std::string word = lower(trim(answer));
  if (word == "y" || word == "yes") return {};
  return give_up(Exit::refused, "not confirmed; nothing was changed");
}

std::string Terminal::tint(Tint tint, std::string_view text, bool on_stderr) const {
  if (tint == Tint::none || !(on_stderr ? colour_err_ : colour_out_)) return std::string(text);
  const char* code = "";
  switch (tint) {
    case Tint::good: code = "32"; break;
    case Tint::warn: code = "33"; break;
    case Tint::bad: code = "31;1"; break;
    case Tint::dim: code = "2"; break;
    case Tint::bold: code = "1"; break;
    case Tint::none: break;
  }
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

int Terminal::width() const {
  winsize size{};
  return tty_out_ && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

std::string Table::render(const Terminal& terminal) const {
  std::vector<size_t> widths;
  for (const std::string& name : header_) widths.push_back(columns(name));
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size() && i < widths.size(); ++i) widths[i] = std::max(widths[i], columns(row[i].text));
  }
  std::string out;
  auto line = [&](const std::vector<Cell>& cells) {
    std::string text;
    for (size_t i = 0; i < widths.size(); ++i) {
      Cell cell = i < cells.size() ? cells[i] : Cell{};
      std::string padding(widths[i] - columns(cell.text), ' ');
      std::string shown = terminal.tint(cell.tint, cell.text);
      text += (i ? "  " : "") + (cell.right ? padding + shown : shown + padding);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  };
  std::vector<Cell> head;
  for (size_t i = 0; i < header_.size(); ++i)
    head.push_back({header_[i], Tint::bold, !rows_.empty() && i < rows_.front().size() && rows_.front()[i].right});
  line(head);
  for (const auto& row : rows_) line(row);
  return out;
}

std::string Table::tsv() const {
  std::string out;
  auto escape = [](std::string_view text) {
    std::string safe;
    for (char c : text) {
      if (c == '\t')
        safe += "\\t";
      else if (c == '\n')
        safe += "\\n";
      else if (c == '\\')
        safe += "\\\\";
      else
        safe += c;
    }
    return safe;
  };
  auto line = [&](const std::vector<std::string>& cells) {
    for (size_t i = 0; i < cells.size(); ++i) out += (i ? "\t" : "") + escape(cells[i]);
    out += "\n";
  };
  line(header_);
  for (const auto& row : rows_) {
    std::vector<std::string> cells;
    for (const Cell& cell : row) cells.push_back(cell.text);
    line(cells);
  }
  return out;
}

std::string human_bytes(uint64_t bytes) {
  if (bytes == 0) return "0";
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  for (const char* unit : {"kB", "MB", "GB"}) {
    value /= 1024;
    if (value < 1024) return fmt::format("{:.1f} {}", value, unit);
  }
  return fmt::format("{:.1f} TB", value / 1024);
}

std::string human_seconds(double seconds) {
  if (seconds < 10) return fmt::format("{:.2f} s", seconds);
  if (seconds < 120) return fmt::format("{:.0f} s", seconds);
  if (seconds < 7200) return fmt::format("{:.0f} min", seconds / 60);
  if (seconds < 172800) return fmt::format("{:.0f} h", seconds / 3600);
  return fmt::format("{:.0f} d", seconds / 86400);
}

}  // namespace pgdba::cli
