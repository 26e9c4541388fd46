#include "pooler/daemon.h"

#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pooler/log_line.h"

#include <arpa/inet.h>
#include <netinet/in.h>

using namespace pgdba::pooler;

namespace {

std::string folder() {
  std::string name = testing::TempDir() + "pidXXXXXX";
  EXPECT_NE(::mkdtemp(name.data()), nullptr);
  return name;
}

std::string content(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(PidFile, HoldsOurNumberAndGoesWithUs) {
  const std::string path = folder() + "/pid";
  {
    PidFile file;
    ASSERT_TRUE(file.claim(path));
    EXPECT_EQ(content(path), std::to_string(::getpid()) + "\n");
  }
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

TEST(PidFile, ALiveOneRefusesAndADeadOneIsReplaced) {
  const std::string path = folder() + "/pid";
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  std::ofstream(path) << child << "\n";
  EXPECT_FALSE(PidFile::check(path));
  PidFile file;
  auto refused = file.claim(path);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().text.find("exists, another instance running?"), std::string::npos);
  EXPECT_EQ(content(path), std::to_string(child) + "\n");
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(file.claim(path));
}

TEST(PidFile, AnotherProcessFileIsLeftAlone) {
  const std::string path = folder() + "/pid";
  {
    PidFile file;
    ASSERT_TRUE(file.claim(path));
    std::ofstream(path) << "1\n";  // somebody else's by now
  }
  EXPECT_EQ(content(path), "1\n");
}

TEST(NotifySystemd, SendsADatagram) {
  const std::string path = folder() + "/notify";
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
  ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
  notify_systemd("READY=1");
  ::unsetenv("NOTIFY_SOCKET");
  notify_systemd("nobody hears it");
  std::array<char, 64> text{};
  EXPECT_EQ(::recv(fd, text.data(), text.size(), 0), 7);
  EXPECT_STREQ(text.data(), "READY=1");
  EXPECT_LT(::recv(fd, text.data(), text.size(), 0), 0);
  ::close(fd);
}

TEST(IpOf, Ipv4InsideIpv6IsIpv4) {
  struct Row {
    const char* text;
    int size;
    const char* shown;
  };
  for (const Row& row : {Row{"::ffff:10.1.2.3", 4, "10.1.2.3"}, Row{"::1", 16, "::1"}, Row{"fe80::1", 16, "fe80::1"}}) {
    sockaddr_storage address{};
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(77);
    ASSERT_EQ(::inet_pton(AF_INET6, row.text, &v6.sin6_addr), 1);
    EXPECT_EQ(ip_of(address).size, row.size) << row.text;
    EXPECT_EQ(text_of(address), row.shown);
    EXPECT_EQ(port_of(address), 77);
  }
  sockaddr_storage local{};
  local.ss_family = AF_UNIX;
  EXPECT_EQ(ip_of(local).size, 0);
}

}  // namespace
