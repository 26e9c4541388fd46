// A real etcd with three members on loopback, whose processes a test kills, freezes and starts again.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "net/http_client.h"
#include "net/loop.h"
#include "net/port.h"
#include "net/process.h"

namespace pgdba::dcs {

class EtcdCluster {
 public:
  explicit EtcdCluster(net::Loop& loop, int size = 3) : loop_(loop) {
    char dir[] = "/tmp/pgdba-dcs-XXXXXX";
    dir_ = mkdtemp(dir);
    for (int i = 0; i < size; ++i) {
      ports_.push_back({net::pick_free_port().value(), net::pick_free_port().value()});
      members_.emplace_back();
    }
    for (int i = 0; i < size; ++i) start(i);
  }
  ~EtcdCluster() {
    for (auto& member : members_) {
      if (member) (void)member->signal(SIGKILL);
      member.reset();
    }
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }

  std::string url(int i) const { return "http://127.0.0.1:" + std::to_string(ports_[static_cast<size_t>(i)].client); }
  std::vector<std::string> urls() const {
    std::vector<std::string> out;
    for (int i = 0; i < static_cast<int>(ports_.size()); ++i) out.push_back(url(i));
    return out;
  }

  void start(int i, const std::string& token = "one") {
    std::string list;
    for (size_t k = 0; k < ports_.size(); ++k) {
      list += (k == 0 ? "" : ",") + ("m" + std::to_string(k)) + "=http://127.0.0.1:" + std::to_string(ports_[k].peer);
    }
    std::string peer = "http://127.0.0.1:" + std::to_string(ports_[static_cast<size_t>(i)].peer);
    net::ProcessSpec spec;
    spec.argv = {"etcd", "--name", "m" + std::to_string(i), "--data-dir", data_dir(i), "--listen-client-urls", url(i),
                 "--advertise-client-urls", url(i), "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                 "--initial-cluster", list, "--initial-cluster-token", token, "--heartbeat-interval", "50",
                 "--election-timeout", "500", "--logger", "zap", "--log-level", "error"};
    spec.output = net::ProcessSpec::Output::append;
    spec.append_to = dir_ + "/log" + std::to_string(i);
    spec.parent_death_signal = SIGKILL;
    auto started = net::Process::start(loop_, spec);
    ASSERT_TRUE(started) << started.error().text;
    members_[static_cast<size_t>(i)] = std::move(*started);
  }
  void kill(int i) {
    (void)members_[static_cast<size_t>(i)]->signal(SIGKILL);
    members_[static_cast<size_t>(i)].reset();
  }
  void freeze(int i) { (void)members_[static_cast<size_t>(i)]->signal(SIGSTOP); }
  void thaw(int i) { (void)members_[static_cast<size_t>(i)]->signal(SIGCONT); }
  void wipe(int i) { std::filesystem::remove_all(data_dir(i)); }
  std::string data_dir(int i) const { return dir_ + "/m" + std::to_string(i); }

  // Until a write would work.
  Task<bool> ready(BootTime deadline) {
    net::HttpClient client(loop_);
    for (int i = 0; i < static_cast<int>(ports_.size());) {
      if (loop_.now() >= deadline) co_return false;
      net::Request request;
      request.method = "POST";
      request.body = R"({"key":"cmVhZHk="})";
      net::Url url = net::parse_url(this->url(i) + "/v3/kv/range").value();
      auto answer = co_await client.request(url, request, loop_.now() + 500ms);
      if (answer && answer->status == 200) {
        ++i;
      } else {
        co_await loop_.sleep_for(20ms);
      }
    }
    co_return true;
  }

 private:
  struct Ports {
    uint16_t client, peer;
  };
  net::Loop& loop_;
  std::string dir_;
  std::vector<Ports> ports_;
  std::vector<std::unique_ptr<net::Process>> members_;
};

}  // namespace pgdba::dcs
