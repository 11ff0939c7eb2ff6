// SPDX-License-Identifier: MIT
// The mean over timesteps of a sequence that comes in pieces: sums and counts are carried from call to call.
// Accumulated as reduce "mean" and masked_mean do it, so that the bits are those of the whole sequence at
// once.
#include <array>
#include <cstring>

#include "ops/registry.h"
#include "ops/walk.h"

namespace unrolled {
namespace {

constexpr Index kColumns = 128;

// Sums and count (of the unmasked timesteps) are doubles in the memory of two int32 each: a count in int32
// would turn negative after 2^31 - 1 timesteps.
class RunningMean final : public Op {
 public:
  explicit RunningMean(const Arguments& given)
      : has_mask_(given.find<Index>("mask") != nullptr), keepdims_(given.get<bool>("keepdims")) {}

  int output_count() const override { return 3; }

  PreparedPointer prepare(Types inputs, int) const override {
    const TensorType& type = inputs[0];
    check_dtype("running_mean", type, DType::kFloat32);
    check_rank_at_least("running_mean", type, 3);
    const Index batch = type.shape.dims[0];
    const Index width = multiply(2, product(type.shape, 2, type.shape.rank));
    const TensorType sums_type{DType::kInt32, make_shape(std::array{batch, width})};
    const TensorType count_type{DType::kInt32, make_shape(std::array{batch, Index{2}})};
    check_type("running_mean", "sums", inputs[1], sums_type);
    check_type("running_mean", "a count", inputs[2], count_type);
    if (has_mask_) {
      check_type("running_mean", "a mask", inputs[3], {DType::kBool, make_shape({type.shape.dims, 2})});
    }
    const AxisSplit split(type.shape, 1);
    return prepared(
        Rows::kIndependent, {without_time(type, keepdims_), sums_type, count_type}, {},
        [=, this](const OpContext& context) noexcept {
          const float* x = floats(context.inputs[0]);
          const auto* old_sums = static_cast<const char*>(context.inputs[1].data);
          const auto* old_count = static_cast<const char*>(context.inputs[2].data);
          const std::uint8_t* mask = has_mask_ ? bytes(context.inputs[3]) : nullptr;
          float* y = mutable_floats(context.outputs[0]);
          auto* new_sums = static_cast<char*>(context.outputs[1].data);
          auto* new_count = static_cast<char*>(context.outputs[2].data);
          constexpr Index kBytes = sizeof(double);
          const Range range = share_of(split.outer, context.team);
          for (Index row = range.begin; row < range.end; ++row) {
            const std::uint8_t* weights = mask == nullptr ? nullptr : mask + row * split.size;
            double count = 0.0;
            std::memcpy(&count, old_count + row * kBytes, sizeof(count));
            for (Index t = 0; t < split.size; ++t) count += weights == nullptr || weights[t] != 0 ? 1.0 : 0.0;
            std::memcpy(new_count + row * kBytes, &count, sizeof(count));
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
                y[at + i] = static_cast<float>(sums[i] / count);
              }
            }
          }
        });
  }

 private:
  bool has_mask_;
  bool keepdims_;
};

}  // namespace

OpRecord records::running_mean() {
  return record<RunningMean>(
      "running_mean",
      {{"x", kOperand},
       {"sums", kOperand},
       {"count", kOperand},
       {"*"},
       {"mask", kOperand, kNoneByDefault},
       {"keepdims", kBool, false}},
      "Over axis 1 of a sequence [batch, time, ...] in pieces: the mean so far, sums and count, doubles as "
      "two int32 each.",
      kOwn, true);
}

}  // namespace unrolled
