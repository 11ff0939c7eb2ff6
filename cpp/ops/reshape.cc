// SPDX-License-Identifier: MIT
// The operations that only give memory another shape: reshape, merge_time, split_time, expand_dims, squeeze.
#include "ops/factories.h"

namespace unrolled {
namespace {

class View : public Op {
 public:
  bool is_view() const override { return true; }
  void run(const OpContext&) const override {}
};

class Reshape final : public View {
 public:
  explicit Reshape(std::vector<Index> target) : target_(std::move(target)) {
    int unknown = 0;
    for (const Index dim : target_) {
      if (dim < -1) fail({"reshape: expected sizes of at least 0 or -1, got ", std::to_string(dim)});
      unknown += dim == -1 ? 1 : 0;
    }
    if (unknown > 1) fail({"reshape: expected at most one -1 in the target, got ", std::to_string(unknown)});
    if (target_.size() + 1 > static_cast<std::size_t>(kMaxRank)) fail({"reshape: too many axes"});
  }

  const char* name() const override { return "reshape"; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    const TensorType& x = inputs[0];
    check_rank_at_least(name(), x, 1);
    const Index row = product(x.shape, 1, x.shape.rank);
    TensorType& y = outputs[0];
    y.dtype = x.dtype;
    y.shape.rank = static_cast<int>(target_.size()) + 1;
    y.shape.dims[0] = x.shape.dims[0];
    Index known = 1;
    Index* unknown = nullptr;
    for (std::size_t i = 0; i < target_.size(); ++i) {
      y.shape.dims[i + 1] = target_[i];
      if (target_[i] == -1) {
        unknown = &y.shape.dims[i + 1];
      } else {
        known = multiply(known, target_[i]);
      }
    }
    const bool fits = unknown ? known > 0 && row % known == 0 : row == known;
    if (!fits) {
      fail({"reshape: rows of ", to_string(x.shape), " do not fit the target ", to_string(y.shape)});
    }
    if (unknown) *unknown = row / known;
  }

 private:
  std::vector<Index> target_;
};

class MergeTime final : public View {
 public:
  const char* name() const override { return "merge_time"; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    const TensorType& x = inputs[0];
    check_rank_at_least(name(), x, 2);
    TensorType& y = outputs[0];
    y.dtype = x.dtype;
    y.shape.rank = x.shape.rank - 1;
    y.shape.dims[0] = multiply(x.shape.dims[0], x.shape.dims[1]);
    std::copy(x.shape.dims + 2, x.shape.dims + x.shape.rank, y.shape.dims + 1);
  }
};

class SplitTime final : public View {
 public:
  const char* name() const override { return "split_time"; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    const TensorType& x = inputs[0];
    const TensorType& like = inputs[1];
    check_rank_at_least(name(), x, 1);
    check_rank_at_least(name(), like, 2);
    if (x.shape.rank == kMaxRank) fail({"split_time: too many axes: ", to_string(x.shape)});
    if (x.shape.dims[0] != multiply(like.shape.dims[0], like.shape.dims[1])) {
      fail({"split_time: axis 0 of ", to_string(x.shape), " is not batch * time of ", to_string(like.shape)});
    }
    TensorType& y = outputs[0];
    y.dtype = x.dtype;
    y.shape.rank = x.shape.rank + 1;
    y.shape.dims[0] = like.shape.dims[0];
    y.shape.dims[1] = like.shape.dims[1];
    std::copy(x.shape.dims + 1, x.shape.dims + x.shape.rank, y.shape.dims + 2);
  }
};

class ExpandDims final : public View {
 public:
  explicit ExpandDims(int axis) : axis_(axis) {}

  const char* name() const override { return "expand_dims"; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    const TensorType& x = inputs[0];
    if (x.shape.rank == kMaxRank) fail({"expand_dims: too many axes: ", to_string(x.shape)});
    const int axis = normalize_axis(axis_, x.shape.rank + 1, name());
    TensorType y = x;
    std::copy(x.shape.dims + axis, x.shape.dims + x.shape.rank, y.shape.dims + axis + 1);
    y.shape.dims[axis] = 1;
    ++y.shape.rank;
    outputs[0] = y;
  }

  bool is_row_independent(std::span<const TensorType> inputs) const override {
    return normalize_axis(axis_, inputs[0].shape.rank + 1, name()) != 0;
  }

 private:
  int axis_;
};

class Squeeze final : public View {
 public:
  explicit Squeeze(int axis) : axis_(axis) {}

  const char* name() const override { return "squeeze"; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    const TensorType& x = inputs[0];
    const int axis = normalize_axis(axis_, x.shape.rank, name());
    if (x.shape.dims[axis] != 1) {
      fail({"squeeze: expected axis ", std::to_string(axis), " of size 1, got ", to_string(x.shape)});
    }
    TensorType y = x;
    std::copy(x.shape.dims + axis + 1, x.shape.dims + x.shape.rank, y.shape.dims + axis);
    --y.shape.rank;
    outputs[0] = y;
  }

  bool is_row_independent(std::span<const TensorType> inputs) const override {
    return normalize_axis(axis_, inputs[0].shape.rank, name()) != 0;
  }

 private:
  int axis_;
};

}  // namespace

OpPointer make_reshape(std::vector<Index> target) { return std::make_unique<Reshape>(std::move(target)); }
OpPointer make_merge_time() { return std::make_unique<MergeTime>(); }
OpPointer make_split_time() { return std::make_unique<SplitTime>(); }
OpPointer make_expand_dims(int axis) { return std::make_unique<ExpandDims>(axis); }
OpPointer make_squeeze(int axis) { return std::make_unique<Squeeze>(axis); }

}  // namespace unrolled
