// SPDX-License-Identifier: MIT
// One sequence alone: the gate sums of several blocks of units, and what follows from them, stay in
// registers. The same bits as Sweep's tiles. Included by the per-ISA kernel files only.
#pragma once

#include "kernels/cells.h"

namespace unrolled::kernels::UNROLLED_ISA_NAME {
namespace {

// Gate sums that registers can hold beside the weights on their way in.
inline constexpr int kMaxRegisterSums = 12;

// Blocks whose sums are computed at once: enough independent sums to hide the latency of fma. A cell of no
// more keeps its cell state in registers from step to step, unless steps are masked.
template <CellKind K>
inline constexpr int kMaxRegisterBlocks = kMaxRegisterSums / static_cast<int>(CellTraits<K>::kGates);
template <>
inline constexpr int kMaxRegisterBlocks<CellKind::kSimpleRnn> = 8;

// Steps of one row whose input part is already computed, for some blocks of its units. Pointers are those of
// the first of these blocks, but for h, which is read whole.
struct RegisterSteps {
  Depth units;
  Index steps = 0;
  const float* projected = nullptr;  // [vectors][kLanes], row_floats from one step to the next
  Index row_floats = 0;
  const float* recurrent_bias = nullptr;  // GRU
  const float* recurrent = nullptr;
  const float* h = nullptr;
  const float* h_before = nullptr;
  float* h_next = nullptr;  // h_before itself where one group is the whole cell and nothing is masked
  float* c = nullptr;
  float* output = nullptr;  // of the first step, or null
  Index output_stride = 0;  // from one step to the next
  Index output_units = 0;   // that are left from the first block on
};

// total[v] += h . recurrent for vector v of the packed panels.
template <int kVectors, int S>
UNROLLED_INLINE void multiply_registers(const float* w, const float* h, Depth units,
                                        Vector (&total)[kVectors]) {
  const Index panel_floats = units.size * S * kLanes;
  for (Index begin = 0; begin < units.size; begin += units.chunk) {
    const Index end = smaller(begin + units.chunk, units.size);
    Vector sum[kVectors];
    unroll<kVectors>([&](auto v) UNROLLED_INLINE_LAMBDA { sum[v] = Vector::zero(); });
    for (Index k = begin; k < end; ++k) {
      const Vector value = Vector::all(h[k]);
      unroll<kVectors>([&](auto v) UNROLLED_INLINE_LAMBDA {
        constexpr int kPanel = v / S;
        constexpr int kWidth = kVectors - kPanel * S < S ? kVectors - kPanel * S : S;
        const Vector weight = Vector::load(w + kPanel * panel_floats + (k * kWidth + v % S) * kLanes);
        sum[v] = fma(value, weight, sum[v]);
      });
    }
    unroll<kVectors>([&](auto v) UNROLLED_INLINE_LAMBDA { total[v] = total[v] + sum[v]; });
  }
}

template <CellKind K, int kBlocks>
UNROLLED_NO_INLINE void run_register_steps(const RegisterSteps& s) {
  constexpr int kGates = static_cast<int>(CellTraits<K>::kGates);
  constexpr int kVectors = kGates * kBlocks;
  const float* x = s.projected;
  float* output = s.output;
  Vector h[kBlocks];
  Vector c[kBlocks];
  unroll<kBlocks>([&](auto b) UNROLLED_INLINE_LAMBDA {
    h[b] = Vector::load(s.h_before + b * kLanes);
    if constexpr (K == CellKind::kLstm) c[b] = Vector::load(s.c + b * kLanes);
  });
  for (Index step = 0; step < s.steps; ++step) {
    Vector sum[kVectors];
    const float* init = K == CellKind::kGruResetAfter ? s.recurrent_bias : x;
    unroll<kVectors>([&](auto v) UNROLLED_INLINE_LAMBDA { sum[v] = Vector::load(init + v * kLanes); });
    multiply_registers<kVectors, CellTraits<K>::kPanelVectors>(s.recurrent, s.h, s.units, sum);
    unroll<kBlocks>([&](auto b) UNROLLED_INLINE_LAMBDA {
      constexpr int kFirst = b * kGates;
      if constexpr (K == CellKind::kSimpleRnn) {
        h[b] = tanh(sum[kFirst]);
      } else if constexpr (K == CellKind::kLstm) {
        const Vector kept = sigmoid(sum[kFirst + 1]) * c[b];
        c[b] = fma(sigmoid(sum[kFirst]), tanh(sum[kFirst + 2]), kept);
        h[b] = sigmoid(sum[kFirst + 3]) * tanh(c[b]);
      } else {
        const auto input = [&](int gate)
                               UNROLLED_INLINE_LAMBDA { return Vector::load(x + (kFirst + gate) * kLanes); };
        const Vector reset = sigmoid(input(1) + sum[kFirst + 1]);
        const Vector candidate = tanh(fma(reset, sum[kFirst + 2], input(2)));
        h[b] = gru_mix(sigmoid(input(0) + sum[kFirst]), h[b], candidate);
      }
      h[b].store(s.h_next + b * kLanes);
      if (output != nullptr) store_units(output, b * kLanes, s.output_units, h[b]);
    });
    x += s.row_floats;
    if (output != nullptr) output += s.output_stride;
  }
  if constexpr (K == CellKind::kLstm) {
    unroll<kBlocks>([&](auto b) UNROLLED_INLINE_LAMBDA { c[b].store(s.c + b * kLanes); });
  }
}

template <CellKind K, int kBlocks = kMaxRegisterBlocks<K>>
UNROLLED_INLINE void run_register_steps_of(Index blocks, const RegisterSteps& s) {
  if constexpr (kBlocks > 1) {
    if (blocks < kBlocks) return run_register_steps_of<K, kBlocks - 1>(blocks, s);
  }
  run_register_steps<K, kBlocks>(s);
}

}  // namespace
}  // namespace unrolled::kernels::UNROLLED_ISA_NAME
