// The test program is its own guardian: guardian::Client starts /proc/self/exe with the subcommand.
#include <gtest/gtest.h>

#include <cstring>

#include "guardian/guardian.h"
#include "unit/guardian/scratch.h"

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "guardian") == 0) return pgdba::guardian::main(argc, argv);
  testing::InitGoogleTest(&argc, argv);
  if (!GTEST_FLAG_GET(list_tests)) pgdba::test::become_ordinary_user();
  return RUN_ALL_TESTS();
}
