// The memory of resolve(), which a Loop keeps. Internal to net/.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "net/loop.h"

namespace pgdba::net {

struct Names {
  struct Entry {
    explicit Entry(Loop& loop) : answered(loop) {}
    bool asking = false;
    std::vector<std::string> addresses;  // of the last good answer
    std::optional<Error> failure;        // of the last answer, if it was none
    Event answered;
  };
  std::map<std::string, std::shared_ptr<Entry>> entries;
};

}  // namespace pgdba::net
