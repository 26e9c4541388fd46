// Client and server on real sockets; hostile clients are blocking sockets of the test's own thread.
#include "net/http_server.h"

#include <arpa/inet.h>
#include <future>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <list>
#include <thread>

#include "net/http_client.h"
#include "net/port.h"

namespace pgdba::net {
namespace {

class Socket {
 public:
  explicit Socket(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~Socket() { ::close(fd_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  bool send(const std::string& text) {
    return ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  // Everything until the other side closes, or nothing came for `limit`.
  std::string read_all(int limit_ms = 3000) {
    std::string out;
    char buffer[4096];
    pollfd entry{fd_, POLLIN, 0};
    while (poll(&entry, 1, limit_ms) > 0) {
      ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
      if (n <= 0) return out + "<EOF>";
      out.append(buffer, static_cast<size_t>(n));
    }
    return out;
  }
  bool connected = false;

 private:
  int fd_;
};

struct HttpServerTest : ::testing::Test {
  Loop loop;
  HttpServerOptions options;
  std::unique_ptr<HttpServer> server;
  std::thread thread;
  uint16_t port = 0;
  // What the loop's thread saw as the longest delay of a 1 ms sleep: nobody may hold it up.
  std::atomic<int64_t> worst_delay_ms{0};

  Task<Response> answer(const Request& request, const PeerAddress& peer) {
    Response out;
    if (request.path() == "/slow") co_await loop.sleep_for(200ms);
    if (request.path() == "/bare") {
      out.bare = true;
      out.status = 503;
      co_return out;
    }
    out.headers = {{"Content-Type", "text/plain"}};
    if (request.path() == "/big") {
      out.body.assign(8'000'000, 'b');
      co_return out;
    }
    out.body = request.method + " " + request.target + " " + request.body + (peer.tls ? " tls" : "") +
               (peer.certificate_verified ? " verified" : "");
    co_return out;
  }

  Task<void> pulse() {
    while (true) {
      BootTime before = loop.now();
      co_await loop.sleep_for(1ms);
      worst_delay_ms = std::max(worst_delay_ms.load(), to_ms(loop.now() - before) - 1);
    }
  }

  void serve() {
    HttpHandler handler = [this](const Request& r, const PeerAddress& p) { return answer(r, p); };
    server = std::make_unique<HttpServer>(loop, options, handler);
    auto listening = [&]() -> Task<Result<void>> { co_return co_await server->listen("127.0.0.1", 0, loop.after(1s)); };
    std::optional<Result<void>> result;
    ASSERT_TRUE(loop.run_blocking(detail::store(listening(), result), loop.after(2s)));
    ASSERT_TRUE(*result) << result->error().text;
    port = server->port();
    loop.spawn(pulse(), "pulse");
    thread = std::thread([this] { loop.run(); });
  }
  // Asked on the loop's thread, to which they belong.
  HttpServer::Counters counters() {
    std::promise<HttpServer::Counters> answer;
    loop.post([&] { answer.set_value(server->counters()); });
    return answer.get_future().get();
  }
  ~HttpServerTest() override {
    loop.stop();
    if (thread.joinable()) thread.join();
  }
};

TEST_F(HttpServerTest, normal_bare_and_head_replies) {
  serve();
  Socket a(port);
  a.send("GET /x HTTP/1.0\r\n\r\n");
  std::string got = a.read_all();
  EXPECT_TRUE(got.starts_with("HTTP/1.0 200 OK\r\nServer: pgdba\r\nDate: ")) << got;
  EXPECT_NE(got.find("GMT\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\nGET /x <EOF>"), std::string::npos) << got;
  Socket b(port);
  b.send("GET /bare HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(b.read_all(), "HTTP/1.0 503 Service Unavailable\r\n\r\n<EOF>");
  Socket c(port);
  c.send("HEAD /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  got = c.read_all();
  EXPECT_TRUE(got.ends_with("Content-Length: 8\r\n\r\n<EOF>")) << got;
}

TEST_F(HttpServerTest, keeps_connections_alive_and_answers_pipelined_requests) {
  serve();
  Socket a(port);
  a.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nConnection: close\r\n\r\n");
  std::string got = a.read_all();
  EXPECT_NE(got.find("GET /1 HTTP/1.1 200 OK"), std::string::npos) << got;
  EXPECT_NE(got.find("POST /2 abcHTTP/1.0 200 OK"), std::string::npos) << got;
  EXPECT_TRUE(got.ends_with("GET /3 <EOF>")) << got;
  EXPECT_EQ(counters().accepted, 1u);
}

TEST_F(HttpServerTest, bad_requests_get_an_error_page_and_a_closed_connection) {
  serve();
  const std::pair<std::string, const char*> rows[] = {
      {"NONSENSE\r\n\r\n", "HTTP/1.0 400 Bad Request\r\n"},
      {"GET / HTTP/1.1\r\nX: " + std::string(20000, 'a') + "\r\n\r\n", "HTTP/1.0 431 "},
      {"POST / HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n" + std::string(100000, 'b'), "HTTP/1.0 413 "},
  };
  for (const auto& [text, start] : rows) {
    Socket a(port);
    a.send(text);
    std::string got = a.read_all();
    EXPECT_TRUE(got.starts_with(start)) << got;
    EXPECT_TRUE(got.ends_with("</html>\n<EOF>")) << got;
    EXPECT_NE(got.find("Connection: close\r\n"), std::string::npos) << got;
  }
}

TEST_F(HttpServerTest, expect_continue) {
  serve();
  Socket a(port);
  a.send("POST /c HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(a.read_all(300), "HTTP/1.1 100 Continue\r\n\r\n");
  a.send("ok");
  EXPECT_TRUE(a.read_all().ends_with("POST /c ok<EOF>"));
}

TEST_F(HttpServerTest, who_is_refused_sends_no_body) {
  options.doorkeeper = [](const Request& head, const PeerAddress&) -> std::optional<Response> {
    if (head.method != "PATCH") return std::nullopt;
    Response no;
    no.status = 401;
    return no;
  };
  serve();
  Socket a(port);
  a.send("PATCH /c HTTP/1.1\r\nContent-Length: 900000\r\nExpect: 100-continue\r\n\r\n");
  std::string got = a.read_all();
  EXPECT_TRUE(got.starts_with("HTTP/1.0 401 ")) << got;
  EXPECT_TRUE(got.ends_with("<EOF>")) << got;
  Socket b(port);
  b.send("POST /c HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n");
  b.send("ok");
  EXPECT_TRUE(b.read_all().ends_with("POST /c ok<EOF>"));
}

TEST_F(HttpServerTest, clients_that_do_not_read_lock_nobody_out) {
  options.max_connections = 3;
  serve();
  Socket a(port), b(port), c(port);
  for (Socket* one : {&a, &b, &c}) one->send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
  std::this_thread::sleep_for(100ms);  // their answers fill the sockets
  Socket honest(port);
  honest.send("GET /x HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(honest.read_all().ends_with("GET /x <EOF>"));
}

TEST_F(HttpServerTest, slow_headers_slow_bodies_and_silence_are_cut_off) {
  options.header_deadline = 150ms;
  options.body_deadline = 150ms;
  options.idle_deadline = 150ms;
  serve();
  Socket silent(port), slow_header(port), slow_body(port), kept(port);
  slow_body.send("POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc");
  kept.send("GET /k HTTP/1.1\r\n\r\n");
  for (int i = 0; i < 40; ++i) {
    slow_header.send("G");  // a byte now and then buys no time
    slow_body.send("x");
    usleep(10'000);
  }
  EXPECT_EQ(silent.read_all(500), "<EOF>");
  EXPECT_EQ(slow_header.read_all(500), "<EOF>");
  EXPECT_EQ(slow_body.read_all(500), "<EOF>");
  EXPECT_TRUE(kept.read_all(500).ends_with("GET /k <EOF>"));
}

// A client that asks for much and reads nothing: its task waits alone, and ends.
TEST_F(HttpServerTest, who_does_not_read_holds_up_nobody) {
  options.write_deadline = 200ms;
  serve();
  std::vector<std::unique_ptr<Socket>> deaf;
  for (int i = 0; i < 20; ++i) {
    deaf.push_back(std::make_unique<Socket>(port));
    deaf.back()->send("GET /big HTTP/1.1\r\n\r\n");
  }
  Socket honest(port);
  honest.send("GET /h HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(honest.read_all().ends_with("GET /h <EOF>"));
  for (int i = 0; i < 100 && counters().open > 0; ++i) usleep(10'000);
  EXPECT_EQ(counters().open, 0u);
}

TEST_F(HttpServerTest, a_thousand_idle_connections_lock_nobody_out) {
  serve();
  std::vector<std::unique_ptr<Socket>> idle;
  for (int i = 0; i < 1000; ++i) {
    idle.push_back(std::make_unique<Socket>(port));
    ASSERT_TRUE(idle.back()->connected) << i;
  }
  BootTime before = boot_now();
  Socket honest(port);
  honest.send("GET /h HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(honest.read_all().ends_with("GET /h <EOF>"));
  EXPECT_LT(boot_now() - before, 500ms);
  const HttpServer::Counters now = counters();
  EXPECT_LE(now.open, 513u);
  EXPECT_GE(now.evicted, 480u);
  EXPECT_LT(worst_delay_ms, 100);
}

TEST_F(HttpServerTest, connections_at_work_are_not_evicted) {
  options.max_connections = 2;
  serve();
  Socket a(port), b(port);
  a.send("GET /slow HTTP/1.0\r\n\r\n");
  b.send("GET /slow HTTP/1.0\r\n\r\n");
  usleep(50'000);
  Socket c(port);
  EXPECT_EQ(c.read_all(1000), "<EOF>");
  EXPECT_TRUE(a.read_all().ends_with("GET /slow <EOF>"));
  EXPECT_TRUE(b.read_all().ends_with("GET /slow <EOF>"));
  EXPECT_EQ(counters().rejected, 1u);
}

TEST_F(HttpServerTest, client_reuses_connections_and_tells_unsent_from_unknown) {
  serve();
  Loop mine;
  HttpClient client(mine);
  auto main = [&]() -> Task<void> {
    Url url = parse_url("http://127.0.0.1:" + std::to_string(port) + "/a?b=c").value();
    for (int i = 0; i < 3; ++i) {
      Request request;
      request.method = "POST";
      request.body = "body";
      auto answer = co_await client.request(url, request, mine.after(1s));
      EXPECT_TRUE(answer);
      if (!answer) co_return;
      EXPECT_EQ(answer->body, "POST /a?b=c body");
    }
    EXPECT_EQ(counters().accepted, 1u);
    url.target = "/slow";
    auto late = co_await client.request(url, {}, mine.after(50ms));
    EXPECT_TRUE(!late && late.error().code == Errc::timeout);
    url.port = pick_free_port().value();
    auto nobody = co_await client.request(url, {}, mine.after(1s));
    EXPECT_TRUE(!nobody && nobody.error().code == Errc::unavailable) << nobody.error().text;
    url.host = "no-such-host.invalid";
    auto unknown = co_await client.request(url, {}, mine.after(2s));
    EXPECT_TRUE(!unknown && unknown.error().code == Errc::unavailable) << unknown.error().text;
  };
  ASSERT_TRUE(mine.run_blocking(main(), boot_now() + 10s));
}

// Cancelled in the middle of an exchange, a connection must not be used again: it would read the old answer.
TEST_F(HttpServerTest, a_cancelled_request_leaves_its_connection_closed) {
  serve();
  Loop mine;
  auto main = [&]() -> Task<void> {
    HttpConnection connection(mine, parse_url("http://127.0.0.1:" + std::to_string(port)).value());
    EXPECT_TRUE(co_await connection.connect(mine.after(1s)));
    auto slow = [&]() -> Task<void> {
      Request request;
      request.target = "/slow";
      (void)co_await connection.request(request, mine.after(1h));
    };
    Job job = mine.start(slow(), "slow");
    co_await mine.sleep_for(30ms);
    EXPECT_FALSE(connection.usable());
    co_await job.stop();
    EXPECT_FALSE(connection.usable());
    auto refused = co_await connection.request({}, mine.after(1s));
    EXPECT_TRUE(!refused && refused.error().code == Errc::unavailable);
  };
  ASSERT_TRUE(mine.run_blocking(main(), boot_now() + 10s));
}

TEST_F(HttpServerTest, a_taken_port_says_so) {
  serve();
  Loop mine;
  HttpHandler handler = [](const Request&, const PeerAddress&) -> Task<Response> { co_return Response{}; };
  HttpServer second(mine, {}, handler);
  auto result = std::optional<Result<void>>();
  ASSERT_TRUE(mine.run_blocking(detail::store(second.listen("127.0.0.1", port, mine.after(1s)), result), mine.after(2s)));
  ASSERT_FALSE(*result);
  EXPECT_NE(result->error().text.find("127.0.0.1 port " + std::to_string(port)), std::string::npos) << result->error().text;
}

TEST_F(HttpServerTest, tls_with_client_certificates) {
  std::string dir = "/tmp/pgdba-tls-" + std::to_string(getpid());
  std::string make =
      "mkdir -p " + dir + " && cd " + dir +
      " && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout ca.key -out ca.pem -subj /CN=test-ca"
      " && for n in server client; do openssl req -newkey rsa:2048 -nodes -keyout $n.key -out $n.csr -subj /CN=$n"
      " && printf 'subjectAltName=IP:127.0.0.1' > ext && openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key"
      " -CAcreateserial -days 2 -out $n.pem -extfile ext; done";
  ASSERT_EQ(std::system(("(" + make + ") >/dev/null 2>&1").c_str()), 0);
  options.tls.emplace();
  options.tls->cert_file = dir + "/server.pem";
  options.tls->key_file = dir + "/server.key";
  options.tls->ca_file = dir + "/ca.pem";
  options.tls->client_certificate = TlsServerOptions::ClientCertificate::optional;
  options.header_deadline = 3s;
  options.max_handshakes = 2;
  serve();
  std::list<Socket> silent;  // never shake hands
  for (int i = 0; i < 10; ++i) silent.emplace_back(port);
  Loop mine;
  auto ask = [&](TlsClientOptions tls, std::string host) -> Task<Result<Response>> {
    auto context = TlsContext::client(tls);
    if (!context) co_return tl::unexpected(context.error());
    HttpClient client(mine, *context);
    Url url = parse_url("https://" + host + ":" + std::to_string(port) + "/t").value();
    auto first = co_await client.request(url, {}, mine.after(2s));
    if (!first) co_return first;
    co_return co_await client.request(url, {}, mine.after(2s));  // on the kept connection
  };
  auto main = [&]() -> Task<void> {
    TlsClientOptions tls;
    tls.ca_file = dir + "/ca.pem";
    auto plain = co_await ask(tls, "127.0.0.1");
    EXPECT_TRUE(plain) << plain.error().text;
    EXPECT_EQ(plain ? plain->body : "", "GET /t  tls");
    auto wrong_name = co_await ask(tls, "localhost");
    EXPECT_TRUE(!wrong_name && wrong_name.error().code == Errc::unavailable);
    tls.cert_file = dir + "/client.pem";
    tls.key_file = dir + "/client.key";
    auto known = co_await ask(tls, "127.0.0.1");
    EXPECT_TRUE(known) << known.error().text;
    EXPECT_EQ(known ? known->body : "", "GET /t  tls verified");
    auto untrusted = co_await ask({}, "127.0.0.1");
    EXPECT_FALSE(untrusted);
    TlsClientOptions insecure;
    insecure.verify = false;
    EXPECT_TRUE(co_await ask(insecure, "127.0.0.1"));
    tls.key_file = dir + "/ca.key";
    auto mismatch = co_await ask(tls, "127.0.0.1");
    EXPECT_TRUE(!mismatch && mismatch.error().code == Errc::invalid);
  };
  ASSERT_TRUE(mine.run_blocking(main(), boot_now() + 20s));
  EXPECT_EQ(silent.front().read_all(4000), "<EOF>");
  EXPECT_LT(worst_delay_ms, 200);
  EXPECT_EQ(std::system(("rm -r " + dir).c_str()), 0);
}

}  // namespace
}  // namespace pgdba::net
