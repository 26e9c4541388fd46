// The console's results as values, and as messages of PostgreSQL's protocol.
//
// A Table's columns are fixed for each SHOW, so that they can be described before it runs. Invariant: every row has as
// many cells as there are columns; a number's cell is its decimal text.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "pooler/console/command.h"

namespace pgdba::pooler {

struct TableColumn {
  std::string name;
  char type = 's';  // s text, i int4, q int8, N numeric, b bytea

  [[nodiscard]] uint32_t oid() const;
};
using Columns = std::vector<TableColumn>;

// "database user cl_active:i maxwait:q": the type behind the colon, text without one.
Columns make_columns(std::string_view spec);
// What this SHOW gives; empty: no rows at all (SHOW HELP).
const Columns& columns_of(Show show);
// One column of text with the name of the parameter.
Columns columns_of(const Command& command);

using Cell = std::optional<std::string>;
using Row = std::vector<Cell>;

struct Table {
  Columns columns;
  std::vector<Row> rows;
};

// Formats: none: all text; one: for all columns; else one per column. 0 text, 1 binary.
void append_description(std::string& out, const Columns& columns, std::span<const uint16_t> formats = {});
void append_row(std::string& out, const Columns& columns, const Row& row, std::span<const uint16_t> formats = {});

// PostgreSQL's binary form of a cell. Nothing for what is no number in a number's column.
std::optional<std::string> binary_cell(char type, std::string_view text);

// Appends a row: RowMaker(table) << "text" << 17 << std::nullopt.
class RowMaker {
 public:
  explicit RowMaker(Table& table) : row_(table.rows.emplace_back()) { row_.reserve(table.columns.size()); }
  template <class Value>
  RowMaker& operator<<(const Value& value) {
    if constexpr (std::is_same_v<Value, Cell>)
      row_.push_back(value);
    else if constexpr (std::is_same_v<Value, std::nullopt_t>)
      row_.emplace_back(std::nullopt);
    else if constexpr (std::is_arithmetic_v<Value>)
      row_.emplace_back(std::to_string(value));
    else
      row_.emplace_back(std::string(value));
    return *this;
  }

 private:
  Row& row_;
};

}  // namespace pgdba::pooler
