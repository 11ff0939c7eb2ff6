// SPDX-License-Identifier: MIT
#include "base/threads.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include "base/process.h"
#include "base/shape.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace unrolled {
namespace {

int affinity_count() {
#if defined(__linux__)
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) return std::max(1, CPU_COUNT(&mask));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// The processors' worth of time that the control group grants, rounded up; 0 when there is no limit.
int quota_count() {
  double quota = 0.0;
#if defined(__linux__)
  const auto consider = [&quota](double time, double period) {
    if (time > 0.0 && period > 0.0 && (quota == 0.0 || time / period < quota)) quota = time / period;
  };
  // Version 2: the group's own file and those of the groups around it; inside a container the own group
  // is usually the root.
  std::string group;
  std::ifstream membership("/proc/self/cgroup");
  for (std::string line; std::getline(membership, line);) {
    if (line.rfind("0::", 0) == 0) group = line.substr(3);
  }
  for (;; group.erase(group.rfind('/'))) {
    while (!group.empty() && group.back() == '/') group.pop_back();
    std::ifstream limit("/sys/fs/cgroup" + group + "/cpu.max");
    std::string time;
    double period = 0.0;
    if (limit >> time >> period && time != "max") consider(std::atof(time.c_str()), period);
    if (group.rfind('/') == std::string::npos) break;
  }
  // Version 1.
  std::ifstream time_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream period_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double time = 0.0;
  double period = 0.0;
  if (time_file >> time && period_file >> period) consider(time, period);
#endif
  return static_cast<int>(std::ceil(quota));
}

int default_count() {
  int count = affinity_count();
  if (const int quota = quota_count(); quota > 0) count = std::min(count, quota);
  // OpenMP allows a list, one number per nesting level; the first is ours.
  if (const char* text = std::getenv("OMP_NUM_THREADS")) {
    if (const int asked = std::atoi(text); asked > 0) count = std::min(asked, kMaxThreads);
  }
  return std::max(1, count);
}

std::atomic<int> limit{0};
std::atomic<int> in_use{0};

struct Startup {
  Startup() {
    limit = default_count();
    handle_forks([] {
      limit = 1;
      in_use = 0;
    });
  }
} startup;

}  // namespace

int num_threads() { return limit.load(std::memory_order_relaxed); }

void set_num_threads(int count) {
  if (count < 1 || count > kMaxThreads) {
    fail({"expected 1 to ", std::to_string(kMaxThreads), " threads, got ", std::to_string(count)});
  }
  limit = count;
}

ThreadLease::ThreadLease(int wanted) : count_(1) {
  int used = in_use.fetch_add(1, std::memory_order_relaxed) + 1;
  if (wanted <= 1) return;
  const int total = std::max(wanted, limit.load(std::memory_order_relaxed));
  int extra = 0;
  do {
    extra = std::clamp(total - used, 0, wanted - 1);
  } while (extra > 0 && !in_use.compare_exchange_weak(used, used + extra, std::memory_order_relaxed));
  count_ += extra;
}

ThreadLease::~ThreadLease() { in_use.fetch_sub(count_, std::memory_order_relaxed); }

}  // namespace unrolled
