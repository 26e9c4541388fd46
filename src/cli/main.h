// The command line: everything but `agent` and `guardian`.
#pragma once

namespace pgdba::cli {

// Parses, runs one command, returns its exit code (outcome.h).
int main(int argc, char** argv);

}  // namespace pgdba::cli
