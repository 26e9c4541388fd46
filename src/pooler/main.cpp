#include "pooler/main.h"

#include <fmt/format.h>
#include <utility>

#include "pooler/arguments.h"
#include "pooler/config.h"
#include "pooler/process.h"

namespace pgdba::pooler {

int pooler_main(const std::vector<std::string>& arguments) {
  auto parsed = parse_arguments(arguments);
  if (!parsed) {
    fmt::print(stderr, "pgdba pooler: {}\nTry \"pgdba pooler --help\" for more information.\n", parsed.error().text);
    return 1;
  }
  switch (parsed->what) {
    case Arguments::Do::help: fmt::print("{}", help_text()); return 0;
    case Arguments::Do::version: fmt::print("{}", version_text()); return 0;
    case Arguments::Do::run: break;
  }
  auto loaded = load_config(parsed->file);
  if (!loaded) {
    for (const std::string& error : loaded.error().errors) fmt::print(stderr, "pgdba pooler: {}\n", error);
    return 1;
  }
  Process process(std::move(*parsed), std::move(*loaded));
  return process.run();
}

}  // namespace pgdba::pooler
