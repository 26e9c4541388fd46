#include "local/pooler_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "conf/pooler_ini.h"
#include "conf/pooler_rules.h"
#include "conf/userlist.h"
#include "local/files.h"
#include "local/machine.h"
#include "local/node_files.h"

namespace pgdba::local {

namespace {

ClusterFile sample(const std::string& root) {
  ClusterFile cluster = plan_cluster("demo", root, 3, 100);
  uint16_t port = 12379;
  for (auto& member : cluster.etcd) {
    member.client_port = port++;
    member.peer_port = port++;
  }
  return cluster;
}

}  // namespace

TEST(PoolerFiles, what_up_writes_is_understood_without_a_warning) {
  const ClusterFile cluster = sample("/srv/demo");
  auto none = [](const std::string&) -> Result<std::string> { return fail(Errc::not_found, "no file"); };
  conf::PoolerReading read = conf::read_pooler_ini(cluster.pooler_ini(), pooler_ini_text(cluster), none);
  EXPECT_EQ(read.errors, std::vector<std::string>{});
  EXPECT_EQ(read.config.warnings, std::vector<std::string>{});
  const conf::PoolerSettings& settings = read.config.settings;
  EXPECT_EQ(settings.listen_port, 6532);
  EXPECT_EQ(settings.listen_addr.names, std::vector<std::string>{"127.0.0.1"});
  EXPECT_EQ(settings.unix_socket_dir, "");
  EXPECT_EQ(settings.pool_mode, conf::PoolMode::transaction);
  EXPECT_EQ(settings.auth_type, conf::AuthType::scram_sha_256);
  EXPECT_EQ(settings.auth_dbname, "postgres");
  EXPECT_EQ(settings.cluster_scope, "demo");
  ASSERT_EQ(settings.cluster_dcs.addresses.size(), 3u);
  EXPECT_EQ(conf::format_address(settings.cluster_dcs.addresses[2]), "127.0.0.1:12383");
  const conf::DatabaseEntry* all = conf::find_template(read.config);
  ASSERT_NE(all, nullptr);
  EXPECT_EQ(all->role, conf::Role::primary);
  const conf::DatabaseEntry* reads = conf::find_database(read.config, "*_ro");
  ASSERT_NE(reads, nullptr);
  EXPECT_EQ(reads->role, conf::Role::replica);
  EXPECT_EQ(reads->max_lag, 16 << 20);
}

TEST(PoolerFiles, the_userlist_has_the_role_that_asks_and_the_superuser) {
  Secrets secrets;
  secrets.pooler = Secret("one");
  secrets.superuser = Secret("two");
  conf::Userlist users = conf::parse_userlist("u", userlist_text(secrets));
  EXPECT_TRUE(users.errors.empty());
  EXPECT_EQ(users.users.size(), 2u);
  ASSERT_NE(users.find(kPoolerUser), nullptr);
  EXPECT_EQ(users.find(kPoolerUser)->reveal(), "one");
  EXPECT_EQ(users.find(kSuperuser)->reveal(), "two");
}

TEST(PoolerFiles, it_is_one_of_the_processes_with_private_files) {
  char path[] = "/tmp/pgdba_pooler_files_XXXXXX";
  const std::string root = ::mkdtemp(path);
  ClusterFile cluster = sample(root);
  cluster.socket_root = root + "/run";
  ASSERT_TRUE(write_node_files(cluster));
  ASSERT_TRUE(write_specs(cluster, {kPooler}));
  for (const std::string& name : {cluster.pooler_ini(), cluster.pooler_folder() + "/userlist.txt", cluster.secrets() + "/pooler"}) {
    struct stat info {};
    ASSERT_EQ(::stat(name.c_str(), &info), 0) << name;
    EXPECT_EQ(info.st_mode & 0777u, 0600u) << name;
  }
  auto spec = Supervised(cluster.supervised()).read_spec(kPooler);
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->argv, (std::vector<std::string>{"self", "pooler", cluster.pooler_ini()}));
  EXPECT_EQ(Machine(cluster).names().back(), kPooler);
  EXPECT_EQ(cluster.ports().back(), 6532);
  cluster.pooler_port = 0;  // an external or very old one
  EXPECT_NE(Machine(cluster).names().back(), kPooler);
  std::filesystem::remove_all(root);
}

}  // namespace pgdba::local
