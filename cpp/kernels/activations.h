// SPDX-License-Identifier: MIT
// Every elementwise activation of ActivationKind over rows of floats, and softmax. A value's result depends
// on that value only, never on its lane. Included by the per-ISA kernel files only.
#pragma once

#include "kernels/functions.h"
#include "kernels/table.h"

namespace unrolled::kernels::UNROLLED_ISA_NAME {
namespace {

using Vector = Vec<kLanes>;

// y[r][i] = f(x[r][i]) for i < count, rows `stride` floats apart; x and y may be the same.
template <class F>
UNROLLED_INLINE void map_rows(const float* x, float* y, Index rows, Index stride, Index count, F f) {
  for (Index r = 0; r < rows; ++r) {
    const float* from = x + r * stride;
    float* to = y + r * stride;
    Index i = 0;
    for (; i + kLanes <= count; i += kLanes) f(Vector::load(from + i)).store(to + i);
    if (i < count) f(Vector::load_first(from + i, count - i)).store_first(to + i, count - i);
  }
}

UNROLLED_INLINE Vector constant(float value) { return Vector::all(value); }

// tanh approximation of gelu, silu and mish multiply x by a factor that vanishes at -infinity; -104 is where
// that product is 0 in float32 for silu, the slowest.
UNROLLED_INLINE Vector not_minus_infinity(Vector x) { return at_least(x, constant(-104.0f)); }

// x tanh(softplus x), u = e^-|x|: the ratio (1 + 2u) / (1 + 2u + 2u^2) for x >= 0, (u^2 + 2u) / (u^2 + 2u +
// 2) below.
UNROLLED_INLINE Vector mish(Vector x) {
  const Vector one = constant(1.0f);
  const Vector u = exp(-abs(x));
  const Vector positive = fma(u, constant(2.0f), one);
  const Vector negative = fma(u, u, u + u);
  const Vector is_negative_numerator = if_less(x, Vector::zero(), negative, positive);
  const Vector denominator = if_less(x, Vector::zero(), negative + constant(2.0f), fma(u + u, u, positive));
  return not_minus_infinity(x) * (is_negative_numerator / denominator);
}

UNROLLED_NO_INLINE void activate_rows(const Activation& activation, const float* x, float* y, Index rows,
                                      Index stride, Index count) {
  const Vector zero = Vector::zero();
  const Vector one = constant(1.0f);
  const Vector alpha = constant(activation.alpha);
  const Vector beta = constant(activation.beta);
  const Vector gamma = constant(activation.gamma);
  const auto map = [&](auto f) { map_rows(x, y, rows, stride, count, f); };
  switch (activation.kind) {
    case ActivationKind::kLinear:
      if (x != y) map([](Vector v) { return v; });
      return;
    case ActivationKind::kRelu:
      if (activation.beta == 0.0f && activation.gamma == 0.0f) {
        return map([&](Vector v) { return at_most(at_least(v, zero), alpha); });
      }
      return map([&](Vector v) {
        const Vector kept = if_less_equal(alpha, v, alpha, v);
        const Vector below = activation.beta == 0.0f ? zero : beta * (v - gamma);
        return if_less_equal(v, gamma, below, kept);  // 0 at the threshold itself, as Keras
      });
    case ActivationKind::kSigmoid:
      return map([](Vector v) { return sigmoid(v); });
    case ActivationKind::kHardSigmoid:
      return map([&](Vector v) { return at_most(at_least(fma(v, alpha, beta), zero), one); });
    case ActivationKind::kTanh:
      return map([](Vector v) { return tanh(v); });
    case ActivationKind::kSoftplus:
      return map([](Vector v) { return softplus(v); });
    case ActivationKind::kSoftsign:  // x / (1 + |x|), 1 at infinity
      return map([&](Vector v) {
        const Vector size = at_most(abs(v), constant(3.4028235e38f));
        return copy_sign(size / (size + one), v);
      });
    case ActivationKind::kElu:
      return map(
          [&](Vector v) { return if_less(zero, v, v, alpha * exp_minus_one_of_negative(at_most(v, zero))); });
    case ActivationKind::kSelu:
      return map([&](Vector v) {
        const Vector negative = constant(1.67326324235438f) * exp_minus_one_of_negative(at_most(v, zero));
        return constant(1.05070098735548f) * if_less(zero, v, v, negative);
      });
    case ActivationKind::kGelu:
      return map([](Vector v) { return at_least(v, constant(-15.0f)) * normal_distribution(v); });
    case ActivationKind::kGeluTanh:  // x/2 (1 + tanh y) = x sigmoid(2y), y = sqrt(2/pi) (x + 0.044715 x^3)
      return map([](Vector v) {
        const Vector inner = fma(v * v, constant(0.07135481283f), constant(1.5957691216f));
        return at_least(v, constant(-15.0f)) * sigmoid(at_least(v, constant(-15.0f)) * inner);
      });
    case ActivationKind::kSilu:
      return map([](Vector v) { return not_minus_infinity(v) * sigmoid(v); });
    case ActivationKind::kExponential:
      return map([](Vector v) { return exp(v); });
    case ActivationKind::kMish:
      return map([](Vector v) { return mish(v); });
    case ActivationKind::kHardSilu:  // 0 from -3 down
      return map([&](Vector v) {
        const Vector gate = at_most(at_least(fma(v, constant(1.0f / 6.0f), constant(0.5f)), zero), one);
        return at_least(v, constant(-4.0f)) * gate;
      });
    case ActivationKind::kCelu:
      return map([&](Vector v) {
        return if_less(zero, v, v, alpha * exp_minus_one_of_negative(at_most(v, zero) / alpha));
      });
    // For x < 0 as alpha / (2 (sqrt(x^2 + alpha) - x)), which does not cancel; x^2 must not overflow.
    case ActivationKind::kSquareplus:
      return map([&](Vector v) {
        const Vector size = abs(v);
        const Vector root = if_less(constant(1e18f), size, size, sqrt(fma(v, v, alpha)));
        const Vector half_sum = fma(constant(0.5f), root, constant(0.5f) * size);
        return if_less(v, zero, constant(0.25f) * alpha / half_sum, half_sum);
      });
    case ActivationKind::kHardTanh:
      return map([&](Vector v) { return at_most(at_least(v, constant(-1.0f)), one); });
    case ActivationKind::kTanhShrink:
      return map([](Vector v) { return v - tanh(v); });
    case ActivationKind::kSoftShrink:
      return map([&](Vector v) { return if_less_equal(abs(v), alpha, zero, v - copy_sign(alpha, v)); });
    case ActivationKind::kHardShrink:
      return map([&](Vector v) { return if_less_equal(abs(v), alpha, zero, v); });
    case ActivationKind::kSparsePlus:  // 0 | (x + 1)^2 / 4 | x, knots at -1 and 1
      return map([&](Vector v) {
        const Vector sum = v + one;
        const Vector middle = if_less(v, one, constant(0.25f) * sum * sum, v);
        return if_less_equal(v, constant(-1.0f), zero, middle);
      });
    case ActivationKind::kSparseSigmoid:  // 0 | (x + 1) / 2 | 1
      return map(
          [&](Vector v) { return at_most(at_least(fma(v, constant(0.5f), constant(0.5f)), zero), one); });
    case ActivationKind::kLogSigmoid:
      return map([](Vector v) { return -softplus(-v); });
    case ActivationKind::kThreshold:
      return map([&](Vector v) { return if_less_equal(v, alpha, beta, v); });
    case ActivationKind::kThresholdedRelu:
      return map([&](Vector v) { return if_less_equal(v, alpha, zero, v); });
  }
}

// log(x) of one positive normal number: x = 2^n m, m in sqrt(1/2) .. sqrt(2).
UNROLLED_INLINE float log_scalar(float x) {
  float exponent = 0.0f;
  while (x > 1.41421356f) {
    x *= 0.5f;
    exponent += 1.0f;
  }
  while (x < .70710678f) {
    x *= 2.0f;
    exponent -= 1.0f;
  }
  alignas(64) float lanes[kLanes];
  const Vector m = constant(x);
  const Vector log_m = two_artanh((m - constant(1.0f)) / (m + constant(1.0f)));
  fma(constant(exponent), constant(.693147180f), log_m).store(lanes);
  return lanes[0];
}

// The sum of y by 16 partial sums, element i in partial i % 16, then a fixed tree: the same whatever the
// lanes.
UNROLLED_INLINE float ordered_sum(const float* y, Index count) {
  constexpr Index kPartials = 16;
  alignas(64) float partial[kPartials] = {};
  Index i = 0;
  for (; i + kPartials <= count; i += kPartials) {
    for (Index j = 0; j < kPartials; j += kLanes) {
      (Vector::load(partial + j) + Vector::load(y + i + j)).store(partial + j);
    }
  }
  for (Index j = 0; i < count; ++i, ++j) partial[j] += y[i];
  for (Index width = kPartials / 2; width > 0; width /= 2) {
    for (Index j = 0; j < width; ++j) partial[j] += partial[j + width];
  }
  return partial[0];
}

void softmax_rows(const float* x, float* y, Index rows, Index count, bool logarithm) {
  for (Index r = 0; r < rows; ++r, x += count, y += count) {
    float largest = count > 0 ? x[0] : 0.0f;
    for (Index i = 1; i < count; ++i) largest = x[i] > largest ? x[i] : largest;
    const Vector shift = constant(largest);
    if (logarithm) {
      // The sum of exponentials in blocks of 16 terms: y may be x and is still needed.
      alignas(64) float block[16];
      float partial[16] = {};
      for (Index i = 0; i < count; i += 16) {
        const Index n = count - i < 16 ? count - i : 16;
        map_rows(x + i, block, 1, 0, n, [&](Vector v) { return exp(v - shift); });
        for (Index j = 0; j < n; ++j) partial[j] += block[j];
      }
      const Vector log_sum = constant(log_scalar(ordered_sum(partial, 16)));
      map_rows(x, y, 1, 0, count, [&](Vector v) { return (v - shift) - log_sum; });
    } else {
      map_rows(x, y, 1, 0, count, [&](Vector v) { return exp(v - shift); });
      const Vector sum = constant(ordered_sum(y, count));
      map_rows(y, y, 1, 0, count, [&](Vector v) { return v / sum; });
    }
  }
}

}  // namespace
}  // namespace unrolled::kernels::UNROLLED_ISA_NAME
