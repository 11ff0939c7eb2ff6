// SPDX-License-Identifier: MIT
// softmax, log_softmax and sparsemax over one axis.
#include "base/aligned_buffer.h"
#include "ops/registry.h"
#include "ops/walk.h"

namespace unrolled {
namespace {

// Rows gathered at once when the axis is not the last.
constexpr Index kRows = 16;

class RowOp : public Op {
 public:
  RowOp(const char* name, const Arguments& given) : name_(name), axis_(given.get<Index>("axis")) {}

  PreparedPointer prepare(Types inputs, int team_size) const override {
    const TensorType& type = inputs[0];
    check_dtype(name_, type, DType::kFloat32);
    const int axis = normalize_axis(axis_, type.shape.rank, name_);
    const AxisSplit split(type.shape, axis);
    const Index slot = align_up(multiply(split.size, (kRows + 1) * size_of(DType::kFloat32)));
    const Cost cost{32.0 * static_cast<double>(element_count(type.shape))};
    return prepared(independent_if(axis != 0), {type}, {cost, multiply(slot, team_size)},
                    [=, this](const OpContext& context) noexcept { run(split, slot, context); });
  }

 protected:
  // `work` holds `size` floats; x and y may be the same.
  virtual void run_rows(const float* x, float* y, Index rows, Index size, float* work) const = 0;

 private:
  void run(const AxisSplit& split, Index slot, const OpContext& context) const {
    const float* x = floats(context.inputs[0]);
    float* y = mutable_floats(context.outputs[0]);
    auto* own = reinterpret_cast<float*>(own_scratch(context, slot));
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

  const char* name_;
  Index axis_;
};

class Softmax final : public RowOp {
 public:
  Softmax(const Arguments& given, const Surroundings& surroundings)
      : RowOp(given.get<bool>("logarithm") ? "log_softmax" : "softmax", given),
        table_(surroundings.table),
        logarithm_(given.get<bool>("logarithm")) {}

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
  explicit Sparsemax(const Arguments& given) : RowOp("sparsemax", given) {}

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

OpRecord records::softmax() {
  return record<Softmax>("softmax", {{"x", kOperand}, {"*"}, {"axis", kInt}, {"logarithm", kBool, false}},
                         "Over one axis; logarithm: log_softmax.", kInPlace);
}

OpRecord records::sparsemax() {
  return record<Sparsemax>("sparsemax", {{"x", kOperand}, {"*"}, {"axis", kInt}}, "Over one axis.", kInPlace);
}

}  // namespace unrolled
