// SPDX-License-Identifier: MIT
// Numbers below 1.2e-38 count as zero while this lives, on this thread, as TensorFlow computes too. A state
// that fades away in silence passes through them, where every operation takes the processor a hundred times
// longer.
#pragma once

#include <cstdint>

#if defined(__SSE2__) || defined(_M_X64)
#include <xmmintrin.h>
#endif

namespace unrolled {

class FlushDenormals {
 public:
  FlushDenormals() : saved_(read()) { write(saved_ | kFlush); }
  ~FlushDenormals() { write(saved_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
#if defined(__SSE2__) || defined(_M_X64)
  using Control = unsigned int;
  static constexpr Control kFlush = 0x8040;  // results (FTZ) and operands (DAZ)
  static Control read() { return _mm_getcsr(); }
  static void write(Control control) { _mm_setcsr(control); }
#elif defined(__aarch64__) && !defined(_MSC_VER)
  using Control = std::uint64_t;
  static constexpr Control kFlush = std::uint64_t{1} << 24;  // FZ
  static Control read() {
    Control control;
    asm volatile("mrs %0, fpcr" : "=r"(control));
    return control;
  }
  static void write(Control control) { asm volatile("msr fpcr, %0" : : "r"(control)); }
#else
  using Control = int;
  static constexpr Control kFlush = 0;
  static Control read() { return 0; }
  static void write(Control) {}
#endif

  Control saved_;
};

}  // namespace unrolled
