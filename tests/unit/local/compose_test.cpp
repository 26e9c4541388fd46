#include "local/compose.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/text.h"
#include "local/files.h"
#include "local/secrets.h"

namespace pgdba::local {
namespace {

// As `docker compose config --format json` of Compose 2.26 prints it, without what is not read.
std::string config(const std::string& superuser = "Abcdefgh1234", const std::string& replication = "Stuvwxyz5678",
                   const std::string& host = "127.0.0.1", const std::string& more = "") {
  auto node = [&](const char* name, int pg, int rest) {
    return std::string(R"(")") + name + R"(": {"image": "pgdba:latest", "environment": {"SCOPE": "local-ha",
      "POSTGRES_PASSWORD": ")" + superuser + R"(", "REPLICATION_PASSWORD": ")" + replication + R"(", "POOLER_PASSWORD": "", "TTL": "7")" + more +
           R"(}, "ports": [{"mode": "ingress", "host_ip": ")" + host + R"(", "target": 5432, "published": ")" + std::to_string(pg) +
           R"("}, {"target": 8008, "published": )" + std::to_string(rest) + "}]}";
  };
  return R"({"name": "pgdba", "services": {"etcd1": {"image": "quay.example/etcd:v3"}, "etcd2": {"image": "quay.example/etcd:v3"},)" +
         node("pg-primary", 15432, 18008) + "," + node("pg-replica-1", 15433, 18009) +
         R"(, "pgbouncer": {"image": "pgdba:latest", "build": {}, "ports": [{"host_ip": "127.0.0.1", "target": 6432, "published": "16432"}]}}})";
}

TEST(Compose, its_own_reading_of_the_project_gives_names_ports_and_settings) {
  auto project = parse_compose_config(config("Abcdefgh1234", "Stuvwxyz5678", "127.0.0.1",
                                             R"(, "RESTAPI_USERNAME": "op", "RESTAPI_PASSWORD": "secret")"),
                                      "/opt/pgdba/deployments/docker");
  ASSERT_TRUE(project) << project.error().text;
  EXPECT_EQ(project->name, "pgdba");
  EXPECT_EQ(project->scope, "local-ha");
  ASSERT_EQ(project->nodes.size(), 2u);
  EXPECT_EQ(project->nodes[0], (ClusterFile::Node{"pg-primary", 15432, 18008})) << "a port may be text or a number";
  EXPECT_EQ(project->nodes[1], (ClusterFile::Node{"pg-replica-1", 15433, 18009}));
  EXPECT_EQ(project->etcd, (std::vector<std::string>{"etcd1", "etcd2"}));
  EXPECT_EQ(project->pooler, "pgbouncer");
  EXPECT_EQ(project->pooler_port, 16432);
  EXPECT_EQ(project->ttl_s, 7);
  EXPECT_EQ(project->rest_user, "op");
  EXPECT_EQ(project->rest_password.reveal(), "secret");
  ASSERT_EQ(project->images.size(), 2u) << "one entry per image";
  EXPECT_FALSE(project->images[0].built);
  EXPECT_TRUE(project->images[1].built) << "by one of the services that share it";
  EXPECT_FALSE(problem_with_passwords(*project));
}

TEST(Compose, a_dollar_sign_that_compose_doubles_is_one_again) {
  auto project = parse_compose_config(config("aA1$$$$x:\\\\yzzzz"), "/x");
  ASSERT_TRUE(project) << project.error().text;
  EXPECT_EQ(project->superuser.reveal(), "aA1$$x:\\yzzzz");
}

TEST(Compose, another_project_and_a_port_elsewhere_are_refused) {
  EXPECT_FALSE(parse_compose_config(R"({"name": "web", "services": {"app": {"image": "x"}}})", "/x"));
  EXPECT_FALSE(parse_compose_config("nothing", "/x"));
  auto elsewhere = parse_compose_config(config("Abcdefgh1234", "Stuvwxyz5678", "192.0.2.1"), "/x");
  ASSERT_FALSE(elsewhere);
  EXPECT_NE(elsewhere.error().text.find("192.0.2.1"), std::string::npos);
  EXPECT_TRUE(parse_compose_config(config("Abcdefgh1234", "Stuvwxyz5678", "0.0.0.0"), "/x"));
}

struct PasswordRow {
  const char* superuser;
  const char* replication;
  const char* says;  // nullptr: good
};

TEST(Compose, passwords_are_judged_in_the_words_of_the_entrypoint) {
  const PasswordRow rows[] = {
      {"Abcdefgh1234", "Stuvwxyz5678", nullptr},
      {"", "Stuvwxyz5678", "POSTGRES_PASSWORD is not set. Put it into .env"},
      {"your_strong_password_here", "Stuvwxyz5678", "POSTGRES_PASSWORD is still the sample of .env.example. Put a password of your own into .env"},
      {"Abcdefgh1234", "your_replication_password_here",
       "REPLICATION_PASSWORD is still the sample of .env.example. Put a password of your own into .env"},
      {"Abcdefgh123", "Stuvwxyz5678", "POSTGRES_PASSWORD has fewer than 12 characters"},
      {"Aa1密码密", "Stuvwxyz5678", "POSTGRES_PASSWORD has fewer than 12 characters"},
      {"Aa1密码密码密码密码密", "Stuvwxyz5678", nullptr},
      {"abcdefgh1234", "Stuvwxyz5678", "POSTGRES_PASSWORD has no upper case letter"},
      {"ABCDEFGH1234", "Stuvwxyz5678", "POSTGRES_PASSWORD has no lower case letter"},
      {"Abcdefgh1234", "Stuvwxyzabcd", "REPLICATION_PASSWORD has no digit"},
      {"Abcdefgh12\\\"4", "Stuvwxyz5678", "POSTGRES_PASSWORD has a quotation mark or a line break, which the pooler's userlist cannot hold"},
  };
  auto entrypoint = read_file(std::string(PGDBA_TESTS_DIR) + "/../deployments/docker/entrypoint.sh");
  ASSERT_TRUE(entrypoint);
  for (const PasswordRow& row : rows) {
    auto project = parse_compose_config(config(row.superuser, row.replication), "/x");
    ASSERT_TRUE(project) << row.superuser;
    auto problem = problem_with_passwords(*project);
    EXPECT_EQ(problem.value_or("good"), row.says ? row.says : "good");
    if (!row.says || problem->find("not set") != std::string::npos) continue;
    std::string words = problem->substr(problem->find(' ') + 1);
    EXPECT_NE(entrypoint->find(words), std::string::npos) << "the containers say something else than: " << words;
  }
}

TEST(Compose, half_of_the_rest_credentials_is_refused) {
  auto project = parse_compose_config(config("Abcdefgh1234", "Stuvwxyz5678", "127.0.0.1", R"(, "RESTAPI_USERNAME": "op")"), "/x");
  ASSERT_TRUE(project);
  EXPECT_TRUE(problem_with_passwords(*project));
}

class EnvFile : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/pgdba-env-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};

TEST_F(EnvFile, is_the_example_with_two_random_passwords_for_its_owner_alone) {
  ASSERT_TRUE(write_atomic(folder_ + "/.env.example", "# A comment\nPOSTGRES_PASSWORD=your_strong_password_here\n"
                                                       "REPLICATION_PASSWORD=your_replication_password_here\n#TTL=10\n"));
  auto made = make_env_file(folder_);
  ASSERT_TRUE(made) << made.error().text;
  struct stat info {};
  ASSERT_EQ(::stat(env_file_path(folder_).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  auto lines = split(*read_file(env_file_path(folder_)), '\n');
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0], "# A comment");
  EXPECT_EQ(lines[3], "#TTL=10");
  std::string superuser = lines[1].substr(lines[1].find('=') + 1), replication = lines[2].substr(lines[2].find('=') + 1);
  EXPECT_NE(superuser, replication);
  auto project = parse_compose_config(config(superuser, replication), folder_);
  EXPECT_FALSE(problem_with_passwords(*project));
  EXPECT_EQ(list_folder(folder_), (std::vector<std::string>{".env", ".env.example"})) << "nothing else is left";
}

TEST_F(EnvFile, that_is_there_is_never_touched) {
  ASSERT_TRUE(write_atomic(env_file_path(folder_), "POSTGRES_PASSWORD=mine\n"));
  auto made = make_env_file(folder_);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Errc::conflict);
  EXPECT_EQ(*read_file(env_file_path(folder_)), "POSTGRES_PASSWORD=mine\n");
  EXPECT_EQ(list_folder(folder_), std::vector<std::string>{".env"});
}

TEST_F(EnvFile, without_an_example_has_the_two_passwords) {
  ASSERT_TRUE(make_env_file(folder_));
  auto text = *read_file(env_file_path(folder_));
  EXPECT_TRUE(text.starts_with("POSTGRES_PASSWORD="));
  EXPECT_NE(text.find("\nREPLICATION_PASSWORD="), std::string::npos);
}

TEST_F(EnvFile, state_of_a_project_is_what_the_other_commands_read) {
  auto project = parse_compose_config(config("aA1:x\\\\yzzzzzzz", "Stuvwxyz5678", "127.0.0.1",
                                             R"(, "RESTAPI_USERNAME": "op", "RESTAPI_PASSWORD": "secret")"),
                                      "/opt/compose");
  ASSERT_TRUE(project) << project.error().text;
  ClusterFile cluster = cluster_of(*project, "mine", folder_ + "/state", *parse_utc("2026-01-02T03:04:05Z"));
  ASSERT_TRUE(write_compose_state(cluster, *project));
  auto read = read_cluster_file(folder_ + "/state");
  ASSERT_TRUE(read) << read.error().text;
  EXPECT_EQ(*read, cluster);
  EXPECT_EQ(cluster.ports(), (std::vector<uint16_t>{15432, 18008, 15433, 18009, 16432}));
  EXPECT_EQ(read_rest_secret(cluster)->reveal(), "secret");
  auto passfile = *read_file(cluster.passfile());
  EXPECT_NE(passfile.find("127.0.0.1:16432:*:postgres:aA1\\:x\\\\yzzzzzzz\n"), std::string::npos) << "escaped as libpq wants it";
  struct stat info {};
  ::stat(cluster.passfile().c_str(), &info);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  // Taken back in .env, it is not sent any more.
  project->rest_password = Secret();
  ASSERT_TRUE(write_compose_state(cluster, *project));
  EXPECT_FALSE(read_rest_secret(cluster));
}

TEST(Compose, containers_as_docker_lists_them) {
  auto containers = parse_containers(
      "id1\tpg-primary\trunning\tUp 4 seconds (healthy)\t/opt/d\nid2\tetcd1\trunning\tUp 1 second (health: starting)\t/opt/d\n"
      "id3\tpgbouncer\tpaused\tUp 4 seconds (Paused)\t/opt/d\nid4\tetcd2\texited\tExited (137) 3 seconds ago\t/opt/d\n");
  ASSERT_EQ(containers.size(), 4u);
  EXPECT_EQ(containers[0].service, "etcd1");
  EXPECT_TRUE(containers[0].running());
  EXPECT_FALSE(containers[0].well()) << "not before its health check succeeded";
  EXPECT_FALSE(containers[1].running());
  EXPECT_TRUE(containers[2].well());
  EXPECT_TRUE(containers[3].paused());
}

TEST(Compose, lines_of_logs_and_their_moments) {
  auto line = parse_compose_line("\x1b[2Kpg-primary  | 2026-11-28T05:07:33.914352008Z LOG:  a | b");
  ASSERT_TRUE(line);
  EXPECT_EQ(line->service, "pg-primary");
  EXPECT_EQ(line->moment, "2026-11-28T05:07:33.914352008Z");
  EXPECT_EQ(line->text, "LOG:  a | b");
  auto earlier = parse_compose_line("etcd1 | 2026-11-28T05:07:33.9Z x"), whole = parse_compose_line("etcd1 | 2026-11-28T05:07:33Z ");
  ASSERT_TRUE(earlier && whole);
  EXPECT_LT(earlier->moment, line->moment) << "moments with fewer digits sort as text, too";
  EXPECT_LT(whole->moment, earlier->moment);
  EXPECT_EQ(whole->text, "");
  EXPECT_FALSE(parse_compose_line("no bar"));
  EXPECT_FALSE(parse_compose_line("etcd1 | no moment"));
}

TEST(Compose, leader_of_etcd_is_who_says_so) {
  EXPECT_EQ(parse_etcd_leader("http://etcd1:2379, ade526d28b1f92f7, 3.5.16, 61 kB, false, false, 2, 43, 43, \n"
                              "http://etcd3:2379, bd388e7810915853, 3.5.16, 61 kB, true, false, 2, 43, 43, \n"),
            "etcd3");
  EXPECT_EQ(parse_etcd_leader("http://etcd1:2379, ade526d28b1f92f7, 3.5.16, 61 kB, false, false, 2, 43, 43, \n"), "");
  EXPECT_EQ(parse_etcd_leader(""), "");
}

struct ErrorRow {
  const char* complaint;
  Errc code;
  const char* text;
};

TEST(Docker, what_it_says_is_kept_and_understood) {
  const ErrorRow rows[] = {
      {"Cannot connect to the Docker daemon at unix:///nonexistent. Is the docker daemon running?\n", Errc::unavailable,
       "Cannot connect to the Docker daemon at unix:///nonexistent. Is the docker daemon running?"},
      {"permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: x\n", Errc::denied,
       "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: x"},
      {" Container etcd1  Creating\n Container etcd1  Created\nError response from daemon: it is broken\n", Errc::invalid,
       "Error response from daemon: it is broken"},
      {"", Errc::invalid, "docker ps ended with 3"},
  };
  for (const ErrorRow& row : rows) {
    DockerAnswer answer{3, "", row.complaint};
    Error error = docker_error({.arguments = {"ps"}}, answer);
    EXPECT_EQ(error.text, row.text);
    EXPECT_EQ(error.code, row.code) << row.complaint;
  }
}

}  // namespace
}  // namespace pgdba::local
