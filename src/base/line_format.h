// Log lines as Patroni's `log.format` describes them: Python's %-style text, or one JSON object per line.
//
// Known fields: asctime, levelname, levelno, message, name and module (both: the component), created, msecs, process,
// processName. Any other is named in `unknown` and stays empty. Pure: the moment comes as text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pgdba {

inline constexpr std::string_view kPatroniLineFormat = "%(asctime)s %(levelname)s: %(message)s";

struct LineFormat {
  struct Part {
    std::string literal;  // before the field
    std::string field;    // empty: only the literal
    std::string key;      // json: the name in the object
    bool left = false;
    bool zeros = false;
    size_t width = 0;
    bool operator==(const Part&) const = default;
  };
  bool json = false;
  std::vector<Part> parts;
  std::vector<std::pair<std::string, std::string>> static_fields;  // json only: name, JSON text
  std::vector<std::string> unknown;
  bool operator==(const LineFormat&) const = default;

  [[nodiscard]] bool names_the_component() const;
};

// "%(asctime)s %(levelname)-8s %(message)s". A "%" that begins nothing known is taken literally.
LineFormat parse_line_format(std::string_view text);
// JSON: field and its name in the object, in this order.
LineFormat json_line_format(const std::vector<std::pair<std::string, std::string>>& fields);

struct LogRecord {
  std::string asctime;
  std::string_view level;  // "INFO"
  int level_number = 0;    // 20
  std::string_view component;
  std::string_view message;
  int64_t created_ms = 0;
  int64_t process = 0;
};

// Without the component in a field of its own, the message begins with it. No line end at the end.
std::string format_line(const LineFormat& format, const LogRecord& record);

// One line of text stays one line, whatever a peer put into it.
std::string printable(std::string_view text);

}  // namespace pgdba
