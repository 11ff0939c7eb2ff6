// SPDX-License-Identifier: MIT
// Operations of two or three values that broadcast as NumPy does: binary (arithmetic, comparison, logic)
// and select; and logical_not.
#include <functional>

#include "ops/registry.h"
#include "ops/walk.h"

namespace unrolled {
namespace {

// The common shape, or std::invalid_argument. A constant has no batch axis: it may not reach axis 0 of a
// value that has one unless its size there is 1, or blocks of the batch would differ from the whole.
Shape broadcast(const char* op, Types inputs, const std::vector<bool>& operands) {
  Shape shape;
  bool has_batch = false;
  for (const TensorType& input : inputs) shape.rank = std::max(shape.rank, input.shape.rank);
  for (const bool own : operands) has_batch = has_batch || own;
  for (int axis = 0; axis < shape.rank; ++axis) {
    Index size = 1;
    for (const TensorType& input : inputs) {
      const int own = axis - (shape.rank - input.shape.rank);
      if (own < 0 || input.shape.dims[own] == 1) continue;
      if (size != 1 && size != input.shape.dims[own]) {
        std::string shapes = to_string(inputs[0].shape);
        for (const TensorType& other : inputs.subspan(1)) shapes += " and " + to_string(other.shape);
        fail({op, ": expected shapes that broadcast, got ", shapes});
      }
      size = input.shape.dims[own];
    }
    shape.dims[axis] = size;
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (has_batch && !operands[i] && inputs[i].shape.rank == shape.rank && shape.rank > 0 &&
        inputs[i].shape.dims[0] != 1) {
      fail({op, ": a constant of shape ", to_string(inputs[i].shape), " would reach the batch axis of ",
            to_string(shape)});
    }
  }
  return shape;
}

Rows rows_of(Types inputs, const std::vector<bool>& operands) {
  const TensorType* first = nullptr;
  int rank = 0;
  for (const TensorType& input : inputs) rank = std::max(rank, input.shape.rank);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!operands[i]) continue;
    if (inputs[i].shape.rank != rank || rank == 0) return Rows::kDependent;
    if (first && first->shape.dims[0] != inputs[i].shape.dims[0]) return Rows::kDependent;
    first = &inputs[i];
  }
  return Rows::kIndependent;
}

template <int N>
Walk<N> walk_broadcast(const Shape& out, Types inputs) {
  Walk<N> walk;
  Index next[N];
  for (Index& stride : next) stride = 1;
  for (int axis = out.rank - 1; axis >= 0; --axis) {
    Index own[N];
    for (int n = 0; n < N; ++n) {
      const Shape& shape = inputs[static_cast<std::size_t>(n)].shape;
      const int at = axis - (out.rank - shape.rank);
      const Index extent = at < 0 ? 1 : shape.dims[at];
      own[n] = extent == 1 ? 0 : next[n];
      next[n] *= extent;
    }
    walk.push(out.dims[axis], own);
  }
  return walk;
}

// NaN wins, as in NumPy.
struct Maximum {
  template <typename T>
  T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
};
struct Minimum {
  template <typename T>
  T operator()(T a, T b) const {
    return a < b || a != a ? a : b;
  }
};
// Integers wrap around as NumPy's do; signed overflow itself is undefined, so they are unsigned here.
template <typename In, typename Out, typename Function>
void apply(const Walk<2>& walk, const OpContext& context) {
  const auto* a = static_cast<const In*>(context.inputs[0].data);
  const auto* b = static_cast<const In*>(context.inputs[1].data);
  auto* y = static_cast<Out*>(context.outputs[0].data);
  const auto function = [](In left, In right) { return static_cast<Out>(Function()(left, right)); };
  const bool a_steps = walk.strides[0][0] == 1;
  const bool b_steps = walk.strides[1][0] == 1;
  walk.rows(share_of(walk.count(), context.team, kGrain), [&](Index to, const Index(&from)[2], Index count) {
    const In* left = a + from[0];
    const In* right = b + from[1];
    Out* result = y + to;
    if (a_steps && b_steps) {
      for (Index i = 0; i < count; ++i) result[i] = function(left[i], right[i]);
    } else if (a_steps) {
      const In fixed = *right;
      for (Index i = 0; i < count; ++i) result[i] = function(left[i], fixed);
    } else {
      const In fixed = *left;
      for (Index i = 0; i < count; ++i) result[i] = function(fixed, b_steps ? right[i] : *right);
    }
  });
}

using Run = void (*)(const Walk<2>&, const OpContext&);

struct BinaryKind {
  const char* name;
  bool to_bool;
  Run of_float;
  Run of_int;
  Run of_bool;
};

template <typename F>
constexpr BinaryKind compares(const char* name, bool of_bool) {
  return {name, true, &apply<float, std::uint8_t, F>, &apply<std::int32_t, std::uint8_t, F>,
          of_bool ? &apply<std::uint8_t, std::uint8_t, F> : nullptr};
}

constexpr BinaryKind kBinaryKinds[] = {
    {"add", false, &apply<float, float, std::plus<>>, &apply<std::uint32_t, std::uint32_t, std::plus<>>,
     nullptr},
    {"subtract", false, &apply<float, float, std::minus<>>,
     &apply<std::uint32_t, std::uint32_t, std::minus<>>, nullptr},
    {"multiply", false, &apply<float, float, std::multiplies<>>,
     &apply<std::uint32_t, std::uint32_t, std::multiplies<>>, nullptr},
    {"divide", false, &apply<float, float, std::divides<>>, nullptr, nullptr},
    {"maximum", false, &apply<float, float, Maximum>, &apply<std::int32_t, std::int32_t, Maximum>, nullptr},
    {"minimum", false, &apply<float, float, Minimum>, &apply<std::int32_t, std::int32_t, Minimum>, nullptr},
    compares<std::equal_to<>>("equal", true),
    compares<std::not_equal_to<>>("not_equal", true),
    compares<std::greater<>>("greater", false),
    compares<std::greater_equal<>>("greater_equal", false),
    compares<std::less<>>("less", false),
    compares<std::less_equal<>>("less_equal", false),
    {"and", true, nullptr, nullptr, &apply<std::uint8_t, std::uint8_t, std::bit_and<>>},
    {"or", true, nullptr, nullptr, &apply<std::uint8_t, std::uint8_t, std::bit_or<>>},
};

const BinaryKind& binary_kind(const std::string& name) {
  std::string known;
  for (const BinaryKind& candidate : kBinaryKinds) {
    if (name == candidate.name) return candidate;
    known += std::string(" ") + candidate.name;
  }
  fail({"binary: expected one of", known, ", got ", name});
}

class Binary final : public Op {
 public:
  Binary(const Arguments& given, const Surroundings& surroundings)
      : kind_(binary_kind(given.get<std::string>("kind"))), has_batch_(surroundings.has_batch) {}

  PreparedPointer prepare(Types inputs, int) const override {
    const DType dtype = inputs[0].dtype;
    check_dtype(kind_.name, inputs[1], dtype);
    const Run run = dtype == DType::kFloat32 ? kind_.of_float
                    : dtype == DType::kInt32 ? kind_.of_int
                                             : kind_.of_bool;
    if (!run) fail({kind_.name, ": not defined for dtype ", to_string(dtype)});
    const Shape shape = broadcast(kind_.name, inputs, has_batch_);
    const Walk<2> walk = walk_broadcast<2>(shape, inputs);
    const Index count = std::max(element_count(inputs[0].shape), element_count(inputs[1].shape));
    const Cost cost{16.0 * static_cast<double>(count)};
    return prepared(rows_of(inputs, has_batch_), {{kind_.to_bool ? DType::kBool : dtype, shape}}, {cost},
                    [=](const OpContext& context) noexcept { run(walk, context); });
  }

 private:
  const BinaryKind& kind_;
  std::vector<bool> has_batch_;
};

template <typename T>
void select(const Walk<3>& walk, const OpContext& context) {
  const auto* condition = bytes(context.inputs[0]);
  const auto* a = static_cast<const T*>(context.inputs[1].data);
  const auto* b = static_cast<const T*>(context.inputs[2].data);
  auto* y = static_cast<T*>(context.outputs[0].data);
  const Index condition_step = walk.strides[0][0];
  const Index a_step = walk.strides[1][0];
  const Index b_step = walk.strides[2][0];
  walk.rows(share_of(walk.count(), context.team, kGrain), [&](Index to, const Index(&from)[3], Index count) {
    for (Index i = 0; i < count; ++i) {
      y[to + i] = condition[from[0] + i * condition_step] ? a[from[1] + i * a_step] : b[from[2] + i * b_step];
    }
  });
}

class Select final : public Op {
 public:
  Select(const Arguments&, const Surroundings& surroundings) : has_batch_(surroundings.has_batch) {}

  PreparedPointer prepare(Types inputs, int) const override {
    check_dtype("select", inputs[0], DType::kBool);
    check_dtype("select", inputs[2], inputs[1].dtype);
    const Shape shape = broadcast("select", inputs, has_batch_);
    const Walk<3> walk = walk_broadcast<3>(shape, inputs);
    const auto run = size_of(inputs[1].dtype) == 1 ? &select<std::uint8_t> : &select<std::uint32_t>;
    return prepared(rows_of(inputs, has_batch_), {{inputs[1].dtype, shape}}, {},
                    [=](const OpContext& context) noexcept { run(walk, context); });
  }

 private:
  std::vector<bool> has_batch_;
};

class LogicalNot final : public Op {
 public:
  PreparedPointer prepare(Types inputs, int) const override {
    check_dtype("logical_not", inputs[0], DType::kBool);
    const Index count = element_count(inputs[0].shape);
    return prepared(Rows::kIndependent, {inputs[0]}, {}, [=](const OpContext& context) noexcept {
      const std::uint8_t* x = bytes(context.inputs[0]);
      auto* y = static_cast<std::uint8_t*>(context.outputs[0].data);
      const Range range = share_of(count, context.team, kGrain);
      for (Index i = range.begin; i < range.end; ++i) y[i] = x[i] ? 0 : 1;
    });
  }
};

}  // namespace

OpRecord records::binary() {
  return record<Binary>(
      "binary", {{"kind", kString}, {"a", kOperand}, {"b", kOperand}},
      "Broadcasts as NumPy does: add, subtract, multiply, divide, maximum, minimum; to bool: equal, "
      "not_equal, greater, greater_equal, less, less_equal, and, or.");
}

OpRecord records::select() {
  return record<Select>("select", {{"condition", kOperand}, {"a", kOperand}, {"b", kOperand}},
                        "condition ? a : b, broadcasting as NumPy does.");
}

OpRecord records::logical_not() {
  return record<LogicalNot>("logical_not", {{"x", kOperand}}, "not x.", kInPlace);
}

}  // namespace unrolled
