// fuzz_replay TARGET FOLDER…: runs every file of the folders through one fuzz target, each also cut short in a few
// places.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "target.h"

int main(int argc, char** argv) {
  auto& targets = pgdba::fuzz::targets();
  auto found = argc >= 3 ? targets.find(argv[1]) : targets.end();
  if (found == targets.end()) {
    std::fprintf(stderr, "usage: fuzz_replay TARGET FOLDER…; the targets are:\n");
    for (const auto& [name, target] : targets) std::fprintf(stderr, "  %s\n", name.c_str());
    return 2;
  }
  int files = 0;
  for (int i = 2; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      std::ifstream file(entry.path(), std::ios::binary);
      std::string text{std::istreambuf_iterator<char>(file), {}};
      std::fprintf(stderr, "%s\n", entry.path().c_str());
      for (size_t length : {text.size(), text.size() / 2, text.size() * 9 / 10, text.size() - (text.empty() ? 0 : 1)}) {
        // A copy of exactly this size, so that ASan sees the first byte too many.
        std::vector<char> exact(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(length));
        found->second({exact.data(), exact.size()});
      }
      ++files;
    }
  }
  std::fprintf(stderr, "%d files\n", files);
  return files > 0 ? 0 : 1;  // an empty corpus would test nothing
}
