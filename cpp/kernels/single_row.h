// SPDX-License-Identifier: MIT
// The loop over time for one sequence through a small cell: all gate sums of a step and the cell state stay
// in registers. The same bits as Sweep. Included by the per-ISA kernel files only.
#pragma once

#include "kernels/cells.h"

namespace unrolled::kernels::UNROLLED_ISA_NAME {
namespace {

// Gate sums that registers can hold beside the weights on their way in; beyond 12 the weights leave the L1
// cache and nothing is gained.
inline constexpr int kMaxRegisterSums = 12;

template <CellKind K>
inline constexpr int kMaxRegisterBlocks = kMaxRegisterSums / static_cast<int>(CellTraits<K>::kGates) < 4
                                              ? kMaxRegisterSums / static_cast<int>(CellTraits<K>::kGates)
                                              : 4;

// Steps of one row whose input part is already computed.
struct RegisterSteps {
  Index steps;
  const float* projected;  // [steps][vectors][kLanes]
  const float* recurrent_bias;
  const float* recurrent;
  Index units;
  float* h;  // [padded units], read and written
  float* c;
  float* output;        // of the first step, or null
  Index output_stride;  // from one step to the next
};

// h . recurrent for one row, vector v of the packed panels; units is at most kChunk, so it is a single chunk.
template <int kVectors, int S>
UNROLLED_INLINE void multiply_registers(const float* w, const float* h, Index units,
                                        Vector (&sum)[kVectors]) {
  unroll<kVectors>([&](auto v) UNROLLED_INLINE_LAMBDA { sum[v] = Vector::zero(); });
  const Index panel_floats = units * S * kLanes;
  for (Index k = 0; k < units; ++k) {
    const Vector value = Vector::all(h[k]);
    unroll<kVectors>([&](auto v) UNROLLED_INLINE_LAMBDA {
      constexpr int kPanel = v / S;
      constexpr int kWidth = kVectors - kPanel * S < S ? kVectors - kPanel * S : S;
      const Vector weight = Vector::load(w + kPanel * panel_floats + (k * kWidth + v % S) * kLanes);
      sum[v] = fma(value, weight, sum[v]);
    });
  }
}

template <CellKind K, int kBlocks>
UNROLLED_NO_INLINE void run_register_steps(const RegisterSteps& s) {
  constexpr int kGates = static_cast<int>(CellTraits<K>::kGates);
  constexpr int kVectors = kGates * kBlocks;
  const Index units = s.units;
  const float* x = s.projected;
  float* output = s.output;
  Vector h[kBlocks];
  Vector c[kBlocks];
  unroll<kBlocks>([&](auto b) UNROLLED_INLINE_LAMBDA {
    h[b] = Vector::load(s.h + b * kLanes);
    if constexpr (K == CellKind::kLstm) c[b] = Vector::load(s.c + b * kLanes);
  });
  for (Index step = 0; step < s.steps; ++step) {
    Vector sum[kVectors];
    multiply_registers<kVectors, CellTraits<K>::kPanelVectors>(s.recurrent, s.h, units, sum);
    unroll<kBlocks>([&](auto b) UNROLLED_INLINE_LAMBDA {
      constexpr int kFirst = b * kGates;
      const auto input = [&](int gate)
                             UNROLLED_INLINE_LAMBDA { return Vector::load(x + (kFirst + gate) * kLanes); };
      if constexpr (K == CellKind::kSimpleRnn) {
        h[b] = tanh(input(0) + sum[kFirst]);
      } else if constexpr (K == CellKind::kLstm) {
        const Vector kept = sigmoid(input(1) + sum[kFirst + 1]) * c[b];
        c[b] = fma(sigmoid(input(0) + sum[kFirst]), tanh(input(2) + sum[kFirst + 2]), kept);
        h[b] = sigmoid(input(3) + sum[kFirst + 3]) * tanh(c[b]);
      } else {
        const auto recurrent = [&](int gate) UNROLLED_INLINE_LAMBDA {
          return Vector::load(s.recurrent_bias + (kFirst + gate) * kLanes) + sum[kFirst + gate];
        };
        const Vector reset = sigmoid(input(1) + recurrent(1));
        const Vector candidate = tanh(fma(reset, recurrent(2), input(2)));
        h[b] = gru_mix(sigmoid(input(0) + recurrent(0)), h[b], candidate);
      }
      h[b].store(s.h + b * kLanes);
      if (output != nullptr) store_units(output, b * kLanes, units, h[b]);
    });
    x += kVectors * kLanes;
    if (output != nullptr) output += s.output_stride;
  }
  if constexpr (K == CellKind::kLstm) {
    unroll<kBlocks>([&](auto b) UNROLLED_INLINE_LAMBDA { c[b].store(s.c + b * kLanes); });
  }
}

template <CellKind K>
UNROLLED_INLINE bool fits_registers(Index units) {
  return K != CellKind::kGruResetBefore && units <= kChunk && units <= kMaxRegisterBlocks<K> * kLanes;
}

template <CellKind K, int kBlocks = kMaxRegisterBlocks<K>>
UNROLLED_INLINE void run_register_steps_of(Index blocks, const RegisterSteps& s) {
  if constexpr (K != CellKind::kGruResetBefore) {
    if constexpr (kBlocks > 1) {
      if (blocks < kBlocks) return run_register_steps_of<K, kBlocks - 1>(blocks, s);
    }
    run_register_steps<K, kBlocks>(s);
  }
}

}  // namespace
}  // namespace unrolled::kernels::UNROLLED_ISA_NAME
