// SPDX-License-Identifier: MIT
// The mean over timesteps of a sequence that comes in pieces: sums and counts are carried from call to call.
// Accumulated as reduce "mean" and masked_mean do it, so that the bits are those of the whole sequence at
// once.
#include <cstring>

#include "ops/factories.h"
#include "ops/walk.h"

namespace unrolled {
namespace {

constexpr Index kColumns = 128;

// Inputs: x [batch, time, ...], sums, count, [mask]; outputs: the mean so far, sums, count. The sums are
// doubles in the memory of two int32 each; the count is that of the unmasked timesteps.
class RunningMean final : public Op {
 public:
  RunningMean(bool has_mask, bool keepdims) : has_mask_(has_mask), keepdims_(keepdims) {}

  const char* name() const override { return "running_mean"; }
  int output_count() const override { return 3; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    const TensorType& x = inputs[0];
    check_dtype(name(), x, DType::kFloat32);
    check_rank_at_least(name(), x, 3);
    const Index batch = x.shape.dims[0];
    const Index width = multiply(2, product(x.shape, 2, x.shape.rank));
    const TensorType sums{DType::kInt32, make_shape(std::vector<Index>{batch, width})};
    const TensorType count{DType::kInt32, make_shape(std::vector<Index>{batch, 1})};
    const TensorType mask{DType::kBool, make_shape({x.shape.dims, 2})};
    const auto check = [this](const TensorType& got, const TensorType& expected, const char* what) {
      if (!(got == expected)) {
        fail({name(), ": expected ", what, " ", to_string(expected), ", got ", to_string(got)});
      }
    };
    check(inputs[1], sums, "sums");
    check(inputs[2], count, "a count");
    if (has_mask_) check(inputs[3], mask, "a mask");
    outputs[0] = {DType::kFloat32, {}};
    for (int axis = 0; axis < x.shape.rank; ++axis) {
      Shape& shape = outputs[0].shape;
      if (axis != 1 || keepdims_) shape.dims[shape.rank++] = axis == 1 ? 1 : x.shape.dims[axis];
    }
    outputs[1] = sums;
    outputs[2] = count;
  }

  void run(const OpContext& context) const override {
    const AxisSplit split(context.inputs[0].type.shape, 1);
    const float* x = floats(context.inputs[0]);
    const auto* old_sums = static_cast<const char*>(context.inputs[1].data);
    const auto* old_count = static_cast<const std::int32_t*>(context.inputs[2].data);
    const std::uint8_t* mask = has_mask_ ? bytes(context.inputs[3]) : nullptr;
    float* y = mutable_floats(context.outputs[0]);
    auto* new_sums = static_cast<char*>(context.outputs[1].data);
    auto* new_count = static_cast<std::int32_t*>(context.outputs[2].data);
    constexpr Index kBytes = sizeof(double);
    const Range range = share_of(split.outer, context.team);
    for (Index row = range.begin; row < range.end; ++row) {
      const std::uint8_t* weights = mask == nullptr ? nullptr : mask + row * split.size;
      std::int32_t count = old_count[row];
      for (Index t = 0; t < split.size; ++t) count += weights == nullptr || weights[t] != 0 ? 1 : 0;
      new_count[row] = count;
      for (Index first = 0; first < split.inner; first += kColumns) {
        const Index columns = std::min(kColumns, split.inner - first);
        const Index at = row * split.inner + first;
        double sums[kColumns];
        std::memcpy(sums, old_sums + at * kBytes, static_cast<std::size_t>(columns * kBytes));
        for (Index t = 0; t < split.size; ++t) {
          const float* step = x + (row * split.size + t) * split.inner + first;
          if (weights == nullptr) {
            for (Index i = 0; i < columns; ++i) sums[i] += static_cast<double>(step[i]);
          } else {
            const double weight = weights[t];
            for (Index i = 0; i < columns; ++i) sums[i] += static_cast<double>(step[i]) * weight;
          }
        }
        std::memcpy(new_sums + at * kBytes, sums, static_cast<std::size_t>(columns * kBytes));
        for (Index i = 0; i < columns; ++i) {
          y[at + i] = static_cast<float>(sums[i] / static_cast<double>(count));
        }
      }
    }
  }

 private:
  bool has_mask_;
  bool keepdims_;
};

}  // namespace

OpPointer make_running_mean(bool has_mask, bool keepdims) {
  return std::make_unique<RunningMean>(has_mask, keepdims);
}

}  // namespace unrolled
