#include "cli/registry.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "cli/target.h"
#include "local/compose.h"

namespace pgdba::cli {
namespace {

class ThreeKinds : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/pgdba-registry-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};

TEST_F(ThreeKinds, each_kind_comes_back_as_it_was_put) {
  Registry registry(folder_ + "/.pgdba");
  Registered native, docker, external;
  native.name = "a";
  native.managed = true;
  native.root = "/srv/a";
  docker.name = "b";
  docker.managed = true;
  docker.root = registry.docker_folder("b");
  docker.compose = "/opt/pgdba/deployments/docker";
  docker.scope = "local-ha";
  external.name = "c";
  external.scope = "prod";
  external.members = {{"n1", "http://192.0.2.1:8008"}};
  for (const Registered& entry : {native, docker, external}) ASSERT_TRUE(registry.put(entry));
  auto read = registry.read();
  ASSERT_TRUE(read) << read.error().text;
  EXPECT_EQ(*read, (std::vector<Registered>{native, docker, external}));
  EXPECT_STREQ((*read)[0].kind(), "managed");
  EXPECT_STREQ((*read)[1].kind(), "docker");
  EXPECT_STREQ((*read)[2].kind(), "external");
}

TEST_F(ThreeKinds, cluster_in_containers_is_reached_by_its_published_ports_and_its_own_credentials) {
  local::ComposeProject project;
  project.folder = "/opt/compose";
  project.name = "pgdba";
  project.scope = "elsewhere";
  project.nodes = {{"pg-primary", 15432, 18008}, {"pg-replica-1", 15433, 18009}};
  project.etcd = {"etcd1"};
  project.pooler = "pgbouncer";
  project.pooler_port = 16432;
  project.rest_user = "operator";
  project.rest_password = Secret("Secret123456");
  auto cluster = local::cluster_of(project, "mine", folder_ + "/state", WallTime{});
  ASSERT_TRUE(local::write_compose_state(cluster, project));
  Target target = managed_target(cluster);
  EXPECT_TRUE(target.managed && target.in_containers());
  EXPECT_EQ(target.scope, "elsewhere");
  EXPECT_EQ(target.endpoints(), (std::vector<std::string>{"http://127.0.0.1:18008", "http://127.0.0.1:18009"}));
  EXPECT_EQ(target.credentials.user, "operator");
  EXPECT_EQ(target.credentials.password.reveal(), "Secret123456");
  // Root drives containers as root: PostgreSQL's user has no part in it.
  auto identity = identity_of(target);
  ASSERT_TRUE(identity);
  EXPECT_FALSE(identity->dropped);
}

}  // namespace
}  // namespace pgdba::cli
