// The `docker` program as a child process: what it printed and how it ended. No password passes through here: Compose
// reads them itself, so none is ever an argument of a process.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"

namespace pgdba::local {

struct DockerCall {
  std::vector<std::string> arguments;      // after `docker`
  std::string folder = {};                 // where it runs; empty: here
  std::vector<std::string> variables = {};  // NAME=value, beside this process's own
  std::vector<std::string> without = {};    // those of this process's own that it does not get
  std::optional<Duration> patience = std::chrono::seconds(30);  // then it is killed; none: it shows itself what it is doing
  // Complete lines of both outputs, as they come; then `output` stays empty.
  std::function<void(const std::vector<std::string>&)> on_lines = {};
};

struct DockerAnswer {
  int code = 0;
  std::string output;     // stdout
  std::string complaint;  // stderr; of a long one the end
};

// not_found: there is no such program in PATH. timeout: it was killed.
Result<DockerAnswer> run_docker(const DockerCall& call);

// stdout if it ended with 0; else the last lines of what it said. denied: this user may not talk to the engine;
// unavailable: no engine answers.
Result<std::string> ask_docker(const DockerCall& call);
Error docker_error(const DockerCall& call, const DockerAnswer& answer);

// There is the program, its Compose plugin, and an engine that answers.
Result<void> check_docker();

}  // namespace pgdba::local
