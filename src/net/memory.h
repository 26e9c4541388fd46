// Memory that starting up has left behind.
#pragma once

namespace pgdba::net {

// Unmaps what is resident of the program's and its libraries' code and constants; what is used again comes back from the page
// cache, page by page. Starting up touches several times what running needs. Nothing that was written is touched.
void forget_startup_pages();

}  // namespace pgdba::net
