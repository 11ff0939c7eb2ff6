// SPDX-License-Identifier: MIT
// Product of two values, batched over leading axes that broadcast. The right one is packed per item and goes
// through the dense kernel, whose sums have one order on every ISA.
#include "base/aligned_buffer.h"
#include "ops/factories.h"
#include "ops/product.h"
#include "ops/walk.h"

namespace unrolled {
namespace {

class Matmul final : public Op {
 public:
  Matmul(const kernels::KernelTable& table, Operand a, Operand b, bool transpose_b)
      : table_(table), a_(a), b_(b), transpose_b_(transpose_b) {}

  const char* name() const override { return "matmul"; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    const Shape& a = inputs[0].shape;
    const Shape& b = inputs[1].shape;
    for (const TensorType& input : inputs) {
      check_dtype(name(), input, DType::kFloat32);
      check_rank_at_least(name(), input, 2);
    }
    const kernels::DenseShape shape = shape_of(b);
    TensorType y{DType::kFloat32, {}};
    y.shape.rank = std::max(a.rank, b.rank);
    bool fits = a.dims[a.rank - 1] == shape.depth;
    for (int axis = 0; axis < y.shape.rank - 2; ++axis) {
      const Index of_a = leading(a, axis - (y.shape.rank - a.rank));
      const Index of_b = leading(b, axis - (y.shape.rank - b.rank));
      fits = fits && (of_a == of_b || of_a == 1 || of_b == 1);
      y.shape.dims[axis] = of_a == 1 ? of_b : of_a;
    }
    if (!fits || shape.depth < 1) {
      fail({"matmul: expected matrices that fit, got ", to_string(a), " and ", to_string(b),
            transpose_b_ ? " transposed" : ""});
    }
    y.shape.dims[y.shape.rank - 2] = a.dims[a.rank - 2];
    y.shape.dims[y.shape.rank - 1] = shape.columns;
    outputs[0] = y;
  }

  // Both batches must be the leading axis of the result, and a constant must stay below it.
  bool is_row_independent(std::span<const TensorType> inputs) const override {
    const Shape& a = inputs[0].shape;
    const Shape& b = inputs[1].shape;
    const int rank = std::max(a.rank, b.rank);
    const auto stays_below = [&](const Shape& shape) { return shape.rank < rank || shape.dims[0] == 1; };
    if (a_.has_batch && !b_.has_batch) return a.rank == rank && (rank == 2 || stays_below(b));
    if (b.rank != rank || rank == 2) return false;
    return a_.has_batch ? a.rank == rank && a.dims[0] == b.dims[0] : stays_below(a);
  }

  Index scratch_bytes(std::span<const TensorType> inputs, int team_size) const override {
    return slot(shape_of(inputs[1].shape)) * team_size;
  }

  Cost cost(std::span<const TensorType> inputs) const override {
    const kernels::DenseShape shape = shape_of(inputs[1].shape);
    const double products =
        static_cast<double>(element_count(inputs[0].shape)) * static_cast<double>(shape.columns);
    return {2.0 * products + 4.0 * static_cast<double>(element_count(inputs[1].shape))};
  }

  void run(const OpContext& context) const override {
    const Shape& a = context.inputs[0].type.shape;
    const Shape& b = context.inputs[1].type.shape;
    const Shape& y = context.outputs[0].type.shape;
    const kernels::DenseShape shape = shape_of(b);
    const Index rows = y.dims[y.rank - 2];
    char* own = static_cast<char*>(context.scratch) + context.team.index * slot(shape);
    auto* packed = reinterpret_cast<float*>(own);
    auto* transposed = reinterpret_cast<float*>(own + packed_bytes(shape));

    Walk<2> items;
    Index next_a = rows * shape.depth;
    Index next_b = shape.depth * shape.columns;
    for (int axis = y.rank - 3; axis >= 0; --axis) {
      const Index of_a = leading(a, axis - (y.rank - a.rank));
      const Index of_b = leading(b, axis - (y.rank - b.rank));
      items.push(y.dims[axis], {of_a == 1 ? 0 : next_a, of_b == 1 ? 0 : next_b});
      next_a *= of_a;
      next_b *= of_b;
    }
    kernels::DenseArguments arguments;
    arguments.shape = shape;
    arguments.packed = packed;
    arguments.x_row_stride = shape.depth;
    arguments.y_row_stride = shape.columns;
    arguments.panel_end = table_.dense_panels(shape);
    // With items for every thread each takes some; else all take their share of the rows of every item.
    const Index count = items.count();
    const bool by_items = count >= context.team.size;
    const Range share = by_items ? share_of(count, context.team) : Range{0, count};
    const Range own_rows = by_items ? Range{0, rows} : share_of(rows, context.team, 4);
    arguments.rows = own_rows.end - own_rows.begin;
    if (arguments.rows <= 0) return;
    Index packed_offset = -1;
    items.rows(share, [&](Index item, const Index(&offsets)[2], Index length) {
      for (Index i = 0; i < length; ++i) {
        const Index offset_b = offsets[1] + i * items.inner_stride(1);
        if (offset_b != packed_offset) {
          pack(shape, floats(context.inputs[1]) + offset_b, transposed, packed);
          packed_offset = offset_b;
        }
        arguments.x =
            floats(context.inputs[0]) + offsets[0] + i * items.inner_stride(0) + own_rows.begin * shape.depth;
        arguments.y =
            mutable_floats(context.outputs[0]) + ((item + i) * rows + own_rows.begin) * shape.columns;
        run_product(table_, arguments, context.team);
      }
    });
  }

 private:
  static Index leading(const Shape& shape, int axis) { return axis < 0 ? 1 : shape.dims[axis]; }

  kernels::DenseShape shape_of(const Shape& b) const {
    const Index second = b.dims[b.rank - 2];
    const Index last = b.dims[b.rank - 1];
    return transpose_b_ ? kernels::DenseShape{last, second} : kernels::DenseShape{second, last};
  }

  Index packed_bytes(const kernels::DenseShape& shape) const {
    return align_up(multiply(table_.dense_packed_floats(shape), size_of(DType::kFloat32)));
  }
  Index slot(const kernels::DenseShape& shape) const {
    const Index elements = transpose_b_ ? multiply(shape.depth, shape.columns) : 0;
    return add(packed_bytes(shape), align_up(multiply(elements, size_of(DType::kFloat32))));
  }

  void pack(const kernels::DenseShape& shape, const float* b, float* transposed, float* packed) const {
    const float* kernel = b;
    if (transpose_b_) {
      for (Index column = 0; column < shape.columns; ++column) {
        for (Index k = 0; k < shape.depth; ++k) {
          transposed[k * shape.columns + column] = b[column * shape.depth + k];
        }
      }
      kernel = transposed;
    }
    table_.pack_dense(shape, kernel, nullptr, packed);
  }

  const kernels::KernelTable& table_;
  Operand a_;
  Operand b_;
  bool transpose_b_;
};

}  // namespace

OpPointer make_matmul(const kernels::KernelTable& table, Operand a, Operand b, bool transpose_b) {
  return std::make_unique<Matmul>(table, a, b, transpose_b);
}

}  // namespace unrolled
