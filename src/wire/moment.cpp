#include "wire/moment.h"

#include "base/text.h"

namespace pgdba::wire {

namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  // Exactly `digits` digits.
  bool number(int digits, int& value) {
    if (rest_.size() < static_cast<size_t>(digits)) return false;
    value = 0;
    for (int i = 0; i < digits; ++i) {
      char c = rest_[static_cast<size_t>(i)];
      if (!is_digit(c)) return false;
      value = value * 10 + (c - '0');
    }
    rest_.remove_prefix(static_cast<size_t>(digits));
    return true;
  }

  bool take(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  // ".146127", ",146": any number of digits, those after the sixth are dropped. None at all: 0.
  bool fraction(int& micros) {
    micros = 0;
    if (!take('.') && !take(',')) return true;
    int scale = 100000;
    if (rest_.empty() || !is_digit(rest_.front())) return false;
    while (!rest_.empty() && is_digit(rest_.front())) {
      micros += (rest_.front() - '0') * scale;
      scale /= 10;
      rest_.remove_prefix(1);
    }
    return true;
  }

  void skip_blanks() { rest_ = trim(rest_); }
  [[nodiscard]] std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

// Minutes east of Greenwich; the whole rest must be a zone.
bool parse_zone(std::string_view text, int& minutes) {
  minutes = 0;
  if (iequals(text, "z") || iequals(text, "utc") || iequals(text, "gmt")) return true;
  Reader reader(text);
  bool west = reader.take('-');
  if (!west && !reader.take('+')) return false;
  int hour = 0;
  int minute = 0;
  if (!reader.number(2, hour)) return false;
  if (!reader.rest().empty()) {
    reader.take(':');
    if (!reader.number(2, minute)) return false;
  }
  if (!reader.rest().empty() || hour > 15 || minute > 59) return false;
  minutes = (west ? -1 : 1) * (hour * 60 + minute);
  return true;
}

}  // namespace

std::optional<Moment> parse_moment(std::string_view text) {
  using namespace std::chrono;
  text = trim(text);
  if (text.size() > 64) return std::nullopt;
  Reader reader(text);
  int y = 0, mo = 0, d = 0, h = 0, mi = 0, s = 0, micros = 0;
  if (!reader.number(4, y)) return std::nullopt;
  bool dashes = reader.take('-');
  if (!reader.number(2, mo) || (dashes && !reader.take('-')) || !reader.number(2, d)) return std::nullopt;
  if (!reader.take('T') && !reader.take('t')) {
    if (!reader.take(' ')) return std::nullopt;
    reader.skip_blanks();
  }
  if (!reader.number(2, h)) return std::nullopt;
  bool colons = reader.take(':');
  if (!reader.number(2, mi)) return std::nullopt;
  bool seconds_follow = colons ? reader.take(':') : !reader.rest().empty() && is_digit(reader.rest().front());
  if (seconds_follow && (!reader.number(2, s) || !reader.fraction(micros))) return std::nullopt;
  year_month_day date{year{y}, month{static_cast<unsigned>(mo)}, day{static_cast<unsigned>(d)}};
  if (y < 1970 || !date.ok() || h > 23 || mi > 59 || s > 59) return std::nullopt;
  reader.skip_blanks();
  Moment moment;
  moment.time = sys_days{date} + hours{h} + minutes{mi} + seconds{s} + microseconds{micros};
  if (reader.rest().empty()) return moment;
  int offset = 0;
  if (!parse_zone(reader.rest(), offset)) return std::nullopt;
  moment.zone = true;
  moment.time -= minutes{offset};
  return moment;
}

std::string format_moment(WallTime time, char separator) {
  std::string text = format_utc_offset(time);
  if (auto at = text.find('T'); at != std::string::npos) text[at] = separator;
  if (auto zero = text.find(".000000"); zero != std::string::npos) text.erase(zero, 7);
  return text;
}

}  // namespace pgdba::wire
