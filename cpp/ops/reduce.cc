// SPDX-License-Identifier: MIT
// Reductions over axes, and the mean over unmasked timesteps. Every result is accumulated in the order of
// the elements, in double where it is a sum: the same bits however the work is shared.
#include <limits>

#include "ops/registry.h"
#include "ops/walk.h"

namespace unrolled {
namespace {

// Results accumulated at once when the reduced axes are not the last.
constexpr Index kColumns = 128;

struct FloatSum {
  using Element = float;
  using Accumulator = double;
  static double start() { return 0.0; }
  static double step(double sum, float x) { return sum + static_cast<double>(x); }
  static float finish(double sum, Index) { return static_cast<float>(sum); }
};
struct FloatMean : FloatSum {
  static float finish(double sum, Index count) {
    return static_cast<float>(sum / static_cast<double>(count));
  }
};
struct IntSum {
  using Element = std::int32_t;
  using Accumulator = std::uint32_t;  // wraps around as NumPy's does
  static std::uint32_t start() { return 0; }
  static std::uint32_t step(std::uint32_t sum, std::int32_t x) { return sum + static_cast<std::uint32_t>(x); }
  static std::int32_t finish(std::uint32_t sum, Index) { return static_cast<std::int32_t>(sum); }
};
// NaN wins, as in NumPy.
template <typename T>
struct Max {
  using Element = T;
  using Accumulator = T;
  static T start() {
    return std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity()
                                                : std::numeric_limits<T>::lowest();
  }
  static T step(T best, T x) { return x > best || x != x ? x : best; }
  static T finish(T best, Index) { return best; }
};
template <typename T>
struct Min {
  using Element = T;
  using Accumulator = T;
  static T start() {
    return std::numeric_limits<T>::has_infinity ? std::numeric_limits<T>::infinity()
                                                : std::numeric_limits<T>::max();
  }
  static T step(T best, T x) { return x < best || x != x ? x : best; }
  static T finish(T best, Index) { return best; }
};
struct Any {
  using Element = std::uint8_t;
  using Accumulator = std::uint8_t;
  static std::uint8_t start() { return 0; }
  static std::uint8_t step(std::uint8_t so_far, std::uint8_t x) { return so_far | (x != 0); }
  static std::uint8_t finish(std::uint8_t result, Index) { return result; }
};
struct All {
  using Element = std::uint8_t;
  using Accumulator = std::uint8_t;
  static std::uint8_t start() { return 1; }
  static std::uint8_t step(std::uint8_t so_far, std::uint8_t x) { return so_far & (x != 0); }
  static std::uint8_t finish(std::uint8_t result, Index) { return result; }
};

template <typename Kind>
void reduce(const AxisWalks& walks, const OpContext& context) {
  using Element = typename Kind::Element;
  using Accumulator = typename Kind::Accumulator;
  const auto* x = static_cast<const Element*>(context.inputs[0].data);
  auto* y = static_cast<Element*>(context.outputs[0].data);
  const Index reduced_count = walks.reduced.count();
  const Index kept_stride = walks.kept.inner_stride(0);
  const Index reduced_stride = walks.reduced.inner_stride(0);
  walks.kept.rows(
      share_of(walks.kept.count(), context.team, 16), [&](Index to, const Index(&kept)[1], Index count) {
        for (Index first = 0; first < count; first += kColumns) {
          const Index columns = std::min(kColumns, count - first);
          const Element* origin = x + kept[0] + first * kept_stride;
          Accumulator sums[kColumns];
          std::fill_n(sums, columns, Kind::start());
          walks.reduced.rows({0, reduced_count}, [&](Index, const Index(&offset)[1], Index steps) {
            const Element* run = origin + offset[0];
            if (kept_stride == 1) {
              for (Index j = 0; j < steps; ++j) {
                for (Index i = 0; i < columns; ++i)
                  sums[i] = Kind::step(sums[i], run[j * reduced_stride + i]);
              }
            } else {
              for (Index i = 0; i < columns; ++i) {
                Accumulator sum = sums[i];
                for (Index j = 0; j < steps; ++j)
                  sum = Kind::step(sum, run[i * kept_stride + j * reduced_stride]);
                sums[i] = sum;
              }
            }
          });
          for (Index i = 0; i < columns; ++i) y[to + first + i] = Kind::finish(sums[i], reduced_count);
        }
      });
}

using Run = void (*)(const AxisWalks&, const OpContext&);

struct ReduceKind {
  const char* name;
  bool allows_empty;
  Run runs[3];  // by dtype: float32, int32, bool
};

constexpr ReduceKind kReduceKinds[] = {
    {"sum", true, {&reduce<FloatSum>, &reduce<IntSum>, nullptr}},
    {"mean", true, {&reduce<FloatMean>, nullptr, nullptr}},
    {"max", false, {&reduce<Max<float>>, &reduce<Max<std::int32_t>>, nullptr}},
    {"min", false, {&reduce<Min<float>>, &reduce<Min<std::int32_t>>, nullptr}},
    {"any", true, {nullptr, nullptr, &reduce<Any>}},
    {"all", true, {nullptr, nullptr, &reduce<All>}},
};

const ReduceKind& reduce_kind(const std::string& name) {
  for (const ReduceKind& candidate : kReduceKinds) {
    if (name == candidate.name) return candidate;
  }
  fail({"reduce: expected sum, mean, max, min, any or all, got ", name});
}

class Reduce final : public Op {
 public:
  explicit Reduce(const Arguments& given)
      : kind_(reduce_kind(given.get<std::string>("kind"))),
        axes_(given.get<std::vector<Index>>("axes")),
        keepdims_(given.get<bool>("keepdims")) {}

  PreparedPointer prepare(Types inputs, int) const override {
    const TensorType& x = inputs[0];
    const Run run = kind_.runs[static_cast<std::size_t>(x.dtype)];
    if (!run) fail({kind_.name, ": not defined for dtype ", to_string(x.dtype)});
    const AxisWalks walks(x.shape, axes_, kind_.name);
    TensorType y{x.dtype, {}};
    Index reduced = 1;
    for (int axis = 0; axis < x.shape.rank; ++axis) {
      if (walks.has_axis[axis]) reduced = multiply(reduced, x.shape.dims[axis]);
      if (!walks.has_axis[axis] || keepdims_) {
        y.shape.dims[y.shape.rank++] = walks.has_axis[axis] ? 1 : x.shape.dims[axis];
      }
    }
    if (reduced == 0 && !kind_.allows_empty) {
      fail({kind_.name, ": expected at least one element along the reduced axes, got ", to_string(x.shape)});
    }
    const Cost cost{32.0 * static_cast<double>(element_count(x.shape))};
    return prepared(independent_if(!walks.has_axis[0]), {y}, {cost},
                    [=](const OpContext& context) noexcept { run(walks, context); });
  }

 private:
  const ReduceKind& kind_;
  std::vector<Index> axes_;
  bool keepdims_;
};

class MaskedMean final : public Op {
 public:
  explicit MaskedMean(const Arguments& given) : keepdims_(given.get<bool>("keepdims")) {}

  PreparedPointer prepare(Types inputs, int) const override {
    const TensorType& type = inputs[0];
    check_dtype("masked_mean", type, DType::kFloat32);
    check_rank_at_least("masked_mean", type, 2);
    check_type("masked_mean", "a mask", inputs[1], {DType::kBool, make_shape({type.shape.dims, 2})});
    const AxisSplit split(type.shape, 1);
    return prepared(Rows::kIndependent, {without_time(type, keepdims_)}, {},
                    [=](const OpContext& context) noexcept {
                      const float* x = floats(context.inputs[0]);
                      const std::uint8_t* mask = bytes(context.inputs[1]);
                      float* y = mutable_floats(context.outputs[0]);
                      const Range range = share_of(split.outer, context.team);
                      for (Index row = range.begin; row < range.end; ++row) {
                        const std::uint8_t* weights = mask + row * split.size;
                        double total = 0.0;
                        for (Index t = 0; t < split.size; ++t) total += weights[t];
                        for (Index first = 0; first < split.inner; first += kColumns) {
                          const Index columns = std::min(kColumns, split.inner - first);
                          double sums[kColumns] = {};
                          for (Index t = 0; t < split.size; ++t) {
                            const float* step = x + (row * split.size + t) * split.inner + first;
                            // A product as in Keras: a masked infinity or NaN shows.
                            const double weight = weights[t];
                            for (Index i = 0; i < columns; ++i)
                              sums[i] += static_cast<double>(step[i]) * weight;
                          }
                          for (Index i = 0; i < columns; ++i)
                            y[row * split.inner + first + i] = static_cast<float>(sums[i] / total);
                        }
                      }
                    });
  }

 private:
  bool keepdims_;
};

}  // namespace

OpRecord records::reduce() {
  return record<Reduce>(
      "reduce", {{"x", kOperand}, {"*"}, {"kind", kString}, {"axes", kInts}, {"keepdims", kBool, false}},
      "sum, mean, max or min over axes; of bool: any or all.");
}

OpRecord records::masked_mean() {
  return record<MaskedMean>("masked_mean",
                            {{"x", kOperand}, {"mask", kOperand}, {"*"}, {"keepdims", kBool, false}},
                            "The mean over the unmasked timesteps, axis 1; NaN where there is none.");
}

}  // namespace unrolled
