// Scripts for a pooling core: what comes in, and below it what goes out.
//
//   a: Q(select 1)          client a says this
//   > 1: Q(select 1)        and server 1 is sent this
//   1: D(a1) C(SELECT 1) Z(I)
//   > a: D(a1) C(SELECT 1) Z(I)
//
// Events: "a! in [k=v …]" (the whole login), "a! start k=v …" (the startup packet), "a! gone", "a! terminate", "a!
// cancel", "a! slow", "a! fast"; "1! up" (the whole login), "1! connected", "1! lost", "1! cancelled"; "wait N" and
// "tick N" (seconds; a tick looks at limits), "route closed", "route open TERM". Decisions: "> 1! connect", "> a!
// closed", "> 1! cancel". run() carries out the lines without ">" and gives the script as it should have been; a test
// compares the two.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "unit/pool/fakes.h"

namespace pgdba::pool::testing {

using namespace std::chrono_literals;

struct Rig {
  Rig();
  ~Rig();

  std::string run(std::string_view script);
  void step(std::string_view line);
  // What went out since the last time, as lines.
  std::string outputs();
  // Accounting and links are as they have to be at any time, and no client has got another one's rows.
  void check();
  // Everything goes; then nothing may be left.
  void end();

  void input(Peer& peer, std::string_view bytes);
  void gone(Peer& peer);
  Client* client(std::string_view name);
  Server* server(std::string_view name);

  Settings settings;
  FakeHost host;
  FakeDirectory directory;
  FakeLedger ledger;
  Core& core();
  bool bytewise = false;
  size_t hashed = 0;  // passwords, slowly
  Moment now = 1'000'000'000;

 private:
  std::unique_ptr<Core> core_;
};

struct ScriptRow {
  const char* name;
  const char* script;
  void (*prepare)(Rig&) = [](Rig&) {};
  bool begun = true;  // clients a and b are in, and server 1 is there
};

// The script, as it is and in pieces of one byte, and with each connection lost at each step.
void expect_script(const ScriptRow& row);

}  // namespace pgdba::pool::testing
