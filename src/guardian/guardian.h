// The guardian's program: `pgdba guardian …`, started by guardian::Client and by nobody else.
#pragma once

namespace pgdba::guardian {

// argv as the process got it, argv[1] being "guardian". Returns the exit code: 0 when everything is dead and proved,
// 1 when it refused to begin, 2 for wrong arguments.
int main(int argc, char** argv);

}  // namespace pgdba::guardian
