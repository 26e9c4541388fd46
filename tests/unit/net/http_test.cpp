#include "net/http.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "net/http_parse.h"

namespace pgdba::net {
namespace {

TEST(Url, reads_the_usual_forms) {
  struct Row {
    const char* text;
    bool tls;
    const char* host;
    uint16_t port;
    const char* target;
    const char* origin;
  };
  const Row rows[] = {
      {"http://127.0.0.1:8008", false, "127.0.0.1", 8008, "/", "http://127.0.0.1:8008"},
      {"https://etcd-1", true, "etcd-1", 443, "/", "https://etcd-1:443"},
      {"http://[::1]:2379/v3/kv?x=1", false, "::1", 2379, "/v3/kv?x=1", "http://[::1]:2379"},
      {"http://h?x", false, "h", 80, "/?x", "http://h:80"},
  };
  for (const Row& row : rows) {
    auto url = parse_url(row.text);
    ASSERT_TRUE(url) << row.text;
    EXPECT_EQ(url->tls, row.tls);
    EXPECT_EQ(url->host, row.host);
    EXPECT_EQ(url->port, row.port);
    EXPECT_EQ(url->target, row.target);
    EXPECT_EQ(url->origin(), row.origin);
  }
  for (const char* bad : {"", "127.0.0.1:8008", "ftp://x", "http://", "http://:80", "http://h:0", "http://h:65536",
                          "http://h:8x", "http://[::1", "http://u:p@h", "http://h/a b", "http://h/\r\nX: y"}) {
    EXPECT_FALSE(parse_url(bad)) << bad;
  }
}

TEST(Query, decodes_names_and_values) {
  auto got = parse_query("lag=10%20MB&tag_x=a+b&bare&broken=%zz&=v&&");
  std::vector<std::pair<std::string, std::string>> want = {
      {"lag", "10 MB"}, {"tag_x", "a b"}, {"bare", ""}, {"broken", "%zz"}, {"", "v"}};
  EXPECT_EQ(got, want);
  EXPECT_EQ(percent_decode("%"), "%");
  EXPECT_EQ(percent_decode("%4"), "%4");
  EXPECT_EQ(percent_decode("%41"), "A");
}

TEST(BasicAuth, accepts_the_right_word_only) {
  Secret password("p:w");
  Request request;
  EXPECT_FALSE(basic_auth_matches(request, "admin", password));
  request.headers = {{"authorization", "basic YWRtaW46cDp3"}};
  EXPECT_TRUE(basic_auth_matches(request, "admin", password));
  EXPECT_FALSE(basic_auth_matches(request, "admin", Secret("p:x")));
  for (const char* wrong : {"", "Basic", "Basic ", "Basic YWRtaW46cDp3YWRtaW46cDp3", "Bearer YWRtaW46cDp3", "Basic YWRt"}) {
    request.headers = {{"Authorization", wrong}};
    EXPECT_FALSE(basic_auth_matches(request, "admin", password)) << wrong;
  }
}

std::string head(const Headers& headers) { return format_head("HTTP/1.0 200 OK", headers); }

TEST(FormatHead, no_value_can_add_a_header) {
  EXPECT_EQ(head({{"X", "a\r\nSet-Cookie: b"}}), "HTTP/1.0 200 OK\r\nX: aSet-Cookie: b\r\n\r\n");
  EXPECT_EQ(head({}), "HTTP/1.0 200 OK\r\n\r\n");
}

// Byte by byte, and with two requests in one buffer: the same result as at once.
TEST(RequestParser, any_split_gives_the_same_request) {
  std::string text = "POST /switchover?a=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.0\r\n\r\n";
  for (size_t step = 1; step <= text.size(); ++step) {
    RequestParser parser(1000, 1000);
    std::string buffer;
    size_t at = 0;
    bool done = false;
    while (!done && at < text.size()) {
      buffer += text.substr(at, step);
      at += step;
      auto fed = parser.feed(buffer);
      ASSERT_TRUE(fed) << fed.error().text;
      done = *fed;
    }
    ASSERT_TRUE(done) << step;
    Request request = parser.take();
    EXPECT_EQ(request.method, "POST");
    EXPECT_EQ(request.path(), "/switchover");
    EXPECT_EQ(request.query(), "a=1");
    EXPECT_EQ(request.body, "hello");
    buffer += at < text.size() ? text.substr(at) : "";
    RequestParser second(1000, 1000);
    auto fed = second.feed(buffer);
    ASSERT_TRUE(fed && *fed) << step;
    EXPECT_TRUE(second.http10());
    EXPECT_FALSE(second.keep_alive());
  }
}

TEST(RequestParser, limits_and_nonsense) {
  struct Row {
    const char* name;
    std::string text;
    int status;
  };
  const Row rows[] = {
      {"header too long", "GET / HTTP/1.1\r\nX: " + std::string(2000, 'a') + "\r\n\r\n", 431},
      {"endless header without a line end", std::string(2000, 'a'), 431},
      {"body too long", "POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", 413},
      {"huge length", "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400},
      {"two lengths", "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
      {"negative length", "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400},
      {"length and chunked", "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"chunks too long", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7ff\r\n", 413},
      {"chunk head without an end", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(2000, 'a'), 431},
      {"trailer too long", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + std::string(2000, 'a'), 431},
      {"a coding that hides the end", "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nGET / HTTP/1.1\r\n\r\n", 400},
      {"not HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
      {"bad version", "GET / HTTP/9.1\r\n\r\n", 400},
      {"folded header start", "GET / HTTP/1.1\r\n X: y\r\n\r\n", 400},
  };
  for (const Row& row : rows) {
    RequestParser parser(1000, 1000);
    std::string buffer = row.text;
    auto fed = parser.feed(buffer);
    EXPECT_FALSE(fed) << row.name;
    EXPECT_EQ(parser.status(), row.status) << row.name;
  }
}

// Beast stores a field's length in 16 bits and throws beyond; an exception in a connection's task ends the agent.
TEST(RequestParser, a_field_longer_than_beast_can_store_is_an_error) {
  RequestParser parser(1000000, 1000);
  std::string buffer =
      "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + std::string(70000, 'a') + "\r\n\r\n";
  EXPECT_FALSE(parser.feed(buffer));
  EXPECT_EQ(parser.status(), 431);
}

TEST(RequestParser, random_bytes_neither_throw_nor_hang) {
  Random random(7);
  const std::string seed = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
  for (int round = 0; round < 3000; ++round) {
    std::string text = seed;
    for (uint64_t i = random.below(6); i > 0; --i) text[random.below(text.size())] = static_cast<char>(random.below(256));
    std::string buffer;
    RequestParser parser(500, 500);
    for (size_t at = 0; at < text.size();) {
      size_t n = 1 + random.below(20);
      buffer += text.substr(at, n);
      at += n;
      auto fed = parser.feed(buffer);
      if (!fed || *fed) break;
    }
  }
}

TEST(ResponseParser, chunked_bare_and_until_close) {
  {
    ResponseParser parser(1000, 1000, false);
    std::string buffer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    EXPECT_FALSE(parser.feed(buffer).value());
    EXPECT_EQ(parser.take_body(), "abc");
    buffer += "2\r\nde\r\n0\r\nTrailer: x\r\n\r\n";
    EXPECT_TRUE(parser.feed(buffer).value());
    EXPECT_EQ(parser.take_body(), "de");
    EXPECT_TRUE(parser.keep_alive());
  }
  {
    ResponseParser parser(1000, 1000, false);
    std::string buffer = "HTTP/1.0 503 Service Unavailable\r\n\r\n";
    EXPECT_FALSE(parser.feed(buffer).value());
    EXPECT_TRUE(parser.feed_end().value());
    EXPECT_EQ(parser.take().status, 503);
  }
  {
    ResponseParser parser(1000, 1000, false);
    std::string buffer = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    EXPECT_FALSE(parser.feed(buffer).value());
    EXPECT_FALSE(parser.feed_end());
  }
  {
    ResponseParser parser(1000, 1000, false);
    std::string buffer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    EXPECT_TRUE(parser.feed(buffer).value());
    EXPECT_EQ(parser.take().status, 204);
  }
  {
    // A server killed before it answered: Beast asserts here.
    ResponseParser parser(1000, 1000, false);
    EXPECT_FALSE(parser.feed_end());
    std::string buffer = "HTTP/1.1 100 Continue\r\n\r\n";
    EXPECT_FALSE(parser.feed(buffer).value());
    EXPECT_FALSE(parser.feed_end());
    buffer = "HTT";
    EXPECT_FALSE(parser.feed(buffer).value());
    EXPECT_FALSE(parser.feed_end());
  }
  {
    ResponseParser parser(1000, 3, false);
    std::string buffer = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    EXPECT_FALSE(parser.feed(buffer));
  }
}

}  // namespace
}  // namespace pgdba::net
