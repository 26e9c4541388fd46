#include "base/line_format.h"

#include <gtest/gtest.h>

namespace pgdba {
namespace {

LogRecord record() {
  LogRecord r;
  r.asctime = "2026-11-23 13:01:02,146";
  r.level = "INFO";
  r.level_number = 20;
  r.component = "ha";
  r.message = "took the \"lock\"\nterm=4";
  r.created_ms = 1795352462046;
  r.process = 77;
  return r;
}

struct Row {
  const char* name;
  const char* format;
  const char* line;
};

TEST(LineFormat, python_texts) {
  const Row rows[] = {
      {"Patroni's default", "%(asctime)s %(levelname)s: %(message)s", "2026-11-23 13:01:02,146 INFO: ha: took the \"lock\"\\nterm=4"},
      {"a component of its own", "%(name)s|%(message)s", "ha|took the \"lock\"\\nterm=4"},
      {"widths", "[%(levelname)-8s|%(levelname)8s|%(msecs)03d|%(process)06d]", "[INFO    |    INFO|046|000077]"},
      {"a percent sign", "%d 100%% %(levelname)s %(oops %(levelname)q", "%d 100% INFO %(oops %(levelname)q"},
      {"numbers", "%(created)f %(levelno)s", "1795352462.046 20"},
      {"unknown", "<%(funcName)s>", "<>"},
      {"nothing", "", ""},
  };
  for (const Row& row : rows) EXPECT_EQ(format_line(parse_line_format(row.format), record()), row.line) << row.name;
  EXPECT_EQ(parse_line_format("%(funcName)s %(lineno)d %(funcName)s %(message)s").unknown, (std::vector<std::string>{"funcName", "lineno"}));
}

TEST(LineFormat, json_objects) {
  LineFormat plain = json_line_format({{"asctime", "asctime"}, {"levelname", "levelname"}, {"message", "message"}});
  EXPECT_EQ(format_line(plain, record()),
            R"({"asctime": "2026-11-23 13:01:02,146", "levelname": "INFO", "message": "ha: took the \"lock\"\nterm=4"})");
  LineFormat renamed = json_line_format({{"message", "message"}, {"module", "module"}, {"asctime", "@timestamp"}, {"lineno", "line"}, {"process", "pid"}});
  renamed.static_fields = {{"app", "\"patroni\""}, {"rack", "7"}};
  EXPECT_EQ(format_line(renamed, record()),
            R"({"message": "took the \"lock\"\nterm=4", "module": "ha", "@timestamp": "2026-11-23 13:01:02,146", "line": null, "pid": 77, "app": "patroni", "rack": 7})");
  EXPECT_EQ(renamed.unknown, std::vector<std::string>{"lineno"});
}

}  // namespace
}  // namespace pgdba
