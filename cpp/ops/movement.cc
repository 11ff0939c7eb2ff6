// SPDX-License-Identifier: MIT
// Operations that move elements without looking at them: transpose, slice, pad, repeat, concatenate.
#include <cstring>

#include "ops/factories.h"
#include "ops/walk.h"

namespace unrolled {
namespace {

char* memory(const TensorView& view) { return static_cast<char*>(view.data); }

void copy(char* to, const char* from, Index bytes) {
  if (bytes > 0) std::memcpy(to, from, static_cast<std::size_t>(bytes));
}

class Transpose final : public Op {
 public:
  explicit Transpose(std::vector<int> permutation) : permutation_(std::move(permutation)) {
    std::vector<bool> seen(permutation_.size());
    for (const int axis : permutation_) {
      if (axis < 0 || axis >= static_cast<int>(seen.size()) || seen[static_cast<std::size_t>(axis)]) {
        fail({"transpose: expected every axis once"});
      }
      seen[static_cast<std::size_t>(axis)] = true;
    }
  }

  const char* name() const override { return "transpose"; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    const TensorType& x = inputs[0];
    if (x.shape.rank != static_cast<int>(permutation_.size())) {
      fail({"transpose: expected ", std::to_string(permutation_.size()), " axes, got ", to_string(x)});
    }
    TensorType y = x;
    for (std::size_t i = 0; i < permutation_.size(); ++i) y.shape.dims[i] = x.shape.dims[permutation_[i]];
    outputs[0] = y;
  }

  bool is_row_independent(std::span<const TensorType>) const override {
    return permutation_.empty() || permutation_[0] == 0;
  }

  void run(const OpContext& context) const override {
    if (size_of(context.inputs[0].type.dtype) == 1) {
      move<std::uint8_t>(context);
    } else {
      move<std::uint32_t>(context);
    }
  }

 private:
  template <typename T>
  void move(const OpContext& context) const {
    const Shape& from = context.inputs[0].type.shape;
    Index strides[kMaxRank];
    Index stride = 1;
    for (int axis = from.rank - 1; axis >= 0; --axis) {
      strides[axis] = stride;
      stride *= from.dims[axis];
    }
    Walk<1> walk;
    for (std::size_t i = permutation_.size(); i-- > 0;) {
      walk.push(from.dims[permutation_[i]], {strides[permutation_[i]]});
    }
    const auto* x = static_cast<const T*>(context.inputs[0].data);
    auto* y = static_cast<T*>(context.outputs[0].data);
    const Index step = walk.inner_stride(0);
    walk.rows(share_of(walk.count(), context.team, 1024),
              [&](Index to, const Index(&offset)[1], Index count) {
                for (Index i = 0; i < count; ++i) y[to + i] = x[offset[0] + i * step];
              });
  }

  std::vector<int> permutation_;
};

// The operations below change the size of one axis.
class AxisOp : public Op {
 public:
  explicit AxisOp(int axis) : axis_(axis) {}

  bool is_row_independent(std::span<const TensorType> inputs) const override { return axis_of(inputs) != 0; }

 protected:
  int axis_of(std::span<const TensorType> inputs) const {
    return normalize_axis(axis_, inputs[0].shape.rank, name());
  }
  AxisSplit split(const TensorView& view) const {
    const Shape& shape = view.type.shape;
    AxisSplit result(shape, axis_ < 0 ? axis_ + shape.rank : axis_);
    result.inner *= size_of(view.type.dtype);  // in bytes
    return result;
  }
  void set_size(std::span<const TensorType> inputs, Index size, TensorType& output) const {
    const int axis = axis_of(inputs);
    output = inputs[0];
    output.shape.dims[axis] = size;
  }

 private:
  int axis_;
};

class Slice final : public AxisOp {
 public:
  Slice(int axis, std::optional<Index> start, std::optional<Index> stop, Index step)
      : AxisOp(axis), start_(start), stop_(stop), step_(step) {
    if (step == 0) fail({"slice: expected a step other than 0"});
  }

  const char* name() const override { return "slice"; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    Index first = 0;
    set_size(inputs, resolve(inputs[0].shape.dims[axis_of(inputs)], first), outputs[0]);
  }

  void run(const OpContext& context) const override {
    const AxisSplit from = split(context.inputs[0]);
    Index first = 0;
    const Index size = resolve(from.size, first);
    const char* x = memory(context.inputs[0]);
    char* y = memory(context.outputs[0]);
    const Range range = share_of(from.outer, context.team);
    for (Index outer = range.begin; outer < range.end; ++outer) {
      const char* row = x + outer * from.size * from.inner;
      char* to = y + outer * size * from.inner;
      if (step_ == 1) {
        copy(to, row + first * from.inner, size * from.inner);
        continue;
      }
      for (Index i = 0; i < size; ++i)
        copy(to + i * from.inner, row + (first + i * step_) * from.inner, from.inner);
    }
  }

 private:
  // Python's rules (PySlice_AdjustIndices): the number of elements, and the first.
  Index resolve(Index size, Index& first) const {
    const Index low = step_ < 0 ? -1 : 0;
    const Index high = step_ < 0 ? size - 1 : size;
    const auto bound = [&](Index at) { return std::clamp(at < 0 ? at + size : at, low, high); };
    first = start_ ? bound(*start_) : (step_ < 0 ? high : low);
    const Index last = stop_ ? bound(*stop_) : (step_ < 0 ? low : high);
    if (step_ > 0) return last > first ? (last - first - 1) / step_ + 1 : 0;
    return first > last ? (first - last - 1) / -step_ + 1 : 0;
  }

  std::optional<Index> start_;
  std::optional<Index> stop_;
  Index step_;
};

class Pad final : public AxisOp {
 public:
  Pad(int axis, Index before, Index after) : AxisOp(axis), before_(before), after_(after) {
    if (before < 0 || after < 0) fail({"pad: expected sizes of at least 0"});
  }

  const char* name() const override { return "pad"; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    set_size(inputs, add(add(inputs[0].shape.dims[axis_of(inputs)], before_), after_), outputs[0]);
  }

  void run(const OpContext& context) const override {
    const AxisSplit from = split(context.inputs[0]);
    const Index size = from.size * from.inner;
    const Index before = before_ * from.inner;
    const Index after = after_ * from.inner;
    const Range range = share_of(from.outer, context.team);
    for (Index outer = range.begin; outer < range.end; ++outer) {
      char* to = memory(context.outputs[0]) + outer * (before + size + after);
      std::memset(to, 0, static_cast<std::size_t>(before));
      copy(to + before, memory(context.inputs[0]) + outer * size, size);
      std::memset(to + before + size, 0, static_cast<std::size_t>(after));
    }
  }

 private:
  Index before_;
  Index after_;
};

class Repeat final : public AxisOp {
 public:
  Repeat(int axis, Index count) : AxisOp(axis), count_(count) {
    if (count < 1) fail({"repeat: expected a count of at least 1, got ", std::to_string(count)});
  }

  const char* name() const override { return "repeat"; }
  // Along the batch every row becomes `count` rows, in order.
  bool is_row_independent(std::span<const TensorType>) const override { return true; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    set_size(inputs, multiply(inputs[0].shape.dims[axis_of(inputs)], count_), outputs[0]);
  }

  void run(const OpContext& context) const override {
    const AxisSplit from = split(context.inputs[0]);
    const Range range = share_of(from.outer * from.size, context.team);
    for (Index i = range.begin; i < range.end; ++i) {
      for (Index k = 0; k < count_; ++k) {
        copy(memory(context.outputs[0]) + (i * count_ + k) * from.inner,
             memory(context.inputs[0]) + i * from.inner, from.inner);
      }
    }
  }

 private:
  Index count_;
};

class Concatenate final : public AxisOp {
 public:
  explicit Concatenate(int axis) : AxisOp(axis) {}

  const char* name() const override { return "concatenate"; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    const int axis = axis_of(inputs);
    Index size = 0;
    for (const TensorType& input : inputs) {
      bool fits = input.dtype == inputs[0].dtype && input.shape.rank == inputs[0].shape.rank;
      for (int i = 0; fits && i < input.shape.rank; ++i) {
        fits = i == axis || input.shape.dims[i] == inputs[0].shape.dims[i];
      }
      if (!fits) {
        fail({"concatenate: expected values alike but for axis ", std::to_string(axis), ", got ",
              to_string(inputs[0]), " and ", to_string(input)});
      }
      size = add(size, input.shape.dims[axis]);
    }
    set_size(inputs, size, outputs[0]);
  }

  void run(const OpContext& context) const override {
    const AxisSplit all = split(context.outputs[0]);
    const Range range = share_of(all.outer, context.team);
    Index offset = 0;
    for (const TensorView& input : context.inputs) {
      const AxisSplit from = split(input);
      const Index bytes = from.size * from.inner;
      for (Index outer = range.begin; outer < range.end; ++outer) {
        copy(memory(context.outputs[0]) + outer * all.size * all.inner + offset,
             memory(input) + outer * bytes, bytes);
      }
      offset += bytes;
    }
  }
};

}  // namespace

OpPointer make_transpose(std::vector<int> permutation) {
  return std::make_unique<Transpose>(std::move(permutation));
}
OpPointer make_slice(int axis, std::optional<Index> start, std::optional<Index> stop, Index step) {
  return std::make_unique<Slice>(axis, start, stop, step);
}
OpPointer make_pad(int axis, Index before, Index after) { return std::make_unique<Pad>(axis, before, after); }
OpPointer make_repeat(int axis, Index count) { return std::make_unique<Repeat>(axis, count); }
OpPointer make_concatenate(int axis) { return std::make_unique<Concatenate>(axis); }

}  // namespace unrolled
