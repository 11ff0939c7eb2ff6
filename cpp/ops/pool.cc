// SPDX-License-Identifier: MIT
// Maximum and average over windows of 1 to 3 spatial axes, channels last. Padding cells do not take part:
// an average divides by the number of real cells.
#include <limits>

#include "ops/window.h"

namespace unrolled {
namespace {

constexpr Index kColumns = 128;

class Pool final : public Op {
 public:
  Pool(bool is_average, const WindowConfig& config) : is_average_(is_average), config_(config) {
    check_window(name(), config, static_cast<int>(config.size.size()), false);
    for (const Index size : config.size) {
      if (size < 1) fail({name(), ": expected a size of at least 1, got ", std::to_string(size)});
    }
  }

  const char* name() const override { return is_average_ ? "average_pool" : "max_pool"; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    const TensorType& x = inputs[0];
    check_dtype(name(), x, DType::kFloat32);
    const Window window = resolve_window(name(), config_, config_.size, x.shape);
    outputs[0] = x;
    for (int i = 0; i < window.spatial; ++i) {
      outputs[0].shape.dims[i + 1] = window.out[kMaxSpatial - window.spatial + i];
    }
  }

  Cost cost(std::span<const TensorType> inputs) const override {
    const Window window = resolve_window(name(), config_, config_.size, inputs[0].shape);
    const Shape& x = inputs[0].shape;
    return {32.0 * static_cast<double>(x.dims[0] * x.dims[x.rank - 1]) *
            static_cast<double>(window.positions() * window.cells())};
  }

  void run(const OpContext& context) const override {
    const Shape& shape = context.inputs[0].type.shape;
    const Window window = resolve_window(name(), config_, config_.size, shape);
    const Index channels = shape.dims[shape.rank - 1];
    const Index positions = window.positions();
    const Index image = window.in[0] * window.in[1] * window.in[2] * channels;
    const Range range = share_of(shape.dims[0] * positions, context.team, 4);
    for (Index row = range.begin; row < range.end; ++row) {
      const float* x = floats(context.inputs[0]) + row / positions * image;
      float* y = mutable_floats(context.outputs[0]) + row * channels;
      for (Index first = 0; first < channels; first += kColumns) {
        const Index columns = std::min(kColumns, channels - first);
        if (is_average_) {
          average(window, x + first, channels, row % positions, columns, y + first);
        } else {
          maximum(window, x + first, channels, row % positions, columns, y + first);
        }
      }
    }
  }

 private:
  // Calls body(cell) for the channels of every real cell of a window; returns how many there were.
  template <typename Body>
  static Index each_cell(const Window& window, const float* x, Index channels, Index p, Body body) {
    Index origin[kMaxSpatial];
    window.locate(p, origin);
    Index begin[kMaxSpatial];
    Index end[kMaxSpatial];
    Index count = 1;
    for (int axis = 0; axis < kMaxSpatial; ++axis) {
      begin[axis] = std::max<Index>(origin[axis], 0);
      end[axis] = std::min(origin[axis] + window.size[axis], window.in[axis]);
      count *= end[axis] - begin[axis];
    }
    for (Index i = begin[0]; i < end[0]; ++i) {
      for (Index j = begin[1]; j < end[1]; ++j) {
        for (Index k = begin[2]; k < end[2]; ++k) {
          body(x + ((i * window.in[1] + j) * window.in[2] + k) * channels);
        }
      }
    }
    return count;
  }

  static void average(const Window& window, const float* x, Index channels, Index p, Index columns,
                      float* y) {
    double sums[kColumns] = {};
    const Index count = each_cell(window, x, channels, p, [&](const float* cell) {
      for (Index i = 0; i < columns; ++i) sums[i] += static_cast<double>(cell[i]);
    });
    for (Index i = 0; i < columns; ++i) y[i] = static_cast<float>(sums[i] / static_cast<double>(count));
  }

  static void maximum(const Window& window, const float* x, Index channels, Index p, Index columns,
                      float* y) {
    std::fill_n(y, columns, -std::numeric_limits<float>::infinity());
    (void)each_cell(window, x, channels, p, [&](const float* cell) {
      for (Index i = 0; i < columns; ++i) y[i] = cell[i] > y[i] || cell[i] != cell[i] ? cell[i] : y[i];
    });
  }

  bool is_average_;
  WindowConfig config_;
};

}  // namespace

OpPointer make_pool(const std::string& kind, const WindowConfig& window) {
  if (kind != "max" && kind != "average") fail({"pool: expected kind max or average, got ", kind});
  return std::make_unique<Pool>(kind == "average", window);
}

}  // namespace unrolled
