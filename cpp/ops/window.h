// SPDX-License-Identifier: MIT
// The geometry of convolution and pooling over 1 to 3 spatial axes, padded as TensorFlow does.
// For cpp/ops only.
#pragma once

#include "ops/registry.h"

namespace unrolled {

inline constexpr int kMaxSpatial = 3;

struct WindowConfig {
  std::vector<Index> strides;
  std::vector<Index> dilation;
  std::string padding;
};

// Output position p covers the input cells p * stride - before + i * dilation, i in [0, size).
struct Window {
  int spatial = 0;
  Index in[kMaxSpatial] = {1, 1, 1};
  Index out[kMaxSpatial] = {1, 1, 1};
  Index size[kMaxSpatial] = {1, 1, 1};
  Index stride[kMaxSpatial] = {1, 1, 1};
  Index dilation[kMaxSpatial] = {1, 1, 1};
  Index before[kMaxSpatial] = {};

  Index positions() const { return out[0] * out[1] * out[2]; }

  // Fills `origin` with the first input cell (outside the input where padded) of output position `p`.
  void locate(Index p, Index (&origin)[kMaxSpatial]) const {
    for (int axis = kMaxSpatial - 1; axis >= 0; --axis) {
      origin[axis] = p % out[axis] * stride[axis] - before[axis];
      p /= out[axis];
    }
  }
};

// The arguments strides and padding, and dilation where there is one.
WindowConfig window_config(const Arguments& given);

// Throws std::invalid_argument on parameters that are wrong for every input.
void check_window(const char* op, const WindowConfig& config, int spatial, bool allows_causal);

// For an input [batch, spatial..., channels]; throws std::invalid_argument when no window fits.
Window resolve_window(const char* op, const WindowConfig& config, const std::vector<Index>& size,
                      const Shape& input);

}  // namespace unrolled
