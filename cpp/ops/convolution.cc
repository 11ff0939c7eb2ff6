// SPDX-License-Identifier: MIT
// Convolution of 1 to 3 spatial axes, channels last, as a matrix product of windows with the kernel. In one
// dimension without dilation and groups the windows are overlapping rows of the input itself; elsewhere they
// are gathered into scratch a block at a time.
#include <cstring>

#include "ops/packed_weights.h"
#include "ops/product.h"
#include "ops/window.h"

namespace unrolled {
namespace {

constexpr const char* kName = "convolution";
constexpr Index kBlockRows = 60;

class Convolution final : public Op {
 public:
  Convolution(const Arguments& given, const Surroundings& surroundings)
      : table_(surroundings.table),
        config_(window_config(given)),
        groups_(given.get<Index>("groups")),
        activation_(given.get<kernels::Activation>("activation")) {
    const Array& kernel = given.get<Array>("kernel");
    const Array* bias = given.find<Array>("bias");
    config_.dilation = given.get<std::vector<Index>>("dilation");
    const int spatial = kernel.shape.rank - 2;
    check_window(kName, config_, spatial, true);
    size_.assign(kernel.shape.dims, kernel.shape.dims + spatial);
    group_channels_ = kernel.shape.dims[spatial];
    filters_ = kernel.shape.dims[spatial + 1];
    if (groups_ < 1 || filters_ % groups_ != 0 || element_count(kernel.shape) < 1) {
      fail({"convolution: ", std::to_string(groups_), " groups do not divide a kernel of shape ",
            to_string(kernel.shape)});
    }
    if (bias && (bias->shape.rank != 1 || bias->shape.dims[0] != filters_)) {
      fail({"convolution: expected a bias of shape (", std::to_string(filters_), ",), got ",
            to_string(bias->shape)});
    }
    channels_ = multiply(group_channels_, groups_);
    const Index columns = filters_ / groups_;
    shape_ = {product(kernel.shape, 0, spatial + 1), columns};
    panels_ = table_.dense_panels(shape_);
    group_floats_ =
        align_up(table_.dense_packed_floats(shape_) * size_of(DType::kFloat32)) / size_of(DType::kFloat32);
    packed_ = PackedWeights(
        multiply(group_floats_, groups_ * size_of(DType::kFloat32)),
        [this, kernel, bias = bias ? *bias : Array{}](float* packed) { pack(kernel, bias, packed); });
  }

  void make_ready() const override { packed_.make_ready(); }

  PreparedPointer prepare(Types inputs, int team_size) const override {
    const TensorType& x = inputs[0];
    check_dtype(kName, x, DType::kFloat32);
    const Window window = resolve_window(kName, config_, size_, x.shape);
    if (x.shape.dims[x.shape.rank - 1] != channels_) {
      fail({"convolution: expected ", std::to_string(channels_), " channels, got ", to_string(x.shape)});
    }
    TensorType y = x;
    for (int i = 0; i < window.spatial; ++i) {
      y.shape.dims[i + 1] = window.out[kMaxSpatial - window.spatial + i];
    }
    y.shape.dims[x.shape.rank - 1] = filters_;
    const double weights = static_cast<double>(packed_.bytes());
    const Index batch = x.shape.dims[0];
    const double rows = static_cast<double>(batch) * static_cast<double>(window.positions());
    const Cost cost{rows * weights / 2.0, weights, weights / 8.0};
    const Index slot = slot_of(window);
    return prepared(Rows::kIndependent, {y}, {cost, slot * team_size},
                    [=, this](const OpContext& context) noexcept { run(window, batch, slot, context); });
  }

 private:
  void pack(const Array& kernel, const Array& bias, float* packed) const {
    const Index columns = shape_.columns;
    std::vector<float> columns_of_group(static_cast<std::size_t>(multiply(shape_.depth, columns)));
    for (Index group = 0; group < groups_; ++group) {
      for (Index k = 0; k < shape_.depth; ++k) {
        std::copy_n(kernel.data + k * filters_ + group * columns, columns,
                    columns_of_group.data() + k * columns);
      }
      table_.pack_dense(shape_, columns_of_group.data(), bias.data ? bias.data + group * columns : nullptr,
                        packed + group * group_floats_);
    }
  }

  void run(const Window& window, Index batch, Index slot, const OpContext& context) const {
    const float* x = floats(context.inputs[0]);
    float* y = mutable_floats(context.outputs[0]);
    auto* own = reinterpret_cast<float*>(own_scratch(context, slot));
    const Index positions = window.positions();
    const Index cells = window.in[0] * window.in[1] * window.in[2];
    const Range rows = share_of(batch * positions, context.team, 12);
    const Index piece = rows_between_stops(shape_.depth, filters_);
    // Item by item; within one, positions [begin, end).
    for (Index row = rows.begin; row < rows.end && !should_stop(context.team);) {
      const Index item = row / positions;
      const Index begin = row - item * positions;
      const Index end = std::min(positions, begin + std::min(piece, rows.end - row));
      const float* image = x + item * cells * channels_;
      float* result = y + item * positions * filters_;
      if (is_direct()) {
        run_direct(window, image, result, {begin, end}, own);
      } else {
        run_gathered(window, image, result, {begin, end}, own);
      }
      row += end - begin;
    }
  }

  bool is_direct() const { return size_.size() == 1 && config_.dilation[0] == 1 && groups_ == 1; }

  // Scratch of one thread: a padded stretch of the input, or a block of gathered windows.
  Index slot_of(const Window& window) const {
    const Index count =
        is_direct() ? multiply(add(multiply(kBlockRows - 1, window.stride[2]), window.size[2]), channels_)
                    : multiply(kBlockRows, shape_.depth);
    return align_up(multiply(count, size_of(DType::kFloat32)));
  }

  void multiply_rows(const float* rows, Index row_stride, Index count, Index group, float* y) const {
    kernels::DenseArguments arguments;
    arguments.shape = shape_;
    arguments.packed = packed_.floats() + group * group_floats_;
    arguments.rows = count;
    arguments.x = rows;
    arguments.x_row_stride = row_stride;
    arguments.y = y + group * shape_.columns;
    arguments.y_row_stride = filters_;
    arguments.activation = activation_;
    arguments.panel_end = panels_;
    table_.dense(arguments);
  }

  void run_direct(const Window& window, const float* image, float* y, Range range, float* own) const {
    const Index stride = window.stride[2];
    const Index before = window.before[2];
    const Index size = window.size[2];
    const Index timesteps = window.in[2];
    // Positions [low, high) read nothing but the input.
    const Index low = std::clamp((before + stride - 1) / stride, range.begin, range.end);
    const Index last = timesteps + before - size;  // where the last window that fits begins, from -before
    const Index high = std::clamp(last < 0 ? Index{0} : last / stride + 1, low, range.end);
    const auto padded = [&](Index begin, Index end) {
      for (Index p = begin; p < end; p += kBlockRows) {
        const Index count = std::min(kBlockRows, end - p);
        const Index first = p * stride - before;
        const Index length = (count - 1) * stride + size;
        const Index from = std::clamp(first, Index{0}, timesteps);
        const Index to = std::clamp(first + length, from, timesteps);
        std::fill_n(own, length * channels_, 0.0f);
        std::copy_n(image + from * channels_, (to - from) * channels_, own + (from - first) * channels_);
        multiply_rows(own, stride * channels_, count, 0, y + p * filters_);
      }
    };
    padded(range.begin, low);
    if (low < high) {
      multiply_rows(image + (low * stride - before) * channels_, stride * channels_, high - low, 0,
                    y + low * filters_);
    }
    padded(high, range.end);
  }

  void run_gathered(const Window& window, const float* image, float* y, Range range, float* own) const {
    for (Index p = range.begin; p < range.end; p += kBlockRows) {
      const Index count = std::min(kBlockRows, range.end - p);
      for (Index group = 0; group < groups_; ++group) {
        for (Index row = 0; row < count; ++row) {
          gather(window, image + group * group_channels_, p + row, own + row * shape_.depth);
        }
        multiply_rows(own, shape_.depth, count, group, y + p * filters_);
      }
    }
  }

  // One window of one group: [size..., group_channels_], zeros outside the input.
  void gather(const Window& window, const float* image, Index p, float* to) const {
    Index origin[kMaxSpatial];
    window.locate(p, origin);
    const auto bytes = static_cast<std::size_t>(group_channels_ * size_of(DType::kFloat32));
    for (Index i = 0; i < window.size[0]; ++i) {
      const Index at0 = origin[0] + i * window.dilation[0];
      for (Index j = 0; j < window.size[1]; ++j) {
        const Index at1 = origin[1] + j * window.dilation[1];
        const bool is_inside = at0 >= 0 && at0 < window.in[0] && at1 >= 0 && at1 < window.in[1];
        for (Index k = 0; k < window.size[2]; ++k, to += group_channels_) {
          const Index at2 = origin[2] + k * window.dilation[2];
          if (is_inside && at2 >= 0 && at2 < window.in[2]) {
            std::memcpy(to, image + ((at0 * window.in[1] + at1) * window.in[2] + at2) * channels_, bytes);
          } else {
            std::memset(to, 0, bytes);
          }
        }
      }
    }
  }

  const kernels::KernelTable& table_;
  WindowConfig config_;
  Index groups_;
  kernels::Activation activation_;
  std::vector<Index> size_;
  Index group_channels_ = 0;
  Index channels_ = 0;
  Index filters_ = 0;
  kernels::DenseShape shape_;  // of one group
  Index panels_ = 0;
  Index group_floats_ = 0;
  PackedWeights packed_;
};

}  // namespace

OpRecord records::convolution() {
  return record<Convolution>(
      kName,
      {{"x", kOperand},
       {"kernel", kArray},
       {"bias", kArray, kOrNone},
       {"*"},
       {"strides", kInts},
       {"padding", kString},
       {"dilation", kInts},
       {"groups", kInt},
       {"activation", kActivation}},
      "x [batch, spatial..., channels], kernel [spatial..., channels / groups, filters]; padding valid, "
      "same or (1D) causal.");
}

}  // namespace unrolled
