// SPDX-License-Identifier: MIT
// What a forked child must know. It has one thread, a copy of the one that forked; what other threads held or
// were about to change stays as they left it. So locks know which process holds them, and changes of objects
// that a child goes on with are made whole while no fork can begin.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

namespace unrolled {

namespace detail {
extern std::atomic<std::uint32_t> process_generation;
extern std::atomic<std::uint32_t> fork_count;
}  // namespace detail

// Differs between a process and its forked children.
inline std::uint32_t process_generation() {
  return detail::process_generation.load(std::memory_order_relaxed);
}

// Forks that this process and those that it comes from have begun.
inline std::uint32_t fork_count() { return detail::fork_count.load(std::memory_order_relaxed); }

// Whether the thread that forked last had no team of OpenMP any longer, so that it can begin a new one.
bool forked_without_team();

// Registers what is done around a fork; once, when the module is loaded. `child` runs in every child.
void handle_forks(void (*child)());

// A mutex that counts as free in a child where a thread of its parent held it.
class ForkSafeMutex {
 public:
  // True where a thread of another process held it, which may have left scratch memory half changed.
  bool lock();
  bool try_lock(bool& is_inherited) {
    std::uint32_t seen = word_.load(std::memory_order_relaxed);
    is_inherited = seen != 0;
    return is_free(seen) && word_.compare_exchange_strong(seen, held(), std::memory_order_acquire);
  }
  void unlock();
  // Where everybody else only tries: no locked instruction.
  void unlock_unwaited() { word_.store(0, std::memory_order_release); }

 private:
  static constexpr std::uint32_t kHeld = 1;
  static constexpr std::uint32_t kHasWaiters = 2;
  static std::uint32_t held() { return process_generation() << 2 | kHeld; }
  static bool is_free(std::uint32_t word) { return word == 0 || (word & ~kHasWaiters) != held(); }

  std::atomic<std::uint32_t> word_{0};
};

class ForkSafeLock {
 public:
  explicit ForkSafeLock(ForkSafeMutex& mutex) : mutex_(mutex), is_inherited_(mutex.lock()) {}
  ~ForkSafeLock() { mutex_.unlock(); }
  ForkSafeLock(const ForkSafeLock&) = delete;
  ForkSafeLock& operator=(const ForkSafeLock&) = delete;

  bool is_inherited() const { return is_inherited_; }

 private:
  ForkSafeMutex& mutex_;
  bool is_inherited_;
};

// While it lives no fork begins. For changes of a few words: it is one for the whole process.
class NoFork {
 public:
  NoFork();
  ~NoFork();
  NoFork(const NoFork&) = delete;
  NoFork& operator=(const NoFork&) = delete;
};

}  // namespace unrolled
