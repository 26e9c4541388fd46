// What a person sees. stdout carries data and nothing else, stderr progress, questions and errors. Colour only on a
// terminal (and never by itself: each coloured word says the same without it), off by NO_COLOR or --color never.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/outcome.h"
#include "wire/json_value.h"

namespace pgdba::cli {

enum class Format { table, json, yaml, tsv };
enum class Colour { automatic, always, never };
enum class Tint { none, good, warn, bad, dim, bold };

struct TerminalOptions {
  Format format = Format::table;
  Colour colour = Colour::automatic;
  bool yes = false;      // every question is answered with yes
  bool dry_run = false;  // say what would be done, do nothing
};

class Terminal {
 public:
  explicit Terminal(TerminalOptions options);

  [[nodiscard]] const TerminalOptions& options() const { return options_; }
  [[nodiscard]] bool table() const { return options_.format == Format::table; }
  [[nodiscard]] bool structured() const { return options_.format == Format::json || options_.format == Format::yaml; }

  void data(std::string_view text) const;         // stdout, as it is; the plan of a dry run as JSON or YAML where those are asked for
  void show(const wire::JsonValue& value) const;  // stdout, as JSON or YAML; not for table and tsv
  // The end of a command that has shown nothing, for a program that asked for JSON or YAML.
  void begin() { shown_ = false; }
  void outcome(const std::optional<Failure>& failure) const;
  void say(std::string_view line) const;          // stderr
  void warn(std::string_view line) const;         // stderr, "warning: …"
  void failure(const Failure& failure) const;     // stderr, "error: …" and "  next: …"
  // "  0.42 s  three etcd members are healthy": elapsed since this Terminal was made, or since restart_clock().
  void phase(std::string_view line);
  void restart_clock();
  [[nodiscard]] double elapsed_seconds() const;

  // Asks on the terminal. Without one, and without --yes, nothing hangs: the answer is a refusal that says so.
  Outcome<void> confirm(const std::string& question) const;

  [[nodiscard]] std::string tint(Tint tint, std::string_view text, bool on_stderr = false) const;
  [[nodiscard]] bool colour_out() const { return colour_out_; }
  [[nodiscard]] bool tty_out() const { return tty_out_; }
  [[nodiscard]] int width() const;  // of stdout, 0: unknown or not a terminal

 private:
  TerminalOptions options_;
  bool tty_out_ = false;
  bool colour_out_ = false;
  bool colour_err_ = false;
  mutable bool shown_ = false;  // something went to stdout
  std::chrono::steady_clock::time_point began_;
};

// Columns aligned by their widest cell. A cell's tint does not count for its width.
class Table {
 public:
  struct Cell {
    std::string text;
    Tint tint = Tint::none;
    bool right = false;
  };
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  void row(std::vector<Cell> cells) { rows_.push_back(std::move(cells)); }
  [[nodiscard]] std::string render(const Terminal& terminal) const;
  [[nodiscard]] std::string tsv() const;  // one header line; tabs, newlines and backslashes in cells are escaped

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<Cell>> rows_;
};

// `text` with each command "pgdba …" written so that it can be typed here: where the shell would not find this program, or
// another one, by its name, as the caller called it ("bin/pgdba status").
std::string to_type(std::string_view text);

std::string human_bytes(uint64_t bytes);    // "0", "512 B", "1.5 MB"
std::string human_seconds(double seconds);  // "0.42 s", "3 min", "2 h", "5 d"

}  // namespace pgdba::cli
