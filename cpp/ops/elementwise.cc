// SPDX-License-Identifier: MIT
// Operations of two or three values that broadcast as NumPy does: binary (arithmetic, comparison, logic)
// and select; and logical_not.
#include "ops/factories.h"
#include "ops/walk.h"

namespace unrolled {
namespace {

constexpr Index kGrain = 1024;

// The common shape, or std::invalid_argument. A constant has no batch axis: it may not reach axis 0 of a
// value that has one unless its size there is 1, or blocks of the batch would differ from the whole.
Shape broadcast(const char* op, std::span<const TensorType> inputs, std::span<const Operand> operands) {
  Shape shape;
  bool has_batch = false;
  for (const TensorType& input : inputs) shape.rank = std::max(shape.rank, input.shape.rank);
  for (const Operand& operand : operands) has_batch = has_batch || operand.has_batch;
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
    if (has_batch && !operands[i].has_batch && inputs[i].shape.rank == shape.rank && shape.rank > 0 &&
        inputs[i].shape.dims[0] != 1) {
      fail({op, ": a constant of shape ", to_string(inputs[i].shape), " would reach the batch axis of ",
            to_string(shape)});
    }
  }
  return shape;
}

bool batches_align(std::span<const TensorType> inputs, std::span<const Operand> operands) {
  const TensorType* first = nullptr;
  int rank = 0;
  for (const TensorType& input : inputs) rank = std::max(rank, input.shape.rank);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!operands[i].has_batch) continue;
    if (inputs[i].shape.rank != rank || rank == 0) return false;
    if (first && first->shape.dims[0] != inputs[i].shape.dims[0]) return false;
    first = &inputs[i];
  }
  return true;
}

template <int N>
Walk<N> walk_broadcast(const Shape& out, const TensorView* const (&inputs)[N]) {
  Walk<N> walk;
  Index next[N];
  for (Index& stride : next) stride = 1;
  for (int axis = out.rank - 1; axis >= 0; --axis) {
    Index own[N];
    for (int n = 0; n < N; ++n) {
      const Shape& shape = inputs[n]->type.shape;
      const int at = axis - (out.rank - shape.rank);
      const Index extent = at < 0 ? 1 : shape.dims[at];
      own[n] = extent == 1 ? 0 : next[n];
      next[n] *= extent;
    }
    walk.push(out.dims[axis], own);
  }
  return walk;
}

struct Add {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(a + b);
  }
};
struct Subtract {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(a - b);
  }
};
struct Multiply {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(a * b);
  }
};
struct Divide {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(a / b);
  }
};
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
struct Equal {
  template <typename T>
  std::uint8_t operator()(T a, T b) const {
    return a == b;
  }
};
struct NotEqual {
  template <typename T>
  std::uint8_t operator()(T a, T b) const {
    return a != b;
  }
};
struct Greater {
  template <typename T>
  std::uint8_t operator()(T a, T b) const {
    return a > b;
  }
};
struct GreaterEqual {
  template <typename T>
  std::uint8_t operator()(T a, T b) const {
    return a >= b;
  }
};
struct Less {
  template <typename T>
  std::uint8_t operator()(T a, T b) const {
    return a < b;
  }
};
struct LessEqual {
  template <typename T>
  std::uint8_t operator()(T a, T b) const {
    return a <= b;
  }
};
struct And {
  std::uint8_t operator()(std::uint8_t a, std::uint8_t b) const { return a & b; }
};
struct Or {
  std::uint8_t operator()(std::uint8_t a, std::uint8_t b) const { return a | b; }
};

// Integers wrap around as NumPy's do; signed overflow itself is undefined, so they are unsigned here.
template <typename In, typename Out, typename Function>
void apply(const OpContext& context) {
  const TensorView& out = context.outputs[0];
  const auto* a = static_cast<const In*>(context.inputs[0].data);
  const auto* b = static_cast<const In*>(context.inputs[1].data);
  auto* y = static_cast<Out*>(out.data);
  const Function function;
  const Walk<2> walk = walk_broadcast<2>(out.type.shape, {&context.inputs[0], &context.inputs[1]});
  const bool a_steps = walk.strides[0][0] == 1;
  const bool b_steps = walk.strides[1][0] == 1;
  walk.rows(share_of(element_count(out.type.shape), context.team, kGrain),
            [&](Index to, const Index(&from)[2], Index count) {
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

using Run = void (*)(const OpContext&);

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
    {"add", false, &apply<float, float, Add>, &apply<std::uint32_t, std::uint32_t, Add>, nullptr},
    {"subtract", false, &apply<float, float, Subtract>, &apply<std::uint32_t, std::uint32_t, Subtract>,
     nullptr},
    {"multiply", false, &apply<float, float, Multiply>, &apply<std::uint32_t, std::uint32_t, Multiply>,
     nullptr},
    {"divide", false, &apply<float, float, Divide>, nullptr, nullptr},
    {"maximum", false, &apply<float, float, Maximum>, &apply<std::int32_t, std::int32_t, Maximum>, nullptr},
    {"minimum", false, &apply<float, float, Minimum>, &apply<std::int32_t, std::int32_t, Minimum>, nullptr},
    compares<Equal>("equal", true),
    compares<NotEqual>("not_equal", true),
    compares<Greater>("greater", false),
    compares<GreaterEqual>("greater_equal", false),
    compares<Less>("less", false),
    compares<LessEqual>("less_equal", false),
    {"and", true, nullptr, nullptr, &apply<std::uint8_t, std::uint8_t, And>},
    {"or", true, nullptr, nullptr, &apply<std::uint8_t, std::uint8_t, Or>},
};

Run run_of(const BinaryKind& kind, DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return kind.of_float;
    case DType::kInt32:
      return kind.of_int;
    case DType::kBool:
      return kind.of_bool;
  }
  return nullptr;
}

class Binary final : public Op {
 public:
  Binary(const BinaryKind& kind, Operand a, Operand b) : kind_(kind), operands_{a, b} {}

  const char* name() const override { return kind_.name; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    check_dtype(name(), inputs[1], inputs[0].dtype);
    if (!run_of(kind_, inputs[0].dtype)) {
      fail({name(), ": not defined for dtype ", to_string(inputs[0].dtype)});
    }
    outputs[0] = {kind_.to_bool ? DType::kBool : inputs[0].dtype, broadcast(name(), inputs, operands_)};
  }

  bool is_row_independent(std::span<const TensorType> inputs) const override {
    return batches_align(inputs, operands_);
  }

  Cost cost(std::span<const TensorType> inputs) const override {
    const double count =
        static_cast<double>(std::max(element_count(inputs[0].shape), element_count(inputs[1].shape)));
    return {16.0 * count};
  }

  void run(const OpContext& context) const override { run_of(kind_, context.inputs[0].type.dtype)(context); }

 private:
  const BinaryKind& kind_;
  Operand operands_[2];
};

template <typename T>
void run_select(const OpContext& context) {
  const TensorView& out = context.outputs[0];
  const auto* condition = bytes(context.inputs[0]);
  const auto* a = static_cast<const T*>(context.inputs[1].data);
  const auto* b = static_cast<const T*>(context.inputs[2].data);
  auto* y = static_cast<T*>(out.data);
  const Walk<3> walk =
      walk_broadcast<3>(out.type.shape, {&context.inputs[0], &context.inputs[1], &context.inputs[2]});
  const Index condition_step = walk.strides[0][0];
  const Index a_step = walk.strides[1][0];
  const Index b_step = walk.strides[2][0];
  walk.rows(share_of(element_count(out.type.shape), context.team, kGrain),
            [&](Index to, const Index(&from)[3], Index count) {
              for (Index i = 0; i < count; ++i) {
                y[to + i] = condition[from[0] + i * condition_step] ? a[from[1] + i * a_step]
                                                                    : b[from[2] + i * b_step];
              }
            });
}

class Select final : public Op {
 public:
  Select(Operand condition, Operand a, Operand b) : operands_{condition, a, b} {}

  const char* name() const override { return "select"; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    check_dtype(name(), inputs[0], DType::kBool);
    check_dtype(name(), inputs[2], inputs[1].dtype);
    outputs[0] = {inputs[1].dtype, broadcast(name(), inputs, operands_)};
  }

  bool is_row_independent(std::span<const TensorType> inputs) const override {
    return batches_align(inputs, operands_);
  }

  void run(const OpContext& context) const override {
    if (size_of(context.inputs[1].type.dtype) == 1) {
      run_select<std::uint8_t>(context);
    } else {
      run_select<std::uint32_t>(context);
    }
  }

 private:
  Operand operands_[3];
};

class LogicalNot final : public Op {
 public:
  const char* name() const override { return "logical_not"; }
  bool is_in_place() const override { return true; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    check_dtype(name(), inputs[0], DType::kBool);
    outputs[0] = inputs[0];
  }

  void run(const OpContext& context) const override {
    const std::uint8_t* x = bytes(context.inputs[0]);
    auto* y = static_cast<std::uint8_t*>(context.outputs[0].data);
    const Range range = share_of(element_count(context.inputs[0].type.shape), context.team, kGrain);
    for (Index i = range.begin; i < range.end; ++i) y[i] = x[i] ? 0 : 1;
  }
};

}  // namespace

OpPointer make_binary(const std::string& kind, Operand a, Operand b) {
  std::string known;
  for (const BinaryKind& candidate : kBinaryKinds) {
    if (kind == candidate.name) return std::make_unique<Binary>(candidate, a, b);
    known += std::string(" ") + candidate.name;
  }
  fail({"binary: expected one of", known, ", got ", kind});
}

OpPointer make_select(Operand condition, Operand a, Operand b) {
  return std::make_unique<Select>(condition, a, b);
}

OpPointer make_logical_not() { return std::make_unique<LogicalNot>(); }

}  // namespace unrolled
