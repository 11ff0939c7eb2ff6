// SPDX-License-Identifier: MIT
// Product of two values, batched over leading axes that broadcast. The right one is packed per item and goes
// through the dense kernel, whose sums have one order on every ISA.
#include "base/aligned_buffer.h"
#include "ops/product.h"
#include "ops/registry.h"
#include "ops/walk.h"

namespace unrolled {
namespace {

class Matmul final : public Op {
 public:
  Matmul(const Arguments& given, const Surroundings& surroundings)
      : table_(surroundings.table),
        a_has_batch_(surroundings.has_batch[0]),
        b_has_batch_(surroundings.has_batch[1]),
        transpose_b_(given.get<bool>("transpose_b")) {}

  PreparedPointer prepare(Types inputs, int team_size) const override {
    const Shape& a = inputs[0].shape;
    const Shape& b = inputs[1].shape;
    for (const TensorType& input : inputs) {
      check_dtype("matmul", input, DType::kFloat32);
      check_rank_at_least("matmul", input, 2);
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
    const Index rows = a.dims[a.rank - 2];
    const Index packed_size = packed_bytes(shape);
    const Index slot = slot_of(shape);
    const double products = static_cast<double>(element_count(a)) * static_cast<double>(shape.columns);
    const Cost cost{2.0 * products + 4.0 * static_cast<double>(element_count(b))};
    Walk<2> items;
    Index next_a = multiply(rows, shape.depth);
    Index next_b = multiply(shape.depth, shape.columns);
    for (int axis = y.shape.rank - 3; axis >= 0; --axis) {
      const Index of_a = leading(a, axis - (y.shape.rank - a.rank));
      const Index of_b = leading(b, axis - (y.shape.rank - b.rank));
      items.push(y.shape.dims[axis], {of_a == 1 ? 0 : next_a, of_b == 1 ? 0 : next_b});
      next_a *= of_a;
      next_b *= of_b;
    }
    return prepared(
        rows_of(a, b), {y}, {cost, multiply(slot, team_size)}, [=, this](const OpContext& context) noexcept {
          char* own = own_scratch(context, slot);
          auto* packed = reinterpret_cast<float*>(own);
          auto* transposed = reinterpret_cast<float*>(own + packed_size);
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
              arguments.x = floats(context.inputs[0]) + offsets[0] + i * items.inner_stride(0) +
                            own_rows.begin * shape.depth;
              arguments.y =
                  mutable_floats(context.outputs[0]) + ((item + i) * rows + own_rows.begin) * shape.columns;
              run_product(table_, arguments, context.team);
            }
          });
        });
  }

 private:
  // Both batches must be the leading axis of the result, and a constant must stay below it.
  Rows rows_of(const Shape& a, const Shape& b) const {
    const int rank = std::max(a.rank, b.rank);
    const auto stays_below = [&](const Shape& shape) { return shape.rank < rank || shape.dims[0] == 1; };
    if (a_has_batch_ && !b_has_batch_) {
      return independent_if(a.rank == rank && (rank == 2 || stays_below(b)));
    }
    if (b.rank != rank || rank == 2) return Rows::kDependent;
    return independent_if(a_has_batch_ ? a.rank == rank && a.dims[0] == b.dims[0] : stays_below(a));
  }

  static Index leading(const Shape& shape, int axis) { return axis < 0 ? 1 : shape.dims[axis]; }

  kernels::DenseShape shape_of(const Shape& b) const {
    const Index second = b.dims[b.rank - 2];
    const Index last = b.dims[b.rank - 1];
    return transpose_b_ ? kernels::DenseShape{last, second} : kernels::DenseShape{second, last};
  }

  Index packed_bytes(const kernels::DenseShape& shape) const {
    return align_up(multiply(table_.dense_packed_floats(shape), size_of(DType::kFloat32)));
  }
  Index slot_of(const kernels::DenseShape& shape) const {
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
  bool a_has_batch_;
  bool b_has_batch_;
  bool transpose_b_;
};

}  // namespace

OpRecord records::matmul() {
  return record<Matmul>("matmul", {{"a", kOperand}, {"b", kOperand}, {"*"}, {"transpose_b", kBool, false}},
                        "Products of matrices, batched over leading axes that broadcast.");
}

}  // namespace unrolled
