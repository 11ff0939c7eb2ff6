// SPDX-License-Identifier: MIT
// Operations between dtypes: cast, ones_like, and apply_mask (x where mask, else 0).
#include <cmath>
#include <cstring>
#include <limits>

#include "ops/factories.h"

namespace unrolled {
namespace {

constexpr Index kGrain = 1024;

template <typename To, typename From>
To convert(From value) {
  if constexpr (std::is_same_v<To, std::int32_t> && std::is_same_v<From, float>) {
    // Toward zero; what does not fit is undefined in C++ and the smallest integer here, as on x86.
    if (!(value >= -2147483648.0f && value < 2147483648.0f)) return std::numeric_limits<To>::min();
    return static_cast<To>(value);
  } else if constexpr (std::is_same_v<To, std::uint8_t>) {
    return value != 0;
  } else {
    return static_cast<To>(value);
  }
}

template <typename To, typename From>
void convert_all(const void* from, void* to, Range range) {
  for (Index i = range.begin; i < range.end; ++i) {
    static_cast<To*>(to)[i] = convert<To>(static_cast<const From*>(from)[i]);
  }
}

using ConvertAll = void (*)(const void*, void*, Range);
// [from][to], in the order of DType.
constexpr ConvertAll kConversions[3][3] = {
    {&convert_all<float, float>, &convert_all<std::int32_t, float>, &convert_all<std::uint8_t, float>},
    {&convert_all<float, std::int32_t>, &convert_all<std::int32_t, std::int32_t>,
     &convert_all<std::uint8_t, std::int32_t>},
    {&convert_all<float, std::uint8_t>, &convert_all<std::int32_t, std::uint8_t>,
     &convert_all<std::uint8_t, std::uint8_t>},
};

class Cast final : public Op {
 public:
  explicit Cast(DType dtype) : dtype_(dtype) {}

  const char* name() const override { return "cast"; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    outputs[0] = {dtype_, inputs[0].shape};
  }

  void run(const OpContext& context) const override {
    const TensorView& x = context.inputs[0];
    const Range range = share_of(element_count(x.type.shape), context.team, kGrain);
    kConversions[static_cast<std::size_t>(x.type.dtype)][static_cast<std::size_t>(dtype_)](
        x.data, context.outputs[0].data, range);
  }

 private:
  DType dtype_;
};

class OnesLike final : public Op {
 public:
  explicit OnesLike(DType dtype) : dtype_(dtype) {}

  const char* name() const override { return "ones_like"; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    outputs[0] = {dtype_, inputs[0].shape};
  }

  void run(const OpContext& context) const override {
    const TensorView& y = context.outputs[0];
    const Range range = share_of(element_count(y.type.shape), context.team, kGrain);
    const Index count = range.end - range.begin;
    switch (dtype_) {
      case DType::kFloat32:
        std::fill_n(static_cast<float*>(y.data) + range.begin, count, 1.0f);
        break;
      case DType::kInt32:
        std::fill_n(static_cast<std::int32_t*>(y.data) + range.begin, count, 1);
        break;
      case DType::kBool:
        std::fill_n(static_cast<std::uint8_t*>(y.data) + range.begin, count, std::uint8_t{1});
        break;
    }
  }

 private:
  DType dtype_;
};

class ApplyMask final : public Op {
 public:
  const char* name() const override { return "apply_mask"; }
  bool is_in_place() const override { return true; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    const TensorType& x = inputs[0];
    const TensorType& mask = inputs[1];
    check_dtype(name(), mask, DType::kBool);
    bool fits = mask.shape.rank <= x.shape.rank;
    for (int i = 0; fits && i < mask.shape.rank; ++i) fits = mask.shape.dims[i] == x.shape.dims[i];
    if (!fits) {
      fail({"apply_mask: expected a mask with the leading axes of ", to_string(x.shape), ", got ",
            to_string(mask.shape)});
    }
    outputs[0] = x;
  }

  void run(const OpContext& context) const override {
    const TensorView& x = context.inputs[0];
    const std::uint8_t* mask = bytes(context.inputs[1]);
    const int rank = context.inputs[1].type.shape.rank;
    const auto row =
        static_cast<std::size_t>(product(x.type.shape, rank, x.type.shape.rank) * size_of(x.type.dtype));
    const auto* from = static_cast<const char*>(x.data);
    auto* to = static_cast<char*>(context.outputs[0].data);
    const Range range = share_of(product(x.type.shape, 0, rank), context.team, 64);
    for (Index i = range.begin; i < range.end; ++i) {
      const std::size_t offset = static_cast<std::size_t>(i) * row;
      if (!mask[i]) {
        std::memset(to + offset, 0, row);
      } else if (to != from) {
        std::memcpy(to + offset, from + offset, row);
      }
    }
  }
};

}  // namespace

OpPointer make_cast(DType dtype) { return std::make_unique<Cast>(dtype); }
OpPointer make_ones_like(DType dtype) { return std::make_unique<OnesLike>(dtype); }
OpPointer make_apply_mask() { return std::make_unique<ApplyMask>(); }

}  // namespace unrolled
