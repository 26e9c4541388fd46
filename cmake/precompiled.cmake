# Four fifths of the time to compile a file go into headers of libraries, so each kind of file has them compiled once: pure
# folders, folders that await (Asio), and the tests of both. Headers of our own are never in it: a change would compile
# everything anew. What a file needs it still includes by itself.
set(PGDBA_STD_HEADERS <algorithm> <array> <charconv> <chrono> <cstdint> <cstdlib> <cstring> <deque> <filesystem> <functional> <map>
  <memory> <optional> <ranges> <set> <string> <string_view> <utility> <variant> <vector> <fmt/format.h> <tl/expected.hpp>)
# Asio's own code is compiled once, in net/asio.cpp; whoever awaits a task must see the same choice.
set(PGDBA_ASIO_CHOICE BOOST_ASIO_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED)
file(WRITE ${PROJECT_BINARY_DIR}/precompiled.cpp "")

# pgdba_precompiled(TARGET pure|awaits|pure_test|awaits_test). The headers are compiled in a target of their own with as few
# definitions as possible: g++ uses them only where all of those are defined as well.
function(pgdba_precompiled target kind)
  set(owner pgdba_headers_${kind})
  if(NOT TARGET ${owner})
    add_library(${owner} OBJECT ${PROJECT_BINARY_DIR}/precompiled.cpp)
    target_link_libraries(${owner} PRIVATE fmt::fmt tl::expected)
    set(headers ${PGDBA_STD_HEADERS})
    if(kind MATCHES "awaits")
      list(APPEND headers <boost/asio/awaitable.hpp>)
      target_link_libraries(${owner} PRIVATE Boost::headers)
      target_compile_definitions(${owner} PRIVATE ${PGDBA_ASIO_CHOICE})
    endif()
    if(kind MATCHES "test")
      list(APPEND headers <gtest/gtest.h>)
      target_link_libraries(${owner} PRIVATE GTest::gtest)
    endif()
    target_precompile_headers(${owner} PRIVATE ${headers})
  endif()
  target_precompile_headers(${target} REUSE_FROM ${owner})
endfunction()
