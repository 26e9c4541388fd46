#include "wire/pg_md5.h"

#include <gtest/gtest.h>

namespace pgdba::wire {
namespace {

using namespace std::string_view_literals;

TEST(PgMd5, secrets_and_answers_are_postgresqls) {
  EXPECT_EQ(*md5_secret("postgres", "postgres"), "md53175bce1d3201d16594cebf9d7eb3f9d");
  std::string secret = *md5_secret("secret", "alice");
  EXPECT_EQ(secret, "md54a0a68b43b6cd5cf266fa02f196e2371");
  std::string_view salt = "\0\1\xfe\xff"sv;
  EXPECT_EQ(*md5_answer(secret, salt), "md58d6222bf191a3f0c5df88dd57a8bbcd4");
  EXPECT_TRUE(md5_answer_matches(secret, salt, "md58d6222bf191a3f0c5df88dd57a8bbcd4"));
  EXPECT_FALSE(md5_answer_matches(secret, "\0\1\xfe\xfe"sv, "md58d6222bf191a3f0c5df88dd57a8bbcd4"));
  EXPECT_FALSE(md5_answer_matches(secret, salt, "md58d6222bf191a3f0c5df88dd57a8bbcd5"));
  EXPECT_FALSE(md5_answer_matches(secret, salt, ""));
  EXPECT_FALSE(md5_answer_matches("secret", salt, "secret"));
  EXPECT_FALSE(md5_answer("secret", salt));
}

TEST(PgMd5, form_of_a_secret) {
  EXPECT_TRUE(is_md5_secret("md54a0a68b43b6cd5cf266fa02f196e2371"));
  for (const char* text : {"", "md5", "md54a0a68b43b6cd5cf266fa02f196e237", "md54a0a68b43b6cd5cf266fa02f196e23711",
                           "md54A0A68B43B6CD5CF266FA02F196E2371", "MD54a0a68b43b6cd5cf266fa02f196e2371",
                           "md54a0a68b43b6cd5cf266fa02f196e237g"}) {
    EXPECT_FALSE(is_md5_secret(text)) << text;
  }
}

}  // namespace
}  // namespace pgdba::wire
