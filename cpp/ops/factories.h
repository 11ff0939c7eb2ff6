// SPDX-License-Identifier: MIT
// Every operation that a Plan can hold, one function each; what they compute stands at their methods in
// python/unrolled/_core.pyi. Arrays passed in are copied or packed, never kept. All throw
// std::invalid_argument on parameters that cannot be right whatever the input.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/table.h"
#include "ops/op.h"

namespace unrolled {

using OpPointer = std::unique_ptr<Op>;

// A caller's float32 array in C order.
struct WeightView {
  const float* data = nullptr;
  Shape shape;
};

OpPointer make_dense(const kernels::KernelTable& table, const WeightView& kernel,
                     const std::optional<WeightView>& bias, const kernels::Activation& activation);

struct DirectionConfig {
  kernels::CellShape shape;
  kernels::CellWeights weights;
  bool read_reversed = false;
  bool write_reversed = false;
  bool zero_output_for_mask = false;
  bool masked_output_is_state = false;
};
struct RecurrentConfig {
  bool has_mask = false;
  bool has_initial_states = false;
  bool return_sequences = false;
  bool return_state = false;
  bool concatenate = false;
};
// Inputs: x, [mask], [initial states of each direction: h, then c for LSTM].
OpPointer make_recurrent(const kernels::KernelTable& table, const std::vector<DirectionConfig>& directions,
                         const RecurrentConfig& config);
int state_count(kernels::CellKind kind);
int gate_count(kernels::CellKind kind);

OpPointer make_embedding(const WeightView& table);

struct WindowConfig {
  std::vector<Index> size;  // pooling only; a convolution's size is its kernel's
  std::vector<Index> strides;
  std::vector<Index> dilation;
  std::string padding;
  Index groups = 1;
};
OpPointer make_convolution(const kernels::KernelTable& table, const WeightView& kernel,
                           const std::optional<WeightView>& bias, const WindowConfig& window,
                           const kernels::Activation& activation);
OpPointer make_pool(const std::string& kind, const WindowConfig& window);

OpPointer make_reduce(const std::string& kind, std::vector<int> axes, bool keepdims);
OpPointer make_masked_mean(bool keepdims);
OpPointer make_running_mean(bool has_mask, bool keepdims);
OpPointer make_activate(const kernels::KernelTable& table, const kernels::Activation& activation);
OpPointer make_softmax(const kernels::KernelTable& table, int axis, bool logarithm);
OpPointer make_sparsemax(int axis);
OpPointer make_batch_normalization(int axis, const WeightView& mean, const WeightView& variance,
                                   const std::optional<WeightView>& gamma,
                                   const std::optional<WeightView>& beta, double epsilon);
OpPointer make_layer_normalization(std::vector<int> axes, const std::optional<WeightView>& gamma,
                                   const std::optional<WeightView>& beta, double epsilon,
                                   bool root_mean_square);

// Whether an operand has a batch axis or is a constant, which broadcasts from the right.
struct Operand {
  bool has_batch = true;
};
OpPointer make_binary(const std::string& kind, Operand a, Operand b);
OpPointer make_select(Operand condition, Operand a, Operand b);
OpPointer make_logical_not();
OpPointer make_apply_mask();
OpPointer make_cast(DType dtype);
OpPointer make_ones_like(DType dtype);
OpPointer make_matmul(const kernels::KernelTable& table, Operand a, Operand b, bool transpose_b);

OpPointer make_reshape(std::vector<Index> target);
OpPointer make_merge_time();
OpPointer make_split_time();
OpPointer make_expand_dims(int axis);
OpPointer make_squeeze(int axis);
OpPointer make_transpose(std::vector<int> permutation);
OpPointer make_slice(int axis, std::optional<Index> start, std::optional<Index> stop, Index step);
OpPointer make_pad(int axis, Index before, Index after);
OpPointer make_repeat(int axis, Index count);
OpPointer make_concatenate(int axis);

}  // namespace unrolled
