// `pgdba pooler FILE`: the command line, the listening sockets and the signals around the workers.
#pragma once

#include <string>
#include <vector>

namespace pgdba::pooler {

// `arguments` are those behind "pooler". The exit code: 0 help, version or an orderly end, 1 an error of use or a fatal one.
int pooler_main(const std::vector<std::string>& arguments);

}  // namespace pgdba::pooler
