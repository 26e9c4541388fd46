#include "local/cluster_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <set>

#include "local/files.h"
#include "local/node_files.h"
#include "local/ports.h"

namespace pgdba::local {
namespace {

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/pgdba-local-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string path;
};

ClusterFile sample(const std::string& root) {
  ClusterFile out = plan_cluster("local-ha", root, 3, 0);
  EXPECT_TRUE(choose_etcd_ports(out, {}, [](uint16_t) { return true; }));
  out.bin_dir = "/usr/lib/postgresql/15/bin";
  out.pg_major = 15;
  out.etcd_program = "/usr/bin/etcd";
  out.token = "local-ha-0123";
  out.socket_root = choose_socket_root(root, out.nodes, 1000);
  out.created = *parse_utc("2026-01-02T03:04:05.000006Z");
  return out;
}

TEST(ClusterFile, reads_what_it_wrote) {
  Folder folder;
  ClusterFile written = sample(folder.path);
  ASSERT_TRUE(write_cluster_file(written));
  auto read = read_cluster_file(folder.path);
  ASSERT_TRUE(read) << read.error().text;
  EXPECT_EQ(*read, written);
}

TEST(ClusterFile, a_damaged_one_is_an_error_and_not_another_cluster) {
  Folder folder;
  for (const char* text : {"", "{}", "[]", R"({"schema_version":2})", R"({"schema_version":1,"name":"x"})"}) {
    ASSERT_TRUE(write_atomic(cluster_file_path(folder.path), text));
    auto read = read_cluster_file(folder.path);
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().code, Errc::invalid);
  }
}

TEST(ClusterFile, the_ports_are_those_of_the_deployment_guide) {
  ClusterFile plan = plan_cluster("x", "/x", 3, 0);
  EXPECT_EQ(plan.nodes, (std::vector<ClusterFile::Node>{
                            {"pg-primary", 5432, 8008}, {"pg-replica-1", 5433, 8009}, {"pg-replica-2", 5434, 8010}}));
  EXPECT_EQ(plan.pooler_port, 6432);
  EXPECT_EQ(plan_cluster("x", "/x", 7, 100).nodes.back(), (ClusterFile::Node{"pg-replica-6", 5538, 8114}));
}

TEST(ClusterFile, a_socket_address_never_exceeds_107_bytes) {
  for (size_t length : {5u, 60u, 80u, 90u, 200u}) {
    ClusterFile plan = plan_cluster("x", "/" + std::string(length, 'r'), 3, 0);
    std::string root = choose_socket_root(plan.root, plan.nodes, 4294967294u);
    EXPECT_LE((root + "/pg-replica-1/.s.PGSQL.65535").size(), 107u) << length;
  }
}

TEST(ClusterFile, names_that_would_break_a_path_or_a_scope_are_refused) {
  for (std::string_view name : {"", "-x", ".", "..", "a/b", "a b", "ü", "a\n"})
    EXPECT_TRUE(problem_with_name(name)) << name;
  for (std::string_view name : {"local-ha", "a", "A_1.b"}) EXPECT_FALSE(problem_with_name(name)) << name;
}

TEST(Ports, a_taken_port_moves_the_whole_cluster_and_etcd_avoids_everybody) {
  auto taken_5433 = [](uint16_t port) { return port != 5433; };
  EXPECT_EQ(first_free_offset(3, taken_5433), 10);
  EXPECT_EQ(first_free_offset(1, taken_5433), 0);
  EXPECT_EQ(first_free_offset(3, [](uint16_t) { return false; }), std::nullopt);
  ClusterFile plan = plan_cluster("x", "/x", 3, 0);
  ASSERT_TRUE(choose_etcd_ports(plan, {12380, 12382}, [](uint16_t port) { return port != 12379; }));
  std::vector<uint16_t> ports = plan.ports();
  std::set<uint16_t> different(ports.begin(), ports.end());
  EXPECT_EQ(different.size(), ports.size());
  for (int port : {12379, 12380, 12382}) EXPECT_FALSE(different.contains(static_cast<uint16_t>(port))) << port;
}

TEST(NodeFiles, passwords_are_private_kept_and_nowhere_but_in_their_files) {
  Folder folder;
  ClusterFile cluster = sample(folder.path);
  ASSERT_TRUE(write_node_files(cluster));
  auto first = ensure_secrets(cluster);
  ASSERT_TRUE(write_node_files(cluster));
  auto second = ensure_secrets(cluster);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->superuser, second->superuser);
  EXPECT_NE(first->superuser, first->rest);
  for (std::string path :
       {cluster.passfile(), folder.path + "/curlrc", cluster.yaml("pg-primary"), cluster.secrets() + "/superuser"}) {
    struct stat info {};
    ASSERT_EQ(::stat(path.c_str(), &info), 0) << path;
    EXPECT_EQ(info.st_mode & 0777u, 0600u) << path;
  }
  // What ends up in argv, in cluster.json or in a spec holds none.
  ASSERT_TRUE(write_cluster_file(cluster));
  ASSERT_TRUE(write_specs(cluster, {"etcd1", "pg-primary", kPooler}));
  EXPECT_EQ(Supervised(cluster.supervised()).names(), (std::vector<std::string>{"etcd1", "pg-primary", kPooler}));
  std::string open_text = read_file(cluster_file_path(folder.path)).value_or("");
  for (const char* name : {"etcd1", "pg-primary", kPooler})
    open_text += read_file(Supervised(cluster.supervised()).file(name, "spec")).value_or("");
  EXPECT_GT(open_text.size(), 500u);
  for (const Secret& secret : {first->superuser, first->replication, first->rewind, first->rest, first->pooler}) {
    EXPECT_EQ(open_text.find(secret.reveal()), std::string::npos);
  }
  EXPECT_NE(read_file(cluster.yaml("pg-primary")).value_or("").find(first->replication.reveal()), std::string::npos);
}

TEST(Supervised, a_spec_survives_the_file) {
  Folder folder;
  ClusterFile cluster = sample(folder.path);
  ASSERT_TRUE(write_node_files(cluster));
  ASSERT_TRUE(write_specs(cluster, {"etcd2"}));
  auto read = Supervised(cluster.supervised()).read_spec("etcd2");
  ASSERT_TRUE(read) << read.error().text;
  EXPECT_EQ(*read, etcd_spec(cluster, cluster.etcd[1]));
}

}  // namespace
}  // namespace pgdba::local
