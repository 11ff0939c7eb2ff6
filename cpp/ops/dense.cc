// SPDX-License-Identifier: MIT
// activation(x . kernel + bias) on the last axis of x.
#include "ops/packed_weights.h"
#include "ops/product.h"
#include "ops/registry.h"

namespace unrolled {
namespace {

class Dense final : public Op {
 public:
  Dense(const Arguments& given, const Surroundings& surroundings)
      : table_(surroundings.table), activation_(given.get<kernels::Activation>("activation")) {
    const Array& kernel = given.get<Array>("kernel");
    const Array* bias = given.find<Array>("bias");
    if (kernel.shape.rank != 2) fail({"dense: expected a kernel of rank 2, got ", to_string(kernel.shape)});
    shape_ = {kernel.shape.dims[0], kernel.shape.dims[1]};
    if (shape_.depth < 1 || shape_.columns < 1) {
      fail({"dense: expected a kernel without empty axes, got ", to_string(kernel.shape)});
    }
    if (bias && (bias->shape.rank != 1 || bias->shape.dims[0] != shape_.columns)) {
      fail({"dense: expected a bias of shape (", std::to_string(shape_.columns), ",), got ",
            to_string(bias->shape)});
    }
    panels_ = table_.dense_panels(shape_);
    packed_ = PackedWeights(table_.dense_packed_floats(shape_) * size_of(DType::kFloat32),
                            [this, kernel, bias = bias ? *bias : Array{}](float* packed) {
                              table_.pack_dense(shape_, kernel.data, bias.data, packed);
                            });
  }

  void make_ready() const override { packed_.make_ready(); }

  PreparedPointer prepare(Types inputs, int) const override {
    const TensorType& x = inputs[0];
    check_dtype("dense", x, DType::kFloat32);
    check_rank_at_least("dense", x, 1);
    if (x.shape.dims[x.shape.rank - 1] != shape_.depth) {
      fail({"dense: expected a last axis of ", std::to_string(shape_.depth), ", got ", to_string(x.shape)});
    }
    TensorType y = x;
    y.shape.dims[x.shape.rank - 1] = shape_.columns;
    const Index all_rows = product(x.shape, 0, x.shape.rank - 1);
    const double weights = static_cast<double>(packed_.bytes());
    // Read once per call, not per timestep: far larger weights may come from further away.
    const Cost cost{static_cast<double>(all_rows) * weights / 2.0, weights, weights / 8.0, false};
    return prepared(Rows::kIndependent, {y}, {cost}, [=, this](const OpContext& context) noexcept {
      kernels::DenseArguments arguments;
      arguments.shape = shape_;
      arguments.packed = packed_.floats();
      arguments.activation = activation_;
      arguments.x_row_stride = shape_.depth;
      arguments.y_row_stride = shape_.columns;
      arguments.panel_end = panels_;
      const Team& team = context.team;
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
    });
  }

 private:
  const kernels::KernelTable& table_;
  kernels::DenseShape shape_;
  kernels::Activation activation_;
  Index panels_ = 0;
  PackedWeights packed_;
};

}  // namespace

OpRecord records::dense() {
  return record<Dense>(
      "dense", {{"x", kOperand}, {"kernel", kArray}, {"bias", kArray, kOrNone}, {"activation", kActivation}},
      "activation(x . kernel + bias) on the last axis of x; kernel [depth, columns], bias [columns].");
}

}  // namespace unrolled
