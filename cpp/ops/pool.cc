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
  explicit Pool(const Arguments& given)
      : config_(window_config(given)), size_(given.get<std::vector<Index>>("size")) {
    const std::string& kind = given.get<std::string>("kind");
    if (kind != "max" && kind != "average") fail({"pool: expected kind max or average, got ", kind});
    is_average_ = kind == "average";
    check_window(name(), config_, static_cast<int>(size_.size()), false);
    for (const Index size : size_) {
      if (size < 1) fail({name(), ": expected a size of at least 1, got ", std::to_string(size)});
    }
  }

  PreparedPointer prepare(Types inputs, int) const override {
    const TensorType& x = inputs[0];
    check_dtype(name(), x, DType::kFloat32);
    const Window window = resolve_window(name(), config_, size_, x.shape);
    TensorType y = x;
    for (int i = 0; i < window.spatial; ++i) {
      y.shape.dims[i + 1] = window.out[kMaxSpatial - window.spatial + i];
    }
    Cost cost{32.0 * static_cast<double>(element_count(y.shape))};
    for (const Index size : size_) cost.flops *= static_cast<double>(size);
    const Index batch = x.shape.dims[0];
    const Index channels = x.shape.dims[x.shape.rank - 1];
    return prepared(Rows::kIndependent, {y}, {cost},
                    [=, this](const OpContext& context) noexcept { run(window, batch, channels, context); });
  }

 private:
  const char* name() const { return is_average_ ? "average_pool" : "max_pool"; }

  void run(const Window& window, Index batch, Index all_channels, const OpContext& context) const {
    const Index positions = window.positions();
    const Index image = window.in[0] * window.in[1] * window.in[2] * all_channels;
    const Range range = share_of(batch * positions, context.team, 4);
    for (Index row = range.begin; row < range.end; ++row) {
      const float* x = floats(context.inputs[0]) + row / positions * image;
      float* y = mutable_floats(context.outputs[0]) + row * all_channels;
      for (Index first = 0; first < all_channels; first += kColumns) {
        const Index columns = std::min(kColumns, all_channels - first);
        const auto pooled = is_average_ ? &average : &maximum;
        pooled(window, x + first, all_channels, row % positions, columns, y + first);
      }
    }
  }

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

  WindowConfig config_;
  std::vector<Index> size_;
  bool is_average_ = false;
};

}  // namespace

OpRecord records::pool() {
  return record<Pool>(
      "pool",
      {{"x", kOperand}, {"*"}, {"kind", kString}, {"size", kInts}, {"strides", kInts}, {"padding", kString}},
      "Windows of x [batch, spatial..., channels]; kind max or average, padding valid or same.");
}

}  // namespace unrolled
