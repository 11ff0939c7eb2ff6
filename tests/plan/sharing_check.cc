// SPDX-License-Identifier: MIT
// Plays machines and callers to plan/sharing.h, on a clock of its own: `sharing_check CASE`, 0 where it
// decides as it should. test_sharing.py compiles it and has the cases' names.
#include <cstdio>
#include <cstring>

#include "plan/sharing.h"

namespace {

using unrolled::Sharing;

struct Caller {
  Sharing sharing;
  double clock = 1.0;
  double pause = 1e-6;  // between two runs

  explicit Caller(double estimate) { sharing.reset(estimate); }

  // How many of `count` runs are shared; they take `alone` or `together` seconds.
  int run(int count, double alone, double together) {
    int shared_runs = 0;
    for (int i = 0; i < count; ++i) {
      const bool shares = sharing.should_share(clock);
      const double seconds = shares ? together : alone;
      sharing.ran(clock, clock + seconds, shares);
      clock += seconds + pause;
      shared_runs += shares ? 1 : 0;
    }
    return shared_runs;
  }
};

bool burst() {
  Caller caller(20e-6);
  caller.run(100, 20e-6, 12e-6);
  return caller.run(1000, 20e-6, 12e-6) == 1000;
}

bool pauses() {
  Caller caller(20e-6);
  caller.pause = 8e-3;
  return caller.run(1000, 20e-6, 12e-6) == 0;
}

bool no_gain() {
  Caller caller(20e-6);
  caller.run(100, 20e-6, 30e-6);
  // One trial of ten runs at most in each tenth of a second, less often each time.
  return caller.run(50000, 20e-6, 30e-6) <= 50;
}

bool long_run() {
  Caller caller(5e-3);
  const bool begins_shared = caller.run(1, 5e-3, 3e-3) == 1;
  caller.run(100, 5e-3, 3e-3);
  return begins_shared && caller.run(1000, 5e-3, 3e-3) == 1000;
}

bool long_run_without_gain() {
  Caller caller(5e-3);
  caller.run(100, 5e-3, 6e-3);
  return caller.run(1000, 5e-3, 6e-3) <= 20;
}

bool paced() {
  // Every run comes after a pause: it still learns that sharing does not pay, and tries it again in vain.
  Caller caller(5e-3);
  caller.pause = 10e-3;
  caller.run(100, 5e-3, 12e-3);
  return caller.run(1000, 5e-3, 12e-3) <= 20;
}

bool paced_gain() {
  Caller caller(5e-3);
  caller.pause = 10e-3;
  caller.run(100, 5e-3, 3e-3);
  return caller.run(1000, 5e-3, 3e-3) == 1000;
}

bool outlier() {
  Caller caller(20e-6);
  caller.run(200, 20e-6, 12e-6);
  caller.run(1, 20e-6, 5e-3);
  return caller.run(100, 20e-6, 12e-6) == 100;
}

bool busy_machine() {
  Caller caller(500e-6);
  caller.run(100, 500e-6, 300e-6);
  // Both become slower, sharing by far.
  const int shared = caller.run(2000, 1e-3, 12e-3);
  // It is free again.
  caller.run(40000, 500e-6, 300e-6);
  return shared <= 20 && caller.run(1000, 500e-6, 300e-6) == 1000;
}

bool no_second_thread() {
  // Another model has the threads: runs that were to be shared are run alone.
  Sharing sharing;
  sharing.reset(1e-3);
  double clock = 1.0;
  for (int i = 0; i < 100; ++i, clock += 1e-3) {
    sharing.should_share(clock);
    sharing.ran(clock, clock + 1e-3, false);
  }
  return sharing.should_share(clock);
}

struct Case {
  const char* name;
  bool (*run)();
};

constexpr Case kCases[] = {
    {"burst", burst},           {"pauses", pauses},
    {"no_gain", no_gain},       {"long_run", long_run},
    {"outlier", outlier},       {"paced", paced},
    {"paced_gain", paced_gain}, {"long_run_without_gain", long_run_without_gain},
    {"busy", busy_machine},     {"no_second_thread", no_second_thread},
};

}  // namespace

int main(int argc, char** argv) {
  for (const Case& each : kCases) {
    if (argc == 2 && std::strcmp(argv[1], each.name) == 0) return each.run() ? 0 : 1;
  }
  std::fprintf(stderr, "no such case\n");
  return 2;
}
