// SPDX-License-Identifier: MIT
// The vector vocabulary of the kernels: the only file that names Eigen's packets. Included by the files
// that are compiled once per ISA and by nothing else; Eigen's namespace is renamed per ISA
// (isa_variants.cmake).
//
// Every operation rounds as IEEE 754 says, on each lane alone, and the same on every ISA; fma rounds once
// wherever there is FMA (every ISA but the x86-64 baseline).
#pragma once

// Eigen's approximate square root would differ between ISAs.
#define EIGEN_FAST_MATH 0
#include <Eigen/Core>

#include "base/tensor.h"

#if defined(_MSC_VER)
#define UNROLLED_INLINE __forceinline
#define UNROLLED_INLINE_LAMBDA [[msvc::forceinline]]
#define UNROLLED_NO_INLINE __declspec(noinline)
#else
#define UNROLLED_INLINE inline __attribute__((always_inline))
#define UNROLLED_INLINE_LAMBDA __attribute__((always_inline))
#define UNROLLED_NO_INLINE __attribute__((noinline))
#endif

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wignored-attributes"  // a vector type as template argument
// GCC's own AVX-512 headers pass undefined registers on purpose (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace unrolled::kernels::UNROLLED_ISA_NAME {
namespace {

namespace packets = Eigen::internal;

// Asks for a cache line to be brought to the second-level cache; any address will do.
UNROLLED_INLINE void prefetch(const float* address) {
#if defined(__GNUC__)
  __builtin_prefetch(address, 0, 2);
#elif defined(_M_X64)
  _mm_prefetch(reinterpret_cast<const char*>(address), _MM_HINT_T1);
#else
  (void)address;
#endif
}

// The same pointer, about which the compiler knows nothing.
template <class T>
UNROLLED_INLINE T* hidden_from_compiler(T* pointer) {
#if defined(__GNUC__)
  __asm__("" : "+r"(pointer));
#endif
  return pointer;
}

template <int I>
struct Constant {
  UNROLLED_INLINE constexpr operator int() const { return I; }
};

// f(0), f(1), .. f(N - 1) with compile-time constants, so that arrays indexed by them live in registers:
// loops are unrolled too late for that.
template <int N, class F>
UNROLLED_INLINE void unroll(const F& f) {
  if constexpr (N > 0) {
    unroll<N - 1>(f);
    f(Constant<N - 1>{});
  }
}

template <int W>
struct PacketOf;
#if defined(EIGEN_VECTORIZE_AVX512)
template <>
struct PacketOf<16> {
  using Type = packets::Packet16f;
};
#endif
#if defined(EIGEN_VECTORIZE_AVX)
template <>
struct PacketOf<8> {
  using Type = packets::Packet8f;
};
#endif
#if defined(EIGEN_VECTORIZE_SSE) || defined(EIGEN_VECTORIZE_NEON)
template <>
struct PacketOf<4> {
  using Type = packets::Packet4f;
};
#else
template <>
struct PacketOf<1> {
  using Type = float;
};
#endif

// The widest vector of this ISA, and how many of them its registers hold.
#if defined(EIGEN_VECTORIZE_AVX512)
inline constexpr int kLanes = 16;
inline constexpr int kRegisters = 32;
#elif defined(EIGEN_VECTORIZE_AVX)
inline constexpr int kLanes = 8;
inline constexpr int kRegisters = 16;
#elif defined(EIGEN_VECTORIZE_NEON)
inline constexpr int kLanes = 4;
inline constexpr int kRegisters = 32;
#elif defined(EIGEN_VECTORIZE_SSE)
inline constexpr int kLanes = 4;
inline constexpr int kRegisters = 16;
#else
inline constexpr int kLanes = 1;
inline constexpr int kRegisters = 16;
#endif

template <int W>
struct Vec {
  using Packet = typename PacketOf<W>::Type;
  static constexpr int kWidth = W;
  Packet p;

  Vec() = default;
  UNROLLED_INLINE explicit Vec(Packet packet) : p(packet) {}
  static UNROLLED_INLINE Vec load(const float* from) { return Vec(packets::ploadu<Packet>(from)); }
  static UNROLLED_INLINE Vec all(float value) { return Vec(packets::pset1<Packet>(value)); }
  static UNROLLED_INLINE Vec zero() { return Vec(packets::pzero(packets::pset1<Packet>(0.0f))); }
  // The first `count` lanes of memory, zeros in the others.
  static UNROLLED_INLINE Vec load_first(const float* from, Index count) {
    alignas(64) float lanes[W] = {};
    for (Index i = 0; i < count; ++i) lanes[i] = from[i];
    return load(lanes);
  }
  UNROLLED_INLINE void store(float* to) const { packets::pstoreu(to, p); }
  UNROLLED_INLINE void store_first(float* to, Index count) const {
    alignas(64) float lanes[W];
    store(lanes);
    for (Index i = 0; i < count; ++i) to[i] = lanes[i];
  }
};

template <int W>
UNROLLED_INLINE Vec<W> operator+(Vec<W> a, Vec<W> b) {
  return Vec<W>(packets::padd(a.p, b.p));
}
template <int W>
UNROLLED_INLINE Vec<W> operator-(Vec<W> a, Vec<W> b) {
  return Vec<W>(packets::psub(a.p, b.p));
}
template <int W>
UNROLLED_INLINE Vec<W> operator*(Vec<W> a, Vec<W> b) {
  return Vec<W>(packets::pmul(a.p, b.p));
}
template <int W>
UNROLLED_INLINE Vec<W> operator/(Vec<W> a, Vec<W> b) {
  return Vec<W>(packets::pdiv(a.p, b.p));
}
template <int W>
UNROLLED_INLINE Vec<W> operator-(Vec<W> a) {
  return Vec<W>(packets::pxor(a.p, packets::pset1<typename Vec<W>::Packet>(-0.0f)));
}
// a * b + c
template <int W>
UNROLLED_INLINE Vec<W> fma(Vec<W> a, Vec<W> b, Vec<W> c) {
  return Vec<W>(packets::pmadd(a.p, b.p, c.p));
}
// A NaN in `a` comes through, as long as `bound` is none (Eigen orders the operands of x86's min and max so).
template <int W>
UNROLLED_INLINE Vec<W> at_most(Vec<W> a, Vec<W> bound) {
  return Vec<W>(packets::pmin(a.p, bound.p));
}
template <int W>
UNROLLED_INLINE Vec<W> at_least(Vec<W> a, Vec<W> bound) {
  return Vec<W>(packets::pmax(a.p, bound.p));
}
template <int W>
UNROLLED_INLINE Vec<W> abs(Vec<W> a) {
  return Vec<W>(packets::pabs(a.p));
}
template <int W>
UNROLLED_INLINE Vec<W> sqrt(Vec<W> a) {
  return Vec<W>(packets::psqrt(a.p));
}
template <int W>
UNROLLED_INLINE Vec<W> copy_sign(Vec<W> magnitude, Vec<W> sign) {
  const auto bit = packets::pset1<typename Vec<W>::Packet>(-0.0f);
  return Vec<W>(packets::por(packets::pandnot(magnitude.p, bit), packets::pand(sign.p, bit)));
}
// a < b ? yes : no; false where either is NaN.
template <int W>
UNROLLED_INLINE Vec<W> if_less(Vec<W> a, Vec<W> b, Vec<W> yes, Vec<W> no) {
  return Vec<W>(packets::pselect(packets::pcmp_lt(a.p, b.p), yes.p, no.p));
}
template <int W>
UNROLLED_INLINE Vec<W> if_less_equal(Vec<W> a, Vec<W> b, Vec<W> yes, Vec<W> no) {
  return Vec<W>(packets::pselect(packets::pcmp_le(a.p, b.p), yes.p, no.p));
}

// Adding this to a number below 2^22 in magnitude rounds it to an integer, which then stands in the low bits.
inline constexpr float kRoundingMagic = 12582912.0f;  // 1.5 * 2^23

// 2^n, from n + kRoundingMagic; n in -126 .. 127 (128 gives infinity).
template <int W>
UNROLLED_INLINE Vec<W> power_of_two(Vec<W> n_plus_magic) {
  using Packet = typename Vec<W>::Packet;
  using Integers = typename packets::unpacket_traits<Packet>::integer_packet;
  const Integers n = packets::preinterpret<Integers, Packet>(n_plus_magic.p);
  const Integers bits =
      packets::padd(packets::plogical_shift_left<23>(n), packets::pset1<Integers>(127 << 23));
  return Vec<W>(packets::preinterpret<Packet, Integers>(bits));
}

}  // namespace
}  // namespace unrolled::kernels::UNROLLED_ISA_NAME
