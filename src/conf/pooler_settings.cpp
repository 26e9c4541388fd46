#include "conf/pooler_settings.h"

#include <fmt/format.h>

#include "conf/pooler_values.h"

namespace pgdba::conf {

namespace {

// A bar would end the cell.
std::string cell(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

PoolerSettings default_pooler_settings() {
  PoolerSettings settings;
  for (const SettingRow& row : setting_rows()) {
    if (row.default_text) (void)row.read(settings, *row.default_text);
  }
  return settings;
}

std::vector<ConfigRow> show_config(const PoolerSettings& settings) {
  std::vector<ConfigRow> out;
  for (const SettingRow& row : setting_rows()) {
    ConfigRow line{std::string(row.name), row.write(settings), std::nullopt, row.reloadable};
    if (row.default_text) {
      line.default_value = std::string(*row.default_text);
    } else if (line.value->empty()) {
      line.value.reset();
    }
    out.push_back(std::move(line));
  }
  return out;
}

Result<bool> set_setting(PoolerSettings& settings, std::string_view key, std::string_view value) {
  const SettingRow* row = find_setting(key);
  if (row == nullptr) return fail(Errc::invalid, fmt::format("unknown parameter: pgbouncer/{}", shown(key)));
  if (!row->reloadable) return false;
  if (auto problem = row->read(settings, value)) {
    return fail(Errc::invalid, fmt::format("invalid value \"{}\" for parameter {}{}{}", shown(value), key,
                                           problem->empty() ? "" : ": ", *problem));
  }
  return true;
}

PoolerSettings reloaded_settings(const PoolerSettings& running, const PoolerSettings& fresh) {
  PoolerSettings out = fresh;
  for (const SettingRow& row : setting_rows()) {
    if (!row.reloadable) row.copy(running, out);
  }
  return out;
}

std::string settings_markdown() {
  std::string out;
  for (const SettingRow& row : setting_rows()) {
    std::string shown = !row.default_text           ? "unset"
                        : row.default_text->empty() ? "empty"
                                                    : fmt::format("`{}`", cell(*row.default_text));
    out += fmt::format("| `{}` | {} | {} | {} | {} | {} |\n", row.name, row.type, shown, row.reloadable ? "yes" : "no",
                       static_cast<char>(row.mark), cell(row.not_done));
  }
  return out;
}

}  // namespace pgdba::conf
