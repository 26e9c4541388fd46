// docs/pooler.md has the table of settings as the code knows them. To write it anew: PGDBA_REWRITE=1 unit_conf --gtest_filter=PoolerManual*
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "conf/pooler_settings.h"

namespace pgdba::conf {

TEST(PoolerManual, has_the_settings_that_there_are) {
  const std::string path = std::string(PGDBA_TESTS_DIR) + "/../docs/pooler.md";
  std::ifstream in(path);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const std::string head = "| name | type | default | reload | mark | not done |\n|---|---|---|---|---|---|\n";
  const size_t begin = text.find(head);
  ASSERT_NE(begin, std::string::npos) << path;
  const size_t rows = begin + head.size();
  size_t end = rows;
  while (end < text.size() && text[end] == '|') end = text.find('\n', end) + 1;
  if (std::getenv("PGDBA_REWRITE") != nullptr) {
    text.replace(rows, end - rows, settings_markdown());
    std::ofstream(path) << text;
    return;
  }
  EXPECT_EQ(text.substr(rows, end - rows), settings_markdown());
}

}  // namespace pgdba::conf
