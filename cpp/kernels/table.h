// SPDX-License-Identifier: MIT
// The one interface between operations and the kernels compiled once per ISA: plain data and C function
// pointers. Operations include this header and nothing else of cpp/kernels; see dispatch.h for the choice.
#pragma once

#include <cstdint>

#include "base/team.h"
#include "base/tensor.h"

namespace unrolled::kernels {

// Elementwise activations, formulas as in Keras 3.15 keras/src/activations/activations.py unless noted.
// alpha, beta, gamma are parameters of the kinds that name them.
enum class ActivationKind : std::int32_t {
  kLinear,
  kRelu,  // max_value alpha (infinity: none), negative_slope beta, threshold gamma
  kSigmoid,
  kHardSigmoid,  // clip(alpha * x + beta, 0, 1): 1/6 and 1/2 in Keras 3, 0.2 and 0.5 before
  kTanh,
  kSoftplus,
  kSoftsign,
  kElu,  // alpha
  kSelu,
  kGelu,      // x/2 (1 + erf(x / sqrt 2))
  kGeluTanh,  // the tanh approximation
  kSilu,
  kExponential,
  kMish,
  kHardSilu,    // x * clip(x/6 + 1/2, 0, 1)
  kCelu,        // alpha
  kSquareplus,  // (x + sqrt(x^2 + alpha)) / 2
  kHardTanh,
  kTanhShrink,
  kSoftShrink,  // threshold alpha
  kHardShrink,  // threshold alpha
  kSparsePlus,
  kSparseSigmoid,
  kLogSigmoid,
  kThreshold,        // x > alpha ? x : beta
  kThresholdedRelu,  // x > alpha ? x : 0 (Keras 2 layer)
};

struct Activation {
  ActivationKind kind = ActivationKind::kLinear;
  float alpha = 0.0f;
  float beta = 0.0f;
  float gamma = 0.0f;
};

// y[rows, columns] = activation(x[rows, depth] . kernel[depth, columns] + bias)
struct DenseShape {
  Index depth = 0;
  Index columns = 0;
};

struct DenseArguments {
  DenseShape shape;
  const float* packed = nullptr;  // by pack_dense
  Index rows = 0;
  const float* x = nullptr;
  Index x_row_stride = 0;  // in floats; rows may overlap (convolution windows)
  float* y = nullptr;
  Index y_row_stride = 0;
  Activation activation;
  // The half-open range of column panels to compute, of dense_panels() many; whole matrix: 0, dense_panels.
  Index panel_begin = 0;
  Index panel_end = 0;
};

// Equations: Keras 3.15 keras/src/layers/rnn/{simple_rnn,lstm,gru}.py.
// Gate order in kernel and recurrent_kernel columns: LSTM i, f, c, o; GRU z, r, h.
enum class CellKind : std::int32_t { kSimpleRnn, kLstm, kGruResetAfter, kGruResetBefore };

struct CellShape {
  CellKind kind = CellKind::kSimpleRnn;
  Index features = 0;
  Index units = 0;
  Activation activation;
  Activation recurrent_activation;  // unused by SimpleRNN
};

struct CellWeights {
  const float* kernel = nullptr;            // [features, gates * units]
  const float* recurrent_kernel = nullptr;  // [units, gates * units]
  // null, or [gates * units]; GRU with reset_after: [2, gates * units], input row then recurrent row
  const float* bias = nullptr;
};

// The loop over time of Keras: at step s the cell reads timestep t = read_reversed ? T-1-s : s; where
// mask[row, t] is 0 the state is kept and the output is 0 (zero_output_for_mask) or the row's previous output
// (0 before the first unmasked step). Output s is written at timestep write_reversed ? T-1-s : s.
struct TimeLoop {
  bool read_reversed = false;
  bool write_reversed = false;
  bool zero_output_for_mask = false;
  // The output at a masked step is the hidden state even before the first unmasked step: for a sweep that
  // continues another one, and the rule of Keras up to 2.2.
  bool masked_output_is_state = false;
};

// One direction over whole sequences.
struct SweepArguments {
  CellShape shape;
  const float* packed = nullptr;  // by pack_cell
  Index batch = 0;
  Index timesteps = 0;
  const float* x = nullptr;  // [batch, timesteps, features]
  Index x_batch_stride = 0;  // in floats
  Index x_time_stride = 0;
  const std::uint8_t* mask = nullptr;  // null or [batch, timesteps], 0 or 1
  Index mask_batch_stride = 0;
  const float* initial_hidden_state = nullptr;  // null (zeros) or [batch, units], contiguous
  const float* initial_cell_state = nullptr;    // LSTM only
  float* sequence_output = nullptr;             // null or [batch, timesteps, units]
  Index sequence_batch_stride = 0;
  Index sequence_time_stride = 0;
  float* last_output = nullptr;  // null or [batch, units], rows last_output_stride apart
  Index last_output_stride = 0;
  float* final_hidden_state = nullptr;  // null or [batch, units], contiguous
  float* final_cell_state = nullptr;    // LSTM only
  TimeLoop loop;
  // The team shares this sweep by units: every thread calls with the same arguments but its own team.
  Team team;
  void* scratch = nullptr;  // sweep_scratch_bytes, 64-byte aligned, shared by the team
};

// Constant-initialised, one per ISA. All functions are noexcept, allocate nothing and keep no state.
struct KernelTable {
  const char* name;
  Index lanes;  // float32 lanes of one vector

  Index (*dense_panels)(const DenseShape&);
  Index (*dense_packed_floats)(const DenseShape&);
  void (*pack_dense)(const DenseShape&, const float* kernel, const float* bias, float* packed);
  void (*dense)(const DenseArguments&);

  Index (*cell_packed_floats)(const CellShape&);
  void (*pack_cell)(const CellShape&, const CellWeights&, float* packed);
  // Enough for any smaller batch, number of timesteps and team as well.
  Index (*sweep_scratch_bytes)(const CellShape&, Index batch, Index timesteps, int team_size);
  void (*sweep)(const SweepArguments&);

  // y[i] = activation(x[i]); x and y may be the same.
  void (*activate)(const Activation&, const float* x, float* y, Index count);
  // Row softmax over `count` contiguous values, the maximum subtracted; in place allowed.
  void (*softmax)(const float* x, float* y, Index rows, Index count, bool logarithm);
};

}  // namespace unrolled::kernels
