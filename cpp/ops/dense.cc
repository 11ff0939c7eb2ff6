// SPDX-License-Identifier: MIT
// activation(x . kernel + bias) on the last axis of x.
#include "base/aligned_buffer.h"
#include "ops/factories.h"
#include "ops/product.h"

namespace unrolled {
namespace {

class Dense final : public Op {
 public:
  Dense(const kernels::KernelTable& table, const WeightView& kernel, const std::optional<WeightView>& bias,
        const kernels::Activation& activation)
      : table_(table), activation_(activation) {
    if (kernel.shape.rank != 2) fail({"dense: expected a kernel of rank 2, got ", to_string(kernel.shape)});
    shape_ = {kernel.shape.dims[0], kernel.shape.dims[1]};
    if (shape_.depth < 1 || shape_.columns < 1) {
      fail({"dense: expected a kernel without empty axes, got ", to_string(kernel.shape)});
    }
    if (bias && (bias->shape.rank != 1 || bias->shape.dims[0] != shape_.columns)) {
      fail({"dense: expected a bias of shape (", std::to_string(shape_.columns), ",), got ",
            to_string(bias->shape)});
    }
    panels_ = table.dense_panels(shape_);
    packed_.reserve(table.dense_packed_floats(shape_) * size_of(DType::kFloat32));
    table.pack_dense(shape_, kernel.data, bias ? bias->data : nullptr, packed_.floats());
  }

  const char* name() const override { return "dense"; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    const TensorType& x = inputs[0];
    check_dtype(name(), x, DType::kFloat32);
    check_rank_at_least(name(), x, 1);
    if (x.shape.dims[x.shape.rank - 1] != shape_.depth) {
      fail({"dense: expected a last axis of ", std::to_string(shape_.depth), ", got ", to_string(x.shape)});
    }
    outputs[0] = x;
    outputs[0].shape.dims[x.shape.rank - 1] = shape_.columns;
  }

  Cost cost(std::span<const TensorType> inputs) const override {
    const double rows = static_cast<double>(rows_of(inputs[0]));
    const double weights = static_cast<double>(packed_.capacity());
    // Read once per call, not per timestep: far larger weights may come from further away.
    return {rows * weights / 2.0, weights, weights / 8.0, false};
  }

  void run(const OpContext& context) const override {
    kernels::DenseArguments arguments;
    arguments.shape = shape_;
    arguments.packed = packed_.floats();
    arguments.activation = activation_;
    arguments.x_row_stride = shape_.depth;
    arguments.y_row_stride = shape_.columns;
    arguments.panel_end = panels_;
    const Team& team = context.team;
    const Index all_rows = rows_of(context.inputs[0].type);
    // Rows when every thread gets several full tiles of them; else panels, of which few rows have enough.
    constexpr Index kTileRows = 12;
    Range rows{0, all_rows};
    if (team.size > 1 && (all_rows >= 2 * kTileRows * team.size || panels_ < team.size)) {
      rows = share_of(all_rows, team, all_rows >= kTileRows * team.size ? kTileRows : 1);
    } else {
      const Range panels = share_of(panels_, team);
      arguments.panel_begin = panels.begin;
      arguments.panel_end = panels.end;
    }
    arguments.rows = rows.end - rows.begin;
    arguments.x = floats(context.inputs[0]) + rows.begin * shape_.depth;
    arguments.y = mutable_floats(context.outputs[0]) + rows.begin * shape_.columns;
    if (arguments.panel_begin < arguments.panel_end) run_product(table_, arguments, team);
  }

 private:
  static Index rows_of(const TensorType& x) { return product(x.shape, 0, x.shape.rank - 1); }

  const kernels::KernelTable& table_;
  kernels::DenseShape shape_;
  kernels::Activation activation_;
  Index panels_ = 0;
  AlignedBuffer packed_;
};

}  // namespace

OpPointer make_dense(const kernels::KernelTable& table, const WeightView& kernel,
                     const std::optional<WeightView>& bias, const kernels::Activation& activation) {
  return std::make_unique<Dense>(table, kernel, bias, activation);
}

}  // namespace unrolled
