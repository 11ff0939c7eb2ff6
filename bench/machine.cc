// SPDX-License-Identifier: MIT
// What this machine can do, measured alone and printed as JSON: float32 FMA rate, read bandwidth by working
// set, the cost of an activation, the cost of a barrier. Compiled by bench/limits.py with -march=native;
// no part of the package.
#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif
constexpr int kLanes = kBytes / 4;
typedef float Vec __attribute__((vector_size(kBytes)));
typedef std::int32_t IntVec __attribute__((vector_size(kBytes)));

using Clock = std::chrono::steady_clock;
volatile float g_sink;

Vec set(float value) { return Vec{} + value; }

// Keeps the compiler from seeing through a value.
void hide(Vec& value) { asm volatile("" : "+x"(value)); }

// Best seconds of several repetitions of `body(thread)` on `threads` threads that start together.
double best_seconds(int threads, int repetitions, const std::function<void(int)>& body) {
  std::barrier gate(threads);
  std::vector<double> best(static_cast<std::size_t>(threads), 1e30);
  std::vector<double> slowest(static_cast<std::size_t>(repetitions), 0.0);
  std::vector<std::vector<double>> seconds(static_cast<std::size_t>(threads),
                                           std::vector<double>(static_cast<std::size_t>(repetitions)));
  auto work = [&](int thread) {
    for (int r = 0; r < repetitions; ++r) {
      gate.arrive_and_wait();
      const auto start = Clock::now();
      body(thread);
      seconds[static_cast<std::size_t>(thread)][static_cast<std::size_t>(r)] =
          std::chrono::duration<double>(Clock::now() - start).count();
    }
  };
  std::vector<std::thread> team;
  for (int t = 1; t < threads; ++t) team.emplace_back(work, t);
  work(0);
  for (auto& thread : team) thread.join();
  double result = 1e30;
  for (int r = 0; r < repetitions; ++r) {
    double worst = 0;
    for (const auto& own : seconds) worst = std::max(worst, own[static_cast<std::size_t>(r)]);
    result = std::min(result, worst);
  }
  return result;
}

// GFLOP/s of independent FMA chains in registers.
double fma_rate(int threads) {
  constexpr int kChains = 12;  // more than latency 4 times 2 units, fewer than 16 registers
  constexpr long kSteps = 2'000'000;
  const double seconds = best_seconds(threads, 8, [](int) {
    Vec sum[kChains];
    for (int i = 0; i < kChains; ++i) sum[i] = set(static_cast<float>(i));
    Vec factor = set(0.999f), addend = set(0.001f);
    hide(factor);
    hide(addend);
    for (long step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
      for (int i = 0; i < kChains; ++i) sum[i] = sum[i] * factor + addend;
    }
    Vec total = sum[0];
    for (int i = 1; i < kChains; ++i) total += sum[i];
    g_sink = total[0];
  });
  return 2.0 * kLanes * kChains * kSteps * threads / seconds * 1e-9;
}

constexpr std::size_t kHugePage = 2 << 20;

// GB/s of all threads that each read `bytes` of their own again and again as a matrix-vector product does:
// 4 KiB panels, each forward, the panels in alternating order so that what is still cached is read first.
double read_bandwidth(int threads, std::size_t bytes) {
  constexpr std::size_t kPanel = 4096 / kBytes;
  const std::size_t panels = std::max<std::size_t>(bytes / 4096, 1);
  std::vector<Vec*> buffers;
  for (int t = 0; t < threads; ++t) {
    // In huge pages where the system has them, which is faster by what address translation costs.
    const std::size_t size = (panels * 4096 + kHugePage - 1) / kHugePage * kHugePage;
    auto* buffer = static_cast<Vec*>(std::aligned_alloc(kHugePage, size));
#if defined(__linux__)
    madvise(buffer, size, MADV_HUGEPAGE);
#endif
    for (std::size_t i = 0; i < panels * kPanel; ++i) buffer[i] = set(1.0f);
    buffers.push_back(buffer);
  }
  const long passes = std::max(4L, static_cast<long>(3e8 / static_cast<double>(panels * 4096)));
  const double seconds = best_seconds(threads, 15, [&](int thread) {
    const Vec* buffer = buffers[static_cast<std::size_t>(thread)];
    Vec sum[8] = {};
    Vec factor = set(0.5f);
    for (long pass = 0; pass < passes; ++pass) {
      for (std::size_t p = 0; p < panels; ++p) {
        const Vec* panel = buffer + (pass % 2 == 0 ? p : panels - 1 - p) * kPanel;
        hide(factor);
        for (std::size_t i = 0; i < kPanel; i += 8) {
#pragma GCC unroll 8
          for (std::size_t j = 0; j < 8; ++j) sum[j] = panel[i + j] * factor + sum[j];
        }
      }
    }
    for (int j = 1; j < 8; ++j) sum[0] += sum[j];
    g_sink = sum[0][0];
  });
  for (Vec* buffer : buffers) std::free(buffer);
  return static_cast<double>(panels) * 4096.0 * static_cast<double>(passes) * threads / seconds * 1e-9;
}

// Nanoseconds an element of a full-precision sigmoid on one thread, data in L1.
double activation_cost() {
  constexpr int kCount = 256;  // vectors
  constexpr int kPasses = 4000;
  std::vector<float> values(kCount * kLanes);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 64) * 0.2f - 6.0f;
  auto* data = static_cast<Vec*>(std::aligned_alloc(64, kCount * sizeof(Vec)));
  auto* result = static_cast<Vec*>(std::aligned_alloc(64, kCount * sizeof(Vec)));
  std::memcpy(data, values.data(), kCount * sizeof(Vec));
  const double seconds = best_seconds(1, 8, [&](int) {
    const Vec magic = set(12582912.0f), one = set(1.0f);
    for (int pass = 0; pass < kPasses; ++pass) {
      for (int i = 0; i < kCount; ++i) {
        const Vec x = data[i];
        Vec rounded = x * set(1.44269504f) + magic;
        hide(rounded);
        const Vec n = rounded - magic;
        const Vec r = x - n * set(0.693145752f) - n * set(1.42860677e-6f);
        Vec p = set(0.00139464645f);
        p = p * r + set(0.00836659223f);
        p = p * r + set(0.0416662805f);
        p = p * r + set(0.166665435f);
        p = p * r + set(0.5f);
        p = p * r * r + r + one;
        IntVec bits;
        std::memcpy(&bits, &rounded, sizeof bits);
        bits = (bits << 23) + (127 << 23);
        Vec scale;
        std::memcpy(&scale, &bits, sizeof scale);
        const Vec e = p * scale;
        result[i] = e / (e + one);
      }
      asm volatile("" : : "r"(result) : "memory");
    }
  });
  g_sink = result[0][0];
  std::free(data);
  std::free(result);
  return seconds * 1e9 / (static_cast<double>(kCount) * kLanes * kPasses);
}

// Nanoseconds of one meeting of all threads, each with a flag on its own cache line.
double barrier_cost(int threads) {
  if (threads < 2) return 0;
  struct alignas(128) Flag {
    std::atomic<long> step{0};
  };
  constexpr long kSteps = 20'000;
  double best = 1e30;
  for (int attempt = 0; attempt < 3; ++attempt) {
    const auto flags = std::make_unique<Flag[]>(static_cast<std::size_t>(threads));
    best = std::min(
        best, best_seconds(threads, 1, [&](int thread) {
          for (long step = 1; step <= kSteps; ++step) {
            flags[static_cast<std::size_t>(thread)].step.store(step, std::memory_order_release);
            for (int other = 0; other < threads; ++other) {
              int turns = 0;
              while (flags[static_cast<std::size_t>(other)].step.load(std::memory_order_acquire) < step) {
                if (++turns > 10'000) std::this_thread::yield();
              }
            }
          }
        }));
  }
  return best * 1e9 / kSteps;
}

int main(int argc, char** argv) {
  const int most = argc > 1 ? std::max(1, std::atoi(argv[1])) : 1;
  std::vector<int> counts{1};
  if (most > 1) counts.push_back(most);
  std::printf("{\"lanes\": %d, \"activation_ns\": %.4f, \"threads\": {", kLanes, activation_cost());
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const int threads = counts[i];
    std::printf("%s\"%d\": {\"gflops\": %.1f, \"barrier_ns\": %.1f, \"bandwidth\": [", i > 0 ? ", " : "",
                threads, fma_rate(threads), barrier_cost(threads));
    const std::size_t sizes[] = {16, 32, 64, 128, 256, 512, 1024, 1536, 2048, 3072, 4096, 8192, 16384, 32768};
    for (std::size_t s = 0; s < std::size(sizes); ++s) {
      std::printf("%s[%zu, %.1f]", s > 0 ? ", " : "", sizes[s] * 1024,
                  read_bandwidth(threads, sizes[s] * 1024));
    }
    std::printf("]}");
  }
  std::printf("}}\n");
}
