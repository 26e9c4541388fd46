#include "pooler/console/table.h"

#include <array>
#include <map>

#include "base/text.h"
#include "wire/pg_build.h"

namespace pgdba::pooler {

namespace {

constexpr std::string_view kConnection =
    "type user database replication state addr port:i local_addr local_port:i connect_time request_time wait:i "
    "wait_us:i"
    " close_needed:i ptr link remote_pid:i tls application_name prepared_statements:i id:i";
constexpr std::string_view kSocket =
    " recv_pos:i pkt_pos:i pkt_remain:i send_pos:i send_remain:i pkt_avail:i send_avail:i";

std::string spec_of(Show show) {
  switch (show) {
    case Show::help: return "";
    case Show::version: return "version";
    case Show::databases:
      return "name host port:i database force_user pool_size:i min_pool_size:i reserve_pool_size:i server_lifetime:i "
             "pool_mode"
             " load_balance_hosts max_connections:i current_connections:i max_client_connections:i "
             "current_client_connections:i"
             " paused:i disabled:i";
    case Show::pools:
      return "database user cl_active:i cl_waiting:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active:i "
             "sv_active_cancel:i"
             " sv_being_canceled:i sv_idle:i sv_used:i sv_tested:i sv_login:i maxwait:i maxwait_us:i pool_mode "
             "load_balance_hosts";
    case Show::clients:
    case Show::servers: return std::string(kConnection);
    case Show::sockets:
    case Show::active_sockets: return std::string(kConnection) + std::string(kSocket);
    case Show::stats:
      return "database total_server_assignment_count:N total_xact_count:N total_query_count:N total_received:N "
             "total_sent:N"
             " total_xact_time:N total_query_time:N total_wait_time:N total_client_parse_count:N "
             "total_server_parse_count:N"
             " total_bind_count:N avg_server_assignment_count:N avg_xact_count:N avg_query_count:N avg_recv:N "
             "avg_sent:N"
             " avg_xact_time:N avg_query_time:N avg_wait_time:N avg_client_parse_count:N avg_server_parse_count:N "
             "avg_bind_count:N"
             " total_client_login_count:N avg_client_login_count:N";
    case Show::stats_totals:
      return "database server_assignment_count:N xact_count:N query_count:N bytes_received:N bytes_sent:N xact_time:N "
             "query_time:N"
             " wait_time:N client_parse_count:N server_parse_count:N bind_count:N client_login_count:N";
    case Show::stats_averages:
      return "database server_assignment_count:N xact_count:N query_count:N bytes_received:N bytes_sent:N xact_time:N "
             "query_time:N"
             " wait_time:N avg_client_parse_count:N avg_server_parse_count:N avg_bind_count:N avg_client_login_count:N";
    case Show::totals: return "name value:N";
    case Show::users:
      return "name pool_size reserve_pool_size pool_mode max_user_connections:i current_connections:i"
             " max_user_client_connections:i current_client_connections:i";
    case Show::lists: return "list items:i";
    case Show::config: return "key value default changeable";
    case Show::peers: return "peer_id:i host port:i pool_size:i";
    case Show::peer_pools:
      return "peer_id:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active_cancel:i sv_login:i";
    case Show::dns_hosts: return "hostname ttl:q addrs";
    case Show::dns_zones: return "zonename serial:q count:i";
    case Show::mem: return "name size:i used:i free:i memtotal:i";
    case Show::state: return "key value";
    case Show::fds:
      return "fd:i task user database addr port:i cancel:q link:i client_encoding std_strings datestyle timezone "
             "password"
             " scram_client_key:b scram_server_key:b";
    case Show::cluster:
      return "member host port:i role state timeline:i lag_bytes:q leader term:N routing waits_for held_clients:i "
             "in_flight:i"
             " last_change last_hold_ms:q view_age_ms:q trouble";
  }
  return "";
}

uint16_t format_at(std::span<const uint16_t> formats, size_t index) {
  if (formats.empty()) return 0;
  return formats.size() == 1 ? formats[0] : index < formats.size() ? formats[index] : uint16_t{0};
}

void put_bytes(std::string& out, uint64_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) out.push_back(static_cast<char>(value >> (8 * i) & 255));
}

// A whole number as digits of base 10,000.
std::optional<std::string> binary_numeric(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  text.remove_prefix(std::min(text.find_first_not_of('0'), text.size()));
  std::vector<unsigned> digits;
  for (size_t end = text.size(); end > 0;) {
    const size_t begin = end > 4 ? end - 4 : 0;
    unsigned digit = 0;
    for (size_t i = begin; i < end; ++i) digit = digit * 10 + static_cast<unsigned>(text[i] - '0');
    digits.insert(digits.begin(), digit);
    end = begin;
  }
  const size_t weight = digits.empty() ? 0 : digits.size() - 1;
  while (!digits.empty() && digits.back() == 0) digits.pop_back();
  std::string out;
  put_bytes(out, digits.size(), 2);
  put_bytes(out, weight, 2);
  put_bytes(out, negative ? 0x4000 : 0, 2);
  put_bytes(out, 0, 2);  // no decimals
  for (const unsigned digit : digits) put_bytes(out, digit, 2);
  return out;
}

}  // namespace

uint32_t TableColumn::oid() const {
  switch (type) {
    case 'i': return 23;
    case 'q': return 20;
    case 'N': return 1700;
    case 'b': return 17;
    default: return 25;
  }
}

Columns make_columns(std::string_view spec) {
  Columns columns;
  for (const std::string& word : split(spec, ' ')) {
    const size_t colon = word.find(':');
    columns.push_back({word.substr(0, colon), colon == std::string::npos ? 's' : word[colon + 1]});
  }
  return columns;
}

const Columns& columns_of(Show show) {
  static const auto all = [] {
    std::map<Show, Columns> made;
    for (int i = 0; i <= static_cast<int>(Show::cluster); ++i)
      made[static_cast<Show>(i)] = make_columns(spec_of(static_cast<Show>(i)));
    return made;
  }();
  return all.at(show);
}

Columns columns_of(const Command& command) {
  if (command.verb == Verb::show) return columns_of(command.show);
  if (command.verb == Verb::show_dummy) return {{command.argument, 's'}};
  return {};
}

std::optional<std::string> binary_cell(char type, std::string_view text) {
  if (type == 'N') return binary_numeric(text);
  if (type != 'i' && type != 'q') return std::string(text);
  auto number = parse_int(text);
  if (!number) return std::nullopt;
  std::string out;
  put_bytes(out, static_cast<uint64_t>(*number), type == 'i' ? 4 : 8);
  return out;
}

void append_description(std::string& out, const Columns& columns, std::span<const uint16_t> formats) {
  std::vector<wire::Column> described;
  for (size_t i = 0; i < columns.size(); ++i) {
    wire::Column column;
    column.name = columns[i].name;
    column.type = columns[i].oid();
    column.size = columns[i].type == 'i' ? int16_t{4} : columns[i].type == 'q' ? int16_t{8} : int16_t{-1};
    column.format = format_at(formats, i);
    described.push_back(column);
  }
  wire::append_row_description(out, described);
}

void append_row(std::string& out, const Columns& columns, const Row& row, std::span<const uint16_t> formats) {
  std::vector<std::optional<std::string>> binary(row.size());
  std::vector<wire::Value> values(row.size());
  for (size_t i = 0; i < row.size(); ++i) {
    if (!row[i]) continue;
    if (format_at(formats, i) == 0) {
      values[i] = *row[i];
    } else {
      binary[i] = binary_cell(columns[i].type, *row[i]);
      if (binary[i]) values[i] = *binary[i];
    }
  }
  wire::append_data_row(out, values);
}

}  // namespace pgdba::pooler
