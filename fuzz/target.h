// FUZZ_TARGET(name) { … data … }: one parser under arbitrary bytes.
//
// With clang and -DPGDBA_FUZZ=ON each file is a libFuzzer program fuzz_<name>. In ordinary builds all of them are in
// one program, fuzz_replay, which runs the corpus of one target; CTest calls it for each. A target must not crash,
// throw or take long on any bytes, and CHECKs what must hold for those that were accepted.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

namespace pgdba::fuzz {

using Target = void (*)(std::string_view data);

inline std::map<std::string, Target>& targets() {
  static std::map<std::string, Target> all;
  return all;
}

struct Registration {
  Registration(const char* name, Target target) { targets()[name] = target; }
};

[[noreturn]] inline void check_failed(const char* what, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: CHECK(%s) failed\n", file, line, what);
  std::abort();
}

}  // namespace pgdba::fuzz

#define CHECK(condition) ((condition) ? void() : pgdba::fuzz::check_failed(#condition, __FILE__, __LINE__))

#ifdef PGDBA_LIBFUZZER
#define FUZZ_TARGET(name)                                                    \
  static void fuzz_##name(std::string_view data);                            \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) { \
    fuzz_##name({reinterpret_cast<const char*>(bytes), size});               \
    return 0;                                                                \
  }                                                                          \
  static void fuzz_##name(std::string_view data)
#else
#define FUZZ_TARGET(name)                                                         \
  static void fuzz_##name(std::string_view data);                                 \
  static const pgdba::fuzz::Registration registration_##name{#name, fuzz_##name}; \
  static void fuzz_##name(std::string_view data)
#endif
