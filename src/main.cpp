// One program, several processes: the guardian and the supervisor start small, before anything else is built; the agent
// has the rest; everything that a person types is the command line.
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <vector>

#include "agent/main.h"
#include "cli/main.h"
#include "guardian/guardian.h"
#include "local/supervisor.h"
#include "pooler/main.h"

int main(int argc, char** argv) {
  // Started through /proc/self/exe, the kernel would call it "exe".
  ::prctl(PR_SET_NAME, "pgdba");
  std::string_view command = argc > 1 ? argv[1] : "";
  if (command == "guardian") return pgdba::guardian::main(argc, argv);
  if (command == "supervisor" && argc == 4) return pgdba::local::supervisor_main(argv[2], argv[3]);
  if (command == "agent") return pgdba::agent::agent_main(std::vector<std::string>(argv + 2, argv + argc));
  if (command == "pooler") return pgdba::pooler::pooler_main(std::vector<std::string>(argv + 2, argv + argc));
  return pgdba::cli::main(argc, argv);
}
