// Lines of logs as a person or a program reads them: the source in front, in its colour, or one JSON object a line.
#pragma once

#include <string>
#include <vector>

#include "cli/terminal.h"
#include "local/log_merge.h"

namespace pgdba::cli {

class LogPrinter {
 public:
  LogPrinter(const Terminal& terminal, std::vector<std::string> sources);
  void print(const std::vector<local::LogLine>& lines) const;

 private:
  const Terminal& terminal_;
  std::vector<std::string> sources_;
  size_t width_ = 0;
};

}  // namespace pgdba::cli
