// The guardian's life after its start: wait for `go`, fork the postmaster, watch deadline, commands and the
// postmaster's end, then make sure that everything is dead and put standby.signal back.
//
// Nothing in here allocates, throws or waits for anybody but the kernel. The steps must be called in the order below.
#pragma once

#include <sys/types.h>

#include <csignal>

#include "guardian/page.h"

namespace pgdba::guardian {

struct Guarded {
  Page* page = nullptr;
  int data_dir = -1;            // open directory, carries the lock
  char** postmaster = nullptr;  // argv, [0] is the path of the program
  const char* postmaster_pid_file = nullptr;
  int log = -1;  // stdout and stderr of the postmaster
  pid_t guardian = 0;
};

// The signals that the loop waits for (SIGCHLD, and SIGUSR1 by which the agent says "look at the page"); all others are
// blocked from here on. Must be called before the page says `ready`.
void prepare_signals();

// False when the postmaster must not be started: the agent is gone, said `kill`, or the deadline is over.
bool wait_for_go(const Guarded& it);

// Forks; false when that failed (then there is nothing to watch). Sets postmaster_pid, state running.
bool start_postmaster(const Guarded& it);

// Returns when the postmaster has ended, or must be killed.
void watch(const Guarded& it);

// SIGKILL: the postmaster first, then every descendant, until none is left and nothing is attached to the shared memory
// (G1). Returns only then. Afterwards removes what the dead postmaster left that would hinder the next start.
void kill_everything(const Guarded& it);

// Puts standby.signal back (G2), durable, then state all_dead. Without standby.signal the page says why.
void finish(const Guarded& it);

}  // namespace pgdba::guardian
