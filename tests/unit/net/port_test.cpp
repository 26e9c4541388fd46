#include "net/port.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace pgdba::net {
namespace {

struct PortTest : ::testing::Test {
  Loop loop;
  int listener = -1;
  uint16_t port = 0;

  void listen_on(int backlog) {
    listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
    ASSERT_EQ(listen(listener, backlog), 0);
    getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
  }
  ~PortTest() override {
    if (listener >= 0) close(listener);
  }
  Probe probe(std::string host, uint16_t at, Duration limit = 1s) {
    std::optional<Probe> out;
    EXPECT_TRUE(loop.run_blocking(detail::store(probe_tcp(loop, std::move(host), at, loop.after(limit)), out), loop.after(5s)));
    return *out;
  }
};

TEST_F(PortTest, tells_a_listener_from_nobody_and_from_silence) {
  listen_on(4);
  EXPECT_EQ(probe("127.0.0.1", port), Probe::accepted);
  EXPECT_EQ(probe("localhost", port), Probe::accepted);
  EXPECT_EQ(probe("127.0.0.1", pick_free_port().value()), Probe::refused);
  EXPECT_EQ(probe("no-such-host.invalid", 1), Probe::unreachable);
  // A full backlog drops the SYN, as a dead network would.
  for (int i = 0; i < 20 && probe("127.0.0.1", port, 50ms) == Probe::accepted; ++i) {
  }
  BootTime before = boot_now();
  EXPECT_EQ(probe("127.0.0.1", port, 100ms), Probe::timeout);
  EXPECT_LT(boot_now() - before, 500ms);
}

TEST_F(PortTest, finds_the_holder_and_says_whether_a_port_is_free) {
  listen_on(5);
  EXPECT_FALSE(port_is_free("127.0.0.1", port));
  EXPECT_FALSE(port_is_free("*", port));
  EXPECT_TRUE(port_is_free("127.0.0.2", port));
  auto holder = port_holder(port);
  ASSERT_TRUE(holder);
  EXPECT_EQ(holder->pid, getpid());
  EXPECT_EQ(holder->program, "unit_net");
  EXPECT_EQ(holder->uid, getuid());
  EXPECT_EQ(holder->address, "127.0.0.1");
  uint16_t free = pick_free_port().value();
  EXPECT_TRUE(port_is_free("127.0.0.1", free));
  EXPECT_FALSE(port_holder(free));
}

}  // namespace
}  // namespace pgdba::net
