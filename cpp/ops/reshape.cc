// SPDX-License-Identifier: MIT
// The operations that only give memory another shape: reshape, merge_time, split_time, expand_dims, squeeze.
#include "ops/registry.h"

namespace unrolled {
namespace {

PreparedPointer view(Rows rows, const TensorType& y) {
  return prepared(rows, {y}, {}, [](const OpContext&) noexcept {});
}

class Reshape final : public Op {
 public:
  explicit Reshape(const Arguments& given) : target_(given.get<std::vector<Index>>("target")) {
    int unknown = 0;
    for (const Index dim : target_) {
      if (dim < -1) fail({"reshape: expected sizes of at least 0 or -1, got ", std::to_string(dim)});
      unknown += dim == -1 ? 1 : 0;
    }
    if (unknown > 1) fail({"reshape: expected at most one -1 in the target, got ", std::to_string(unknown)});
    if (target_.size() + 1 > static_cast<std::size_t>(kMaxRank)) fail({"reshape: too many axes"});
  }

  PreparedPointer prepare(Types inputs, int) const override {
    const TensorType& x = inputs[0];
    check_rank_at_least("reshape", x, 1);
    const Index row = product(x.shape, 1, x.shape.rank);
    TensorType y{x.dtype, {}};
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
    return view(Rows::kIndependent, y);
  }

 private:
  std::vector<Index> target_;
};

class MergeTime final : public Op {
 public:
  PreparedPointer prepare(Types inputs, int) const override {
    const TensorType& x = inputs[0];
    check_rank_at_least("merge_time", x, 2);
    TensorType y{x.dtype, {}};
    y.shape.rank = x.shape.rank - 1;
    y.shape.dims[0] = multiply(x.shape.dims[0], x.shape.dims[1]);
    std::copy(x.shape.dims + 2, x.shape.dims + x.shape.rank, y.shape.dims + 1);
    return view(Rows::kIndependent, y);
  }
};

class SplitTime final : public Op {
 public:
  PreparedPointer prepare(Types inputs, int) const override {
    const TensorType& x = inputs[0];
    const TensorType& like = inputs[1];
    check_rank_at_least("split_time", x, 1);
    check_rank_at_least("split_time", like, 2);
    if (x.shape.rank == kMaxRank) fail({"split_time: too many axes: ", to_string(x.shape)});
    if (x.shape.dims[0] != multiply(like.shape.dims[0], like.shape.dims[1])) {
      fail({"split_time: axis 0 of ", to_string(x.shape), " is not batch * time of ", to_string(like.shape)});
    }
    TensorType y{x.dtype, {}};
    y.shape.rank = x.shape.rank + 1;
    y.shape.dims[0] = like.shape.dims[0];
    y.shape.dims[1] = like.shape.dims[1];
    std::copy(x.shape.dims + 1, x.shape.dims + x.shape.rank, y.shape.dims + 2);
    return view(Rows::kIndependent, y);
  }
};

class ExpandDims final : public Op {
 public:
  explicit ExpandDims(const Arguments& given) : axis_(given.get<Index>("axis")) {}

  PreparedPointer prepare(Types inputs, int) const override {
    const TensorType& x = inputs[0];
    if (x.shape.rank == kMaxRank) fail({"expand_dims: too many axes: ", to_string(x.shape)});
    const int axis = normalize_axis(axis_, x.shape.rank + 1, "expand_dims");
    TensorType y = x;
    std::copy(x.shape.dims + axis, x.shape.dims + x.shape.rank, y.shape.dims + axis + 1);
    y.shape.dims[axis] = 1;
    ++y.shape.rank;
    return view(independent_if(axis != 0), y);
  }

 private:
  Index axis_;
};

class Squeeze final : public Op {
 public:
  explicit Squeeze(const Arguments& given) : axis_(given.get<Index>("axis")) {}

  PreparedPointer prepare(Types inputs, int) const override {
    const TensorType& x = inputs[0];
    const int axis = normalize_axis(axis_, x.shape.rank, "squeeze");
    if (x.shape.dims[axis] != 1) {
      fail({"squeeze: expected axis ", std::to_string(axis), " of size 1, got ", to_string(x.shape)});
    }
    TensorType y = x;
    std::copy(x.shape.dims + axis + 1, x.shape.dims + x.shape.rank, y.shape.dims + axis);
    --y.shape.rank;
    return view(independent_if(axis != 0), y);
  }

 private:
  Index axis_;
};

}  // namespace

OpRecord records::reshape() {
  return record<Reshape>("reshape", {{"x", kOperand}, {"target", kInts}},
                         "Each row in another shape; the target is without the batch and may have one -1.",
                         kView);
}

OpRecord records::merge_time() {
  return record<MergeTime>("merge_time", {{"x", kOperand}}, "[batch, time, ...] to [batch * time, ...].",
                           kView);
}

OpRecord records::split_time() {
  return record<SplitTime>("split_time", {{"x", kOperand}, {"like", kOperand}},
                           "[batch * time, ...] to [batch, time, ...], with the time of `like`.", kView);
}

OpRecord records::expand_dims() {
  return record<ExpandDims>("expand_dims", {{"x", kOperand}, {"axis", kInt}}, "A new axis of size 1.", kView);
}

OpRecord records::squeeze() {
  return record<Squeeze>("squeeze", {{"x", kOperand}, {"axis", kInt}}, "Without an axis of size 1.", kView);
}

}  // namespace unrolled
