// SPDX-License-Identifier: MIT
// exp, log, sigmoid, tanh, erf and their kin on vectors, in +, -, *, /, fma and integer steps only, so that
// every ISA with FMA gives the same bits. Errors are against float64. NaN gives NaN.
// Included by the per-ISA kernel files only.
#pragma once

#include "kernels/vector.h"

namespace unrolled::kernels::UNROLLED_ISA_NAME {
namespace {

// e^x = scale * (1 + rest), scale a power of two. x in -87.3 .. 88.7.
template <int W>
struct SplitExponential {
  Vec<W> scale;
  Vec<W> rest;
};

// rest = e^r - 1 = r + r^2 P(r), |r| <= ln2 / 2; r by Cephes's two-part ln 2.
// P: minimax of (e^r - 1 - r) / r^2, relative error of e^x 1.02 ulp (measured over all bit patterns).
template <int W>
UNROLLED_INLINE Vec<W> exp_minus_one_reduced(Vec<W> x, Vec<W> n) {
  using V = Vec<W>;
  V r = fma(n, V::all(-0.693359375f), x);
  r = fma(n, V::all(2.12194440e-4f), r);
  const V r2 = r * r;
  const V low = fma(V::all(.1666654348373413f), r, V::all(.5f));
  V high = fma(V::all(.008366592228412628f), r, V::all(.04166628047823906f));
  high = fma(V::all(.0013946464750915766f), r2, high);
  return fma(fma(high, r2, low), r2, r);
}

template <int W>
UNROLLED_INLINE SplitExponential<W> exp_split(Vec<W> x) {
  using V = Vec<W>;
  const V shifted = fma(x, V::all(1.44269504f), V::all(kRoundingMagic));
  return {power_of_two(shifted), exp_minus_one_reduced(x, shifted - V::all(kRoundingMagic))};
}

// e^x over all of float32: 0 at -inf, inf above 88.73, subnormals right; the power of two is applied in
// halves.
template <int W>
UNROLLED_INLINE Vec<W> exp(Vec<W> x) {
  using V = Vec<W>;
  const V magic = V::all(kRoundingMagic);
  x = at_least(at_most(x, V::all(89.0f)), V::all(-105.0f));
  const V n = fma(x, V::all(1.44269504f), magic) - magic;
  const V half = fma(n, V::all(0.5f), magic);
  const V other = n - (half - magic);
  const V rest = exp_minus_one_reduced(x, n);
  return ((rest + V::all(1.0f)) * power_of_two(half)) * power_of_two(other + magic);
}

// e^x - 1 for x <= 0 (-1 at -inf): scale * rest + (scale - 1).
template <int W>
UNROLLED_INLINE Vec<W> exp_minus_one_of_negative(Vec<W> x) {
  const SplitExponential<W> e = exp_split(at_least(x, Vec<W>::all(-87.0f)));
  return fma(e.scale, e.rest, e.scale - Vec<W>::all(1.0f));
}

// 1 / (1 + e^-x) with the denominator (scale + 1) + scale * rest in one fma. Clamped at +-87 (sigmoid(-inf)
// gives 1.6e-38). Error 1.6 ulp for |x| < 15, 2.4 below; 8.9e-8 absolute.
template <int W>
UNROLLED_INLINE Vec<W> sigmoid(Vec<W> x) {
  using V = Vec<W>;
  const V one = V::all(1.0f);
  const V clamped = at_most(at_least(x, V::all(-87.0f)), V::all(87.0f));
  const SplitExponential<W> e = exp_split(-clamped);
  return one / fma(e.scale, e.rest, e.scale + one);
}

// (1 - e) / (1 + e), e = e^(-2|x|), with x's sign; 1 from |x| = 9.2 on. Error 1.86 ulp, 1.1e-7 absolute.
template <int W>
UNROLLED_INLINE Vec<W> tanh(Vec<W> x) {
  using V = Vec<W>;
  const V one = V::all(1.0f);
  const SplitExponential<W> e = exp_split(at_most(abs(x), V::all(9.2f)) * V::all(-2.0f));
  const V numerator = fma(e.scale, e.rest, e.scale - one);
  const V denominator = fma(e.scale, e.rest, e.scale + one);
  return copy_sign(numerator / denominator, x);
}

// 2 artanh(z) for |z| <= 1/3: 2 z P(z^2), P minimax with relative error 1e-10 before rounding.
template <int W>
UNROLLED_INLINE Vec<W> two_artanh(Vec<W> z) {
  using V = Vec<W>;
  const V q = z * z;
  V p = fma(V::all(.12206536534f), q, V::all(.10696624546f));
  p = fma(p, q, V::all(.14310361565f));
  p = fma(p, q, V::all(.19999346137f));
  p = fma(p, q, V::all(.33333340287f));
  const V twice = z + z;
  return fma(p * q, twice, twice);
}

// log(1 + u) for 0 <= u <= 1, as 2 artanh(u / (2 + u)). Error 2.5 ulp.
template <int W>
UNROLLED_INLINE Vec<W> log_one_plus(Vec<W> u) {
  return two_artanh(u / (u + Vec<W>::all(2.0f)));
}

// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|).
template <int W>
UNROLLED_INLINE Vec<W> softplus(Vec<W> x) {
  return at_least(x, Vec<W>::zero()) + log_one_plus(exp(-abs(x)));
}

// erf(x) for |x| <= 1: x P(x^2), P minimax with relative error 1.2e-9 before rounding.
template <int W>
UNROLLED_INLINE Vec<W> erf_small(Vec<W> x) {
  using V = Vec<W>;
  const V q = x * x;
  V p = fma(V::all(7.853861461626366e-05f), q, V::all(-.0008010193705558777f));
  p = fma(p, q, V::all(.005188327748328447f));
  p = fma(p, q, V::all(-.026853812858462334f));
  p = fma(p, q, V::all(.1128358542919159f));
  p = fma(p, q, V::all(-.3761262595653534f));
  p = fma(p, q, V::all(1.1283791065216064f));
  return x * p;
}

// erfc(x) for x >= 1: e^(-x^2) Q(1 / (1 + x)), Q minimax on 1 .. 10.5 with relative error 8.4e-8; the
// rounding of x^2 adds x^2 * 6e-8. 0 from about 10 on.
template <int W>
UNROLLED_INLINE Vec<W> erfc_large(Vec<W> x) {
  using V = Vec<W>;
  x = at_most(x, V::all(10.5f));
  const V t = V::all(1.0f) / (x + V::all(1.0f));
  V q = fma(V::all(-1.0435582399368286f), t, V::all(2.324958086013794f));
  q = fma(q, t, V::all(-1.6144310235977173f));
  q = fma(q, t, V::all(-.10097711533308029f));
  q = fma(q, t, V::all(.26214149594306946f));
  q = fma(q, t, V::all(.5652644634246826f));
  q = fma(q, t, V::all(.5641753673553467f));
  q = fma(q, t, V::all(-5.708888011213276e-07f));
  return exp(-(x * x)) * q;
}

// The normal distribution function (1 + erf(x / sqrt 2)) / 2; both tails keep their relative accuracy.
template <int W>
UNROLLED_INLINE Vec<W> normal_distribution(Vec<W> x) {
  using V = Vec<W>;
  const V half = V::all(0.5f);
  const V y = x * V::all(.70710678f);
  const V size = abs(y);
  const V tail = half * erfc_large(at_least(size, V::all(1.0f)));
  const V outside = if_less(y, V::zero(), tail, V::all(1.0f) - tail);
  return if_less(V::all(1.0f), size, outside, fma(half, erf_small(y), half));
}

}  // namespace
}  // namespace unrolled::kernels::UNROLLED_ISA_NAME
