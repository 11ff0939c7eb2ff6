// SPDX-License-Identifier: MIT
// softmax, log_softmax and sparsemax over one axis.
#include "base/aligned_buffer.h"
#include "ops/factories.h"
#include "ops/walk.h"

namespace unrolled {
namespace {

// Rows gathered at once when the axis is not the last.
constexpr Index kRows = 16;

class RowOp : public Op {
 public:
  explicit RowOp(int axis) : axis_(axis) {}

  bool is_in_place() const override { return true; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    check_dtype(name(), inputs[0], DType::kFloat32);
    (void)normalize_axis(axis_, inputs[0].shape.rank, name());
    outputs[0] = inputs[0];
  }

  bool is_row_independent(std::span<const TensorType> inputs) const override {
    return normalize_axis(axis_, inputs[0].shape.rank, name()) != 0;
  }

  Cost cost(std::span<const TensorType> inputs) const override {
    return {32.0 * static_cast<double>(element_count(inputs[0].shape))};
  }

  Index scratch_bytes(std::span<const TensorType> inputs, int team_size) const override {
    return slot(inputs[0].shape) * team_size;
  }

  void run(const OpContext& context) const override {
    const Shape& shape = context.inputs[0].type.shape;
    const AxisSplit split = split_of(shape);
    const float* x = floats(context.inputs[0]);
    float* y = mutable_floats(context.outputs[0]);
    auto* own =
        reinterpret_cast<float*>(static_cast<char*>(context.scratch) + context.team.index * slot(shape));
    float* work = own + kRows * split.size;
    if (split.inner == 1) {
      const Range range = share_of(split.outer, context.team);
      if (range.begin == range.end) return;
      run_rows(x + range.begin * split.size, y + range.begin * split.size, range.end - range.begin,
               split.size, work);
      return;
    }
    const Index blocks = (split.inner + kRows - 1) / kRows;
    const Range range = share_of(split.outer * blocks, context.team);
    for (Index block = range.begin; block < range.end; ++block) {
      const Index first = block % blocks * kRows;
      const Index rows = std::min(kRows, split.inner - first);
      const Index origin = block / blocks * split.size * split.inner + first;
      for (Index i = 0; i < split.size; ++i) {
        for (Index row = 0; row < rows; ++row) own[row * split.size + i] = x[origin + i * split.inner + row];
      }
      run_rows(own, own, rows, split.size, work);
      for (Index i = 0; i < split.size; ++i) {
        for (Index row = 0; row < rows; ++row) y[origin + i * split.inner + row] = own[row * split.size + i];
      }
    }
  }

 protected:
  // `work` holds `size` floats; x and y may be the same.
  virtual void run_rows(const float* x, float* y, Index rows, Index size, float* work) const = 0;

 private:
  AxisSplit split_of(const Shape& shape) const {
    return AxisSplit(shape, axis_ < 0 ? axis_ + shape.rank : axis_);
  }
  Index slot(const Shape& shape) const {
    return align_up(multiply(split_of(shape).size, (kRows + 1) * size_of(DType::kFloat32)));
  }

  int axis_;
};

class Softmax final : public RowOp {
 public:
  Softmax(const kernels::KernelTable& table, int axis, bool logarithm)
      : RowOp(axis), table_(table), logarithm_(logarithm) {}

  const char* name() const override { return logarithm_ ? "log_softmax" : "softmax"; }

 protected:
  void run_rows(const float* x, float* y, Index rows, Index size, float*) const override {
    table_.softmax(x, y, rows, size, logarithm_);
  }

 private:
  const kernels::KernelTable& table_;
  bool logarithm_;
};

// As Keras 3.15 keras/src/backend/tensorflow/nn.py computes it, which is not the published projection: its
// threshold takes the sum of all cumulative sums of the support where the paper takes the last one.
class Sparsemax final : public RowOp {
 public:
  explicit Sparsemax(int axis) : RowOp(axis) {}

  const char* name() const override { return "sparsemax"; }

 protected:
  void run_rows(const float* x, float* y, Index rows, Index size, float* work) const override {
    for (Index row = 0; row < rows; ++row, x += size, y += size) {
      std::copy_n(x, size, work);
      // NaN comes last, so that the order stays one that std::sort can rely on.
      std::sort(work, work + size, [](float a, float b) { return a > b || (a == a && b != b); });
      float cumulative = 0.0f;
      float sum = 0.0f;
      float support = 0.0f;
      for (Index i = 0; i < size; ++i) {
        cumulative += work[i];
        if (work[i] - (cumulative - 1.0f) / static_cast<float>(i + 1) > 0.0f) {
          sum += cumulative;
          support += 1.0f;
        }
      }
      const float threshold = (sum - 1.0f) / support;
      for (Index i = 0; i < size; ++i) y[i] = std::max(x[i] - threshold, 0.0f);
    }
  }
};

}  // namespace

OpPointer make_softmax(const kernels::KernelTable& table, int axis, bool logarithm) {
  return std::make_unique<Softmax>(table, axis, logarithm);
}
OpPointer make_sparsemax(int axis) { return std::make_unique<Sparsemax>(axis); }

}  // namespace unrolled
