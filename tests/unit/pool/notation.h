// Messages as people write them: "P(s1,select 1) B(,s1) E S" from a client, "1 2 D(x) C(SELECT 1) Z(I)" from a server.
//
//   client: Q(sql) P(name,sql) B(portal,statement) B(portal,statement,value) DS(name) DP(name) CS(name) CP(name) E
//   E(portal) S H d(data) c f(why) F X server: 1 2 3 n t T I s V c G H W d(data) D(value) C(tag) Z(I) E(code,text)
//   F(code,text: FATAL) N(text) A S(name,value)
//
// "$3" is the third statement's name on a server. first(n,message) and after(n,message) are pieces of one;
// raw(type,length) is a head with nothing behind it; fill(n,message) is a message with n more bytes "x" in it, after
// its text.
#pragma once

#include <string>
#include <string_view>

namespace pgdba::pool::testing {

std::string encode(std::string_view text, bool from_client);

// The whole messages at the front of `bytes`, which they are taken out of.
std::string decode(std::string& bytes, bool from_client);

}  // namespace pgdba::pool::testing
