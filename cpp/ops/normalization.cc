// SPDX-License-Identifier: MIT
// batch_normalization with stored statistics, and layer_normalization with those of each row.
#include <cmath>

#include "ops/registry.h"
#include "ops/walk.h"

namespace unrolled {
namespace {

// y = x * scale + shift per channel, the form in which Keras 3.15 computes it.
class BatchNormalization final : public Op {
 public:
  explicit BatchNormalization(const Arguments& given) : axis_(given.get<Index>("axis")) {
    const Array& mean = given.get<Array>("mean");
    const Array& variance = given.get<Array>("variance");
    const Array* gamma = given.find<Array>("gamma");
    const Array* beta = given.find<Array>("beta");
    const double epsilon = given.get<double>("epsilon");
    if (mean.shape.rank != 1) {
      fail({"batch_normalization: expected a mean of rank 1, got ", to_string(mean.shape)});
    }
    const auto check = [&mean](const char* what, const Array& got) {
      if (!(got.shape == mean.shape)) {
        fail({"batch_normalization: expected ", what, " of shape ", to_string(mean.shape), ", got ",
              to_string(got.shape)});
      }
    };
    check("variance", variance);
    if (gamma) check("gamma", *gamma);
    if (beta) check("beta", *beta);
    for (Index i = 0; i < mean.shape.dims[0]; ++i) {
      double scale = 1.0 / std::sqrt(static_cast<double>(variance.data[i]) + epsilon);
      if (gamma) scale *= static_cast<double>(gamma->data[i]);
      scale_.push_back(static_cast<float>(scale));
      shift_.push_back(static_cast<float>((beta ? static_cast<double>(beta->data[i]) : 0.0) -
                                          static_cast<double>(mean.data[i]) * scale));
    }
  }

  PreparedPointer prepare(Types inputs, int) const override {
    const TensorType& type = inputs[0];
    check_dtype("batch_normalization", type, DType::kFloat32);
    const int axis = normalize_axis(axis_, type.shape.rank, "batch_normalization");
    if (type.shape.dims[axis] != static_cast<Index>(scale_.size())) {
      fail({"batch_normalization: expected ", std::to_string(scale_.size()), " channels on axis ",
            std::to_string(axis), ", got ", to_string(type)});
    }
    const AxisSplit split(type.shape, axis);
    const Cost cost{8.0 * static_cast<double>(element_count(type.shape))};
    return prepared(independent_if(axis != 0), {type}, {cost}, [=, this](const OpContext& context) noexcept {
      const float* x = floats(context.inputs[0]);
      float* y = mutable_floats(context.outputs[0]);
      if (split.inner == 1) {
        const Range range = share_of(split.outer, context.team);
        for (Index row = range.begin; row < range.end; ++row) {
          for (Index i = 0; i < split.size; ++i) {
            y[row * split.size + i] = x[row * split.size + i] * scale_[static_cast<std::size_t>(i)] +
                                      shift_[static_cast<std::size_t>(i)];
          }
        }
        return;
      }
      const Range range = share_of(split.outer * split.size, context.team);
      for (Index row = range.begin; row < range.end; ++row) {
        const float scale = scale_[static_cast<std::size_t>(row % split.size)];
        const float shift = shift_[static_cast<std::size_t>(row % split.size)];
        for (Index i = row * split.inner; i < (row + 1) * split.inner; ++i) y[i] = x[i] * scale + shift;
      }
    });
  }

 private:
  Index axis_;
  std::vector<float> scale_;
  std::vector<float> shift_;
};

// (x - mean) / sqrt(variance + epsilon) * gamma + beta, the variance biased; everything in double and
// rounded once.
class LayerNormalization final : public Op {
 public:
  explicit LayerNormalization(const Arguments& given)
      : axes_(given.get<std::vector<Index>>("axes")),
        epsilon_(given.get<double>("epsilon")),
        root_mean_square_(given.get<bool>("root_mean_square")) {
    const Array* gamma = given.find<Array>("gamma");
    const Array* beta = given.find<Array>("beta");
    if (axes_.empty()) fail({"layer_normalization: expected at least one axis"});
    const auto keep = [](const Array* from, std::vector<float>& to) {
      if (from) to.assign(from->data, from->data + element_count(from->shape));
    };
    if (gamma) weight_shape_ = gamma->shape;
    if (beta) weight_shape_ = beta->shape;
    if (gamma && beta && !(gamma->shape == beta->shape)) {
      fail({"layer_normalization: expected gamma and beta of one shape, got ", to_string(gamma->shape),
            " and ", to_string(beta->shape)});
    }
    keep(gamma, gamma_);
    keep(beta, beta_);
    has_gamma_ = gamma != nullptr;
    has_beta_ = beta != nullptr;
  }

  PreparedPointer prepare(Types inputs, int) const override {
    const TensorType& x = inputs[0];
    check_dtype("layer_normalization", x, DType::kFloat32);
    const AxisWalks walks(x.shape, axes_, "layer_normalization");
    Shape normalized;
    for (int axis = 0; axis < x.shape.rank; ++axis) {
      if (walks.has_axis[axis]) normalized.dims[normalized.rank++] = x.shape.dims[axis];
    }
    if ((has_gamma_ || has_beta_) && !(weight_shape_ == normalized)) {
      fail({"layer_normalization: expected normalised axes ", to_string(weight_shape_), ", got ",
            to_string(x.shape)});
    }
    const Cost cost{100.0 * static_cast<double>(element_count(x.shape))};
    return prepared(
        independent_if(!walks.has_axis[0]), {x}, {cost}, [=, this](const OpContext& context) noexcept {
          const float* from = floats(context.inputs[0]);
          float* to = mutable_floats(context.outputs[0]);
          const Index stride = walks.kept.inner_stride(0);
          walks.kept.rows(share_of(walks.kept.count(), context.team, 4), [&](Index, const Index(&offset)[1],
                                                                             Index count) {
            for (Index i = 0; i < count; ++i) {
              normalize(walks.reduced, from + offset[0] + i * stride, to + offset[0] + i * stride);
            }
          });
        });
  }

 private:
  void normalize(const Walk<1>& walk, const float* x, float* y) const {
    const Index size = walk.count();
    const Index stride = walk.inner_stride(0);
    const auto each = [&](auto body) {
      walk.rows({0, size}, [&](Index position, const Index(&offset)[1], Index count) {
        for (Index i = 0; i < count; ++i) body(position + i, offset[0] + i * stride);
      });
    };
    double mean = 0.0;
    if (!root_mean_square_) {
      each([&](Index, Index at) { mean += static_cast<double>(x[at]); });
      mean /= static_cast<double>(size);
    }
    double variance = 0.0;
    each([&](Index, Index at) {
      const double deviation = static_cast<double>(x[at]) - mean;
      variance += deviation * deviation;
    });
    const double scale = 1.0 / std::sqrt(variance / static_cast<double>(size) + epsilon_);
    each([&](Index position, Index at) {
      const auto k = static_cast<std::size_t>(position);
      double value = (static_cast<double>(x[at]) - mean) * scale;
      if (has_gamma_) value *= static_cast<double>(gamma_[k]);
      if (has_beta_) value += static_cast<double>(beta_[k]);
      y[at] = static_cast<float>(value);
    });
  }

  std::vector<Index> axes_;
  double epsilon_;
  bool root_mean_square_;
  Shape weight_shape_;
  std::vector<float> gamma_;
  std::vector<float> beta_;
  bool has_gamma_ = false;
  bool has_beta_ = false;
};

}  // namespace

OpRecord records::batch_normalization() {
  return record<BatchNormalization>("batch_normalization",
                                    {{"x", kOperand},
                                     {"*"},
                                     {"axis", kInt},
                                     {"mean", kArray},
                                     {"variance", kArray},
                                     {"gamma", kArray, kOrNone},
                                     {"beta", kArray, kOrNone},
                                     {"epsilon", kFloat}},
                                    "With stored statistics; all arrays have one axis, the channels.",
                                    kInPlace);
}

OpRecord records::layer_normalization() {
  return record<LayerNormalization>(
      "layer_normalization",
      {{"x", kOperand},
       {"*"},
       {"axes", kInts},
       {"gamma", kArray, kOrNone},
       {"beta", kArray, kOrNone},
       {"epsilon", kFloat},
       {"root_mean_square", kBool, false}},
      "With the statistics of each row; gamma and beta are shaped as the normalised axes; "
      "root_mean_square: no mean subtracted (RMSNormalization).",
      kInPlace);
}

}  // namespace unrolled
