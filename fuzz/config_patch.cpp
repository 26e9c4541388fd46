// Configuration and patch, one line each.
#include "target.h"
#include "wire/config_json.h"

FUZZ_TARGET(config_patch) {
  using namespace pgdba::wire;
  auto newline = data.find('\n');
  if (newline == std::string_view::npos) return;
  std::string_view config = data.substr(0, newline);
  std::string_view patch = data.substr(newline + 1);
  auto patched = patch_config(config, patch);
  (void)diff_config(config, patch);
  if (!patched) return;
  auto changes = diff_config(config, patched->json);
  CHECK(changes.has_value());
  CHECK(patched->changed || changes->empty());
  auto twice = patch_config(patched->json, patch);
  CHECK(twice && !twice->changed && twice->json == patched->json);
}
