// SPDX-License-Identifier: MIT
// Operations between dtypes: cast, ones_like, and apply_mask (x where mask, else 0).
#include <cmath>
#include <cstring>
#include <limits>

#include "ops/registry.h"

namespace unrolled {
namespace {

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
  explicit Cast(const Arguments& given) : dtype_(given.get<DType>("dtype")) {}

  PreparedPointer prepare(Types inputs, int) const override {
    const TensorType& x = inputs[0];
    const ConvertAll run = kConversions[static_cast<std::size_t>(x.dtype)][static_cast<std::size_t>(dtype_)];
    const Index count = element_count(x.shape);
    return prepared(Rows::kIndependent, {{dtype_, x.shape}}, {}, [=](const OpContext& context) noexcept {
      run(context.inputs[0].data, context.outputs[0].data, share_of(count, context.team, kGrain));
    });
  }

 private:
  DType dtype_;
};

class OnesLike final : public Op {
 public:
  explicit OnesLike(const Arguments& given) : dtype_(given.get<DType>("dtype")) {}

  PreparedPointer prepare(Types inputs, int) const override {
    const Index size = element_count(inputs[0].shape);
    const DType dtype = dtype_;
    return prepared(Rows::kIndependent, {{dtype, inputs[0].shape}}, {},
                    [=](const OpContext& context) noexcept {
                      const Range range = share_of(size, context.team, kGrain);
                      const Index count = range.end - range.begin;
                      void* y = context.outputs[0].data;
                      switch (dtype) {
                        case DType::kFloat32:
                          std::fill_n(static_cast<float*>(y) + range.begin, count, 1.0f);
                          break;
                        case DType::kInt32:
                          std::fill_n(static_cast<std::int32_t*>(y) + range.begin, count, 1);
                          break;
                        case DType::kBool:
                          std::fill_n(static_cast<std::uint8_t*>(y) + range.begin, count, std::uint8_t{1});
                          break;
                      }
                    });
  }

 private:
  DType dtype_;
};

class ApplyMask final : public Op {
 public:
  PreparedPointer prepare(Types inputs, int) const override {
    const TensorType& x = inputs[0];
    const TensorType& mask = inputs[1];
    check_dtype("apply_mask", mask, DType::kBool);
    bool fits = mask.shape.rank <= x.shape.rank;
    for (int i = 0; fits && i < mask.shape.rank; ++i) fits = mask.shape.dims[i] == x.shape.dims[i];
    if (!fits) {
      fail({"apply_mask: expected a mask with the leading axes of ", to_string(x.shape), ", got ",
            to_string(mask.shape)});
    }
    const int rank = mask.shape.rank;
    const Index rows = product(x.shape, 0, rank);
    const auto size = static_cast<std::size_t>(product(x.shape, rank, x.shape.rank) * size_of(x.dtype));
    return prepared(Rows::kIndependent, {x}, {}, [=](const OpContext& context) noexcept {
      const std::uint8_t* is_kept = bytes(context.inputs[1]);
      const auto* from = static_cast<const char*>(context.inputs[0].data);
      auto* to = static_cast<char*>(context.outputs[0].data);
      const Range range = share_of(rows, context.team, 64);
      for (Index i = range.begin; i < range.end; ++i) {
        const std::size_t offset = static_cast<std::size_t>(i) * size;
        if (!is_kept[i]) {
          std::memset(to + offset, 0, size);
        } else if (to != from) {
          std::memcpy(to + offset, from + offset, size);
        }
      }
    });
  }
};

}  // namespace

OpRecord records::cast() {
  return record<Cast>("cast", {{"x", kOperand}, {"dtype", kDType}},
                      "x in another dtype; float32 to int32 toward zero.");
}

OpRecord records::ones_like() {
  return record<OnesLike>("ones_like", {{"x", kOperand}, {"dtype", kDType}}, "Ones in the shape of x.");
}

OpRecord records::apply_mask() {
  return record<ApplyMask>("apply_mask", {{"x", kOperand}, {"mask", kOperand}},
                           "x where mask, else 0; mask has x's leading axes.", kInPlace);
}

}  // namespace unrolled
