# Warnings and hardening, the same for every target.
add_compile_options(-Wall -Wextra -Wshadow -Wconversion -Wnon-virtual-dtor)
option(PGDBA_WERROR "Warnings are errors" ON)
if(PGDBA_WERROR)
  add_compile_options(-Werror)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Release" OR CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
  add_compile_options(-fstack-protector-strong)
  add_compile_definitions(_FORTIFY_SOURCE=2 _GLIBCXX_ASSERTIONS)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports these inside libstdc++ (strings whose size it does not know) and Boost (coroutine frames), without cause;
  # clang and the sanitizers look for the same mistakes.
  add_compile_options(-Wno-maybe-uninitialized -Wno-restrict -Wno-dangling-pointer -Wno-mismatched-new-delete
    -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread)
endif()

set(PGDBA_SANITIZE "" CACHE STRING "address, thread, fuzzer or empty")
if(PGDBA_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(PGDBA_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-tsan)  # Asio's fences, which g++ does not instrument: nothing of ours relies on a fence alone
  endif()
  add_link_options(-fsanitize=thread)
elseif(PGDBA_SANITIZE STREQUAL "fuzzer")
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
endif()

find_program(PGDBA_CCACHE ccache)
if(PGDBA_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1
    CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${PGDBA_CCACHE})
endif()
