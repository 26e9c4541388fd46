// What every command gets: the terminal, the registry, one loop for its requests. One command runs per process.
#pragma once

#include "cli/registry.h"
#include "cli/terminal.h"
#include "net/loop.h"

namespace pgdba::cli {

struct Context {
  Terminal terminal;
  Registry registry;
  net::Loop loop;
};

}  // namespace pgdba::cli
