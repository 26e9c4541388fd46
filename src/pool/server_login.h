// A server connection between "connected" and "ready": which answer it gets to which question.
#pragma once

#include <optional>

#include "pool/conn.h"
#include "wire/scram_client.h"

namespace pgdba::pool {

struct ServerLogin {
  std::optional<wire::ScramClient> scram;
  wire::ScramChallenge challenge;
  std::optional<KnownKeys> keys;  // that the answer was made from
  bool authenticated = false;
  std::vector<std::pair<std::string, std::string>> welcome;
};

}  // namespace pgdba::pool
