#include "pg/control.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>

#include "base/text.h"
#include "net/process.h"
#include "pg/durable.h"

namespace pgdba::pg {

namespace {

model::ControlState parse_state(std::string_view text) {
  using model::ControlState;
  constexpr std::pair<std::string_view, ControlState> kStates[] = {
      {"shut down", ControlState::shut_down},
      {"shut down in recovery", ControlState::shut_down_in_recovery},
      {"shutting down", ControlState::shutting_down},
      {"in crash recovery", ControlState::in_crash_recovery},
      {"in archive recovery", ControlState::in_archive_recovery},
      {"in production", ControlState::in_production},
  };
  for (const auto& [word, state] : kStates) {
    if (word == text) return state;
  }
  return ControlState::unknown;
}

}  // namespace

bool says_shut_down(const std::string& data_dir) {
  // ControlFileData of every version from 9.3 on begins: system identifier, version of the file, of the catalogue, state.
  constexpr size_t kState = 16;
  constexpr int32_t kShutDown = 1;  // DB_SHUTDOWNED
  auto text = read_file(data_dir + "/global/pg_control", 64 << 10);
  int32_t state = 0;
  if (!text || text->size() < kState + sizeof state) return false;
  std::memcpy(&state, text->data() + kState, sizeof state);
  return state == kShutDown;
}

Result<ControlData> parse_controldata(std::string_view text) {
  ControlData out;
  std::map<std::string, std::string> values;
  for (const std::string& line : split(text, '\n')) {
    auto colon = line.find(':');
    if (colon != std::string::npos)
      values[line.substr(0, colon)] = std::string(trim(std::string_view(line).substr(colon + 1)));
  }
  bool complete = true;
  auto value = [&](const char* name) {
    auto found = values.find(name);
    if (found == values.end()) complete = false;
    return found == values.end() ? std::string() : found->second;
  };
  auto lsn = [&](const char* name) {
    auto parsed = parse_lsn(value(name));
    if (!parsed) complete = false;
    return parsed.value_or(Lsn{});
  };
  auto number = [&](const char* name) {
    auto parsed = parse_int(value(name));
    if (!parsed || *parsed < 0) complete = false;
    return parsed.value_or(0);
  };
  std::string id = value("Database system identifier");
  auto [stop, error] = std::from_chars(id.data(), id.data() + id.size(), out.file.system_id);
  if (error != std::errc() || stop != id.data() + id.size()) complete = false;
  out.file.state = parse_state(value("Database cluster state"));
  out.file.checkpoint = lsn("Latest checkpoint location");
  out.redo = lsn("Latest checkpoint's REDO location");
  out.file.timeline = static_cast<uint32_t>(number("Latest checkpoint's TimeLineID"));
  out.min_recovery_timeline = static_cast<uint32_t>(number("Min recovery ending loc's timeline"));
  out.segment_size = static_cast<uint64_t>(number("Bytes per WAL segment"));
  out.file.checksums = number("Data page checksum version") > 0;
  if (!complete || out.file.system_id == 0 || out.segment_size == 0) {
    return fail(Errc::invalid, fmt::format("pg_controldata: {}", trim(text.substr(0, 300))));
  }
  return out;
}

Task<Result<ControlData>> read_control(net::Loop& loop, const Install& install, std::string data_dir,
                                       BootTime deadline) {
  net::ProcessSpec spec;
  spec.argv = {install.program("pg_controldata"), "-D", data_dir};
  spec.env = {{"LC_ALL", "C"}};
  auto ran = co_await net::run_process(loop, std::move(spec), deadline);
  if (!ran) co_return tl::unexpected(ran.error());
  bool damaged = ran->output.find("CRC") != std::string::npos;  // "WARNING: Calculated CRC checksum does not match …"
  if (!ran->status.success() || damaged)
    co_return fail(Errc::invalid, std::string(trim(std::string_view(ran->output).substr(0, 300))));
  co_return parse_controldata(ran->output);
}

}  // namespace pgdba::pg
