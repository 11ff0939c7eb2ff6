// SPDX-License-Identifier: MIT
// Operations that move elements without looking at them: transpose, slice, pad, repeat, concatenate.
#include <cstring>

#include "ops/registry.h"
#include "ops/walk.h"

namespace unrolled {
namespace {

char* memory(const TensorView& view) { return static_cast<char*>(view.data); }

void copy(char* to, const char* from, Index bytes) {
  if (bytes > 0) std::memcpy(to, from, static_cast<std::size_t>(bytes));
}

template <typename T>
void transpose(const Walk<1>& walk, const OpContext& context) {
  const auto* x = static_cast<const T*>(context.inputs[0].data);
  auto* y = static_cast<T*>(context.outputs[0].data);
  const Index step = walk.inner_stride(0);
  walk.rows(share_of(walk.count(), context.team, kGrain),
            [&](Index to, const Index(&offset)[1], Index count) {
              for (Index i = 0; i < count; ++i) y[to + i] = x[offset[0] + i * step];
            });
}

class Transpose final : public Op {
 public:
  explicit Transpose(const Arguments& given) : permutation_(given.get<std::vector<Index>>("permutation")) {
    std::vector<bool> seen(permutation_.size());
    for (const Index axis : permutation_) {
      if (axis < 0 || axis >= static_cast<Index>(seen.size()) || seen[static_cast<std::size_t>(axis)]) {
        fail({"transpose: expected every axis once"});
      }
      seen[static_cast<std::size_t>(axis)] = true;
    }
  }

  PreparedPointer prepare(Types inputs, int) const override {
    const TensorType& x = inputs[0];
    if (x.shape.rank != static_cast<int>(permutation_.size())) {
      fail({"transpose: expected ", std::to_string(permutation_.size()), " axes, got ", to_string(x)});
    }
    TensorType y = x;
    Index strides[kMaxRank];
    Index stride = 1;
    for (int axis = x.shape.rank - 1; axis >= 0; --axis) {
      strides[axis] = stride;
      stride *= x.shape.dims[axis];
    }
    Walk<1> walk;
    for (std::size_t i = permutation_.size(); i-- > 0;) {
      y.shape.dims[i] = x.shape.dims[permutation_[i]];
      walk.push(y.shape.dims[i], {strides[permutation_[i]]});
    }
    const auto run = size_of(x.dtype) == 1 ? &transpose<std::uint8_t> : &transpose<std::uint32_t>;
    return prepared(independent_if(permutation_.empty() || permutation_[0] == 0), {y}, {},
                    [=](const OpContext& context) noexcept { run(walk, context); });
  }

 private:
  std::vector<Index> permutation_;
};

// The axis whose size the operations below change, and the input around it, `inner` in bytes.
struct Along {
  int axis;
  AxisSplit from;
  TensorType y;

  Along(const char* op, Index given, Types inputs)
      : axis(normalize_axis(given, inputs[0].shape.rank, op)), from(inputs[0].shape, axis), y(inputs[0]) {
    from.inner = multiply(from.inner, size_of(y.dtype));
  }
  void set_size(Index size) { y.shape.dims[axis] = size; }
  Rows rows() const { return independent_if(axis != 0); }
};

class Slice final : public Op {
 public:
  explicit Slice(const Arguments& given)
      : axis_(given.get<Index>("axis")),
        start_(given.find<Index>("start") ? std::optional(given.get<Index>("start")) : std::nullopt),
        stop_(given.find<Index>("stop") ? std::optional(given.get<Index>("stop")) : std::nullopt),
        // Longer steps than any tensor are all alike.
        step_(std::clamp(given.get<Index>("step"), -kMaxElements, kMaxElements)) {
    if (step_ == 0) fail({"slice: expected a step other than 0"});
  }

  PreparedPointer prepare(Types inputs, int) const override {
    Along along("slice", axis_, inputs);
    Index first = 0;
    const Index size = resolve(along.from.size, first);
    along.set_size(size);
    const Index step = step_;
    return prepared(along.rows(), {along.y}, {}, [=, from = along.from](const OpContext& context) noexcept {
      const Range range = share_of(from.outer, context.team);
      for (Index outer = range.begin; outer < range.end; ++outer) {
        const char* row = memory(context.inputs[0]) + (outer * from.size + first) * from.inner;
        char* to = memory(context.outputs[0]) + outer * size * from.inner;
        if (step == 1) {
          copy(to, row, size * from.inner);
          continue;
        }
        for (Index i = 0; i < size; ++i) copy(to + i * from.inner, row + i * step * from.inner, from.inner);
      }
    });
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

  Index axis_;
  std::optional<Index> start_;
  std::optional<Index> stop_;
  Index step_;
};

class Pad final : public Op {
 public:
  explicit Pad(const Arguments& given)
      : axis_(given.get<Index>("axis")),
        before_(given.get<Index>("before")),
        after_(given.get<Index>("after")) {
    if (before_ < 0 || after_ < 0) fail({"pad: expected sizes of at least 0"});
  }

  PreparedPointer prepare(Types inputs, int) const override {
    Along along("pad", axis_, inputs);
    along.set_size(add(add(along.from.size, before_), after_));
    const Index size = multiply(along.from.size, along.from.inner);
    const Index before = multiply(before_, along.from.inner);
    const Index after = multiply(after_, along.from.inner);
    return prepared(along.rows(), {along.y}, {},
                    [=, rows = along.from.outer](const OpContext& context) noexcept {
                      const Range range = share_of(rows, context.team);
                      for (Index row = range.begin; row < range.end; ++row) {
                        char* to = memory(context.outputs[0]) + row * (before + size + after);
                        std::memset(to, 0, static_cast<std::size_t>(before));
                        copy(to + before, memory(context.inputs[0]) + row * size, size);
                        std::memset(to + before + size, 0, static_cast<std::size_t>(after));
                      }
                    });
  }

 private:
  Index axis_;
  Index before_;
  Index after_;
};

class Repeat final : public Op {
 public:
  explicit Repeat(const Arguments& given)
      : axis_(given.get<Index>("axis")), count_(given.get<Index>("count")) {
    if (count_ < 1) fail({"repeat: expected a count of at least 1, got ", std::to_string(count_)});
  }

  PreparedPointer prepare(Types inputs, int) const override {
    Along along("repeat", axis_, inputs);
    along.set_size(multiply(along.from.size, count_));
    const Index rows = multiply(along.from.outer, along.from.size);
    const Index count = count_;
    // Along the batch every row becomes `count` rows, in order.
    return prepared(Rows::kIndependent, {along.y}, {},
                    [=, size = along.from.inner](const OpContext& context) noexcept {
                      const Range range = share_of(rows, context.team);
                      for (Index i = range.begin; i < range.end; ++i) {
                        for (Index k = 0; k < count; ++k) {
                          copy(memory(context.outputs[0]) + (i * count + k) * size,
                               memory(context.inputs[0]) + i * size, size);
                        }
                      }
                    });
  }

 private:
  Index axis_;
  Index count_;
};

class Concatenate final : public Op {
 public:
  explicit Concatenate(const Arguments& given) : axis_(given.get<Index>("axis")) {
    if (given.get<std::vector<Index>>("xs").empty()) fail({"concatenate: expected at least one value"});
  }

  PreparedPointer prepare(Types inputs, int) const override {
    Along along("concatenate", axis_, inputs);
    const int axis = along.axis;
    std::vector<Index> sizes;  // of one row of every input, in bytes
    Index all = 0;
    for (const TensorType& input : inputs) {
      bool fits = input.dtype == inputs[0].dtype && input.shape.rank == inputs[0].shape.rank;
      for (int i = 0; fits && i < input.shape.rank; ++i) {
        fits = i == axis || input.shape.dims[i] == inputs[0].shape.dims[i];
      }
      if (!fits) {
        fail({"concatenate: expected values alike but for axis ", std::to_string(axis), ", got ",
              to_string(inputs[0]), " and ", to_string(input)});
      }
      sizes.push_back(multiply(input.shape.dims[axis], along.from.inner));
      all = add(all, input.shape.dims[axis]);
    }
    along.set_size(all);
    const Index row = multiply(all, along.from.inner);
    return prepared(along.rows(), {along.y}, {},
                    [=, rows = along.from.outer](const OpContext& context) noexcept {
                      const Range range = share_of(rows, context.team);
                      Index offset = 0;
                      for (std::size_t i = 0; i < sizes.size(); ++i) {
                        for (Index outer = range.begin; outer < range.end; ++outer) {
                          copy(memory(context.outputs[0]) + outer * row + offset,
                               memory(context.inputs[i]) + outer * sizes[i], sizes[i]);
                        }
                        offset += sizes[i];
                      }
                    });
  }

 private:
  Index axis_;
};

}  // namespace

OpRecord records::transpose() {
  return record<Transpose>("transpose", {{"x", kOperand}, {"permutation", kInts}},
                           "The axes in another order; the permutation has all of them, the batch too.");
}

OpRecord records::slice() {
  return record<Slice>("slice",
                       {{"x", kOperand},
                        {"*"},
                        {"axis", kInt},
                        {"start", kInt, kOrNone},
                        {"stop", kInt, kOrNone},
                        {"step", kInt, Index{1}}},
                       "x[start:stop:step] along one axis, by Python's rules.");
}

OpRecord records::pad() {
  return record<Pad>("pad", {{"x", kOperand}, {"*"}, {"axis", kInt}, {"before", kInt}, {"after", kInt}},
                     "Zeros before and after along one axis.");
}

OpRecord records::repeat() {
  return record<Repeat>("repeat", {{"x", kOperand}, {"*"}, {"axis", kInt}, {"count", kInt}},
                        "Each element along one axis `count` times.");
}

OpRecord records::concatenate() {
  return record<Concatenate>("concatenate", {{"xs", kOperands}, {"*"}, {"axis", kInt}},
                             "Values behind one another along one axis.");
}

}  // namespace unrolled
