#include "pg/probe_file.h"

#include <unistd.h>

#include "base/text.h"
#include "pg/durable.h"
#include "pg/log_tail.h"

namespace pgdba::pg {

namespace {

bool is_segment(std::string_view name) {
  return name.size() == 24 && name.find_first_not_of("0123456789ABCDEF") == std::string_view::npos;
}

}  // namespace

ProbeCalls parse_probe_calls(std::string_view text, std::string_view nonce) {
  ProbeCalls out;
  if (nonce.empty()) return out;
  for (const std::string& line : split(text, '\n')) {
    std::string_view rest(line);
    if (!rest.starts_with(nonce) || rest.substr(nonce.size(), 1) != " ") continue;
    rest.remove_prefix(nonce.size() + 1);
    if (!is_segment(rest)) continue;
    out.repeated = rest == out.segment ? out.repeated + 1 : 1;
    out.segment = std::string(rest);
  }
  return out;
}

ProbeCalls read_probe_calls(const Layout& layout, std::string_view nonce) {
  return parse_probe_calls(log_from(layout.probe_file(), 0, 4096), nonce);
}

void trim_probe_file(const Layout& layout) {
  if (size_of(layout.probe_file()) > 65536) (void)!::truncate(layout.probe_file().c_str(), 0);
}

}  // namespace pgdba::pg
