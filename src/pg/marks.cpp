#include "pg/marks.h"

#include <fmt/format.h>

#include "base/text.h"
#include "pg/actions.h"
#include "pg/durable.h"
#include "pg/history.h"

namespace pgdba::pg {

Result<void> mark_unusable(const Layout& layout, const std::string& why) {
  return write_durably(layout.unusable_mark(), why + "\n");
}

Result<void> clear_unusable(const Layout& layout) {
  return remove_durably(layout.unusable_mark());
}

Result<std::optional<std::string>> unusable_why(const Layout& layout) {
  auto text = read_file(layout.unusable_mark(), 4096);
  if (text) return std::string(trim(*text));
  if (text.error().code == Errc::not_found) return std::nullopt;
  return tl::unexpected(text.error());
}

bool has_novote(const Layout& layout) {
  return exists(layout.novote_mark());
}
Result<void> mark_novote(const Layout& layout) {
  return write_durably(layout.novote_mark(), "this copy of the data has not been confirmed by a leader\n");
}
Result<void> clear_novote(const Layout& layout) {
  return remove_durably(layout.novote_mark());
}

// One line, of which the last word says that it is whole.
Result<void> mark_initdb(const Layout& layout, const InitdbMark& mark) {
  return write_durably(layout.initdb_mark(), fmt::format("{} {} end\n", mark.system_id, format_lsn(mark.checkpoint)));
}

Result<void> clear_initdb(const Layout& layout) {
  return remove_durably(layout.initdb_mark());
}

std::optional<InitdbMark> initdb_mark(const Layout& layout) {
  auto text = read_file(layout.initdb_mark(), 4096);
  if (!text) return std::nullopt;
  std::vector<std::string> words = split(trim(*text), ' ');
  if (words.size() != 3 || words[2] != "end") return std::nullopt;
  InitdbMark out;
  out.system_id = std::strtoull(words[0].c_str(), nullptr, 10);
  auto checkpoint = parse_lsn(words[1]);
  if (!checkpoint || out.system_id == 0) return std::nullopt;
  out.checkpoint = *checkpoint;
  return out;
}

bool is_pristine(const std::optional<InitdbMark>& mark, const model::ControlFile& control) {
  const bool at_rest = control.state == model::ControlState::shut_down || control.state == model::ControlState::shut_down_in_recovery ||
                       control.state == model::ControlState::in_archive_recovery;
  return mark && at_rest && control.timeline == 1 && mark->system_id == control.system_id && mark->checkpoint == control.checkpoint;
}

Result<std::map<uint32_t, std::string>> read_timeline_nonces(const Layout& layout) {
  std::map<uint32_t, std::string> out;
  auto text = read_file(layout.timelines_file(), 4 << 20);
  if (!text && text.error().code == Errc::not_found) return out;
  if (!text) return tl::unexpected(text.error());
  for (const std::string& line : split(*text, '\n')) {
    std::vector<std::string> words = split(trim(line), ' ');
    if (words.size() != 2) continue;
    auto timeline = parse_int(words[0]);
    if (timeline && *timeline > 0 && *timeline <= UINT32_MAX) out[static_cast<uint32_t>(*timeline)] = words[1];
  }
  return out;
}

Result<void> record_timeline(const Layout& layout, uint32_t timeline, const std::string& nonce) {
  if (nonce.empty() || nonce.find_first_of(" \n\t") != std::string::npos)
    return fail(Errc::bug, "a timeline's nonce must be one word");
  auto all = read_timeline_nonces(layout);
  if (!all) return tl::unexpected(all.error());
  (*all)[timeline] = nonce;
  std::string text;
  for (const auto& [number, value] : *all) text += fmt::format("{} {}\n", number, value);
  auto written = write_if_different(layout.timelines_file(), text);
  if (!written) return tl::unexpected(written.error());
  return {};
}

Result<void> skip_timelines(const Layout& layout, const std::vector<uint32_t>& taken) {
  return write_history_stubs(layout, taken);
}

// Five lines; the last says that the others are all there.
Result<void> write_freeze_record(const Layout& layout, const model::FreezeRecord& record) {
  for (const std::string* text : {&record.leader, &record.nonce}) {
    if (text->find('\n') != std::string::npos) return fail(Errc::bug, "a line end in the freeze record");
  }
  return write_durably(layout.freeze_record(),
                       fmt::format("term {}\nleader {}\ncluster {}\nnonce {}\nend\n", record.term, record.leader,
                                   record.etcd_cluster_id, record.nonce));
}

Result<void> clear_freeze_record(const Layout& layout) {
  return remove_durably(layout.freeze_record());
}

Result<std::optional<model::FreezeRecord>> read_freeze_record(const Layout& layout) {
  auto text = read_file(layout.freeze_record(), 65536);
  if (!text) {
    if (text.error().code == Errc::not_found) return std::nullopt;
    return tl::unexpected(text.error());
  }
  std::vector<std::string> lines = split(*text, '\n');
  auto value = [&](size_t line, std::string_view name) -> std::optional<std::string> {
    if (line >= lines.size() || !lines[line].starts_with(name) || lines[line].size() <= name.size())
      return std::nullopt;
    return lines[line].substr(name.size() + 1);
  };
  auto term = value(0, "term");
  auto leader = value(1, "leader");
  auto cluster = value(2, "cluster");
  auto nonce = value(3, "nonce");
  if (!term || !leader || !cluster || !nonce || lines.size() < 5 || lines[4] != "end") {
    return fail(Errc::invalid, fmt::format("{} is not a freeze record", layout.freeze_record()));
  }
  model::FreezeRecord out;
  out.term = parse_int(*term).value_or(0);
  out.leader = *leader;
  out.etcd_cluster_id = std::strtoull(cluster->c_str(), nullptr, 10);
  out.nonce = *nonce;
  return out;
}

}  // namespace pgdba::pg
