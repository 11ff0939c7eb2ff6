// SPDX-License-Identifier: MIT
#include "ops/window.h"

namespace unrolled {

WindowConfig window_config(const Arguments& given) {
  WindowConfig config{given.get<std::vector<Index>>("strides"), {}, given.get<std::string>("padding")};
  config.dilation.assign(config.strides.size(), 1);
  return config;
}

void check_window(const char* op, const WindowConfig& config, int spatial, bool allows_causal) {
  if (spatial < 1 || spatial > kMaxSpatial) {
    fail({op, ": expected 1 to 3 spatial axes, got ", std::to_string(spatial)});
  }
  for (const std::vector<Index>* values : {&config.strides, &config.dilation}) {
    if (values->size() != static_cast<std::size_t>(spatial)) {
      fail({op, ": expected ", std::to_string(spatial), " strides and dilations, got ",
            std::to_string(values->size())});
    }
    for (const Index value : *values) {
      if (value < 1)
        fail({op, ": expected strides and dilations of at least 1, got ", std::to_string(value)});
    }
  }
  const bool is_causal = config.padding == "causal" && allows_causal && spatial == 1;
  if (config.padding != "valid" && config.padding != "same" && !is_causal) {
    fail(
        {op, ": padding ", config.padding, " is not defined for ", std::to_string(spatial), " spatial axes"});
  }
}

Window resolve_window(const char* op, const WindowConfig& config, const std::vector<Index>& size,
                      const Shape& input) {
  Window window;
  window.spatial = static_cast<int>(size.size());
  if (input.rank != window.spatial + 2) {
    fail({op, ": expected ", std::to_string(window.spatial + 2), " axes, got ", to_string(input)});
  }
  // Right-aligned: the unused leading axes have size 1 everywhere.
  for (int i = 0; i < window.spatial; ++i) {
    const int axis = kMaxSpatial - window.spatial + i;
    const auto k = static_cast<std::size_t>(i);
    const Index in = input.dims[i + 1];
    const Index stride = config.strides[k];
    const Index extent = add(multiply(size[k] - 1, config.dilation[k]), 1);
    window.in[axis] = in;
    window.size[axis] = size[k];
    window.stride[axis] = stride;
    window.dilation[axis] = config.dilation[k];
    if (config.padding == "valid") {
      if (in < extent) {
        fail({op, ": a window of ", std::to_string(extent), " does not fit into ", to_string(input)});
      }
      window.out[axis] = (in - extent) / stride + 1;
    } else {
      window.out[axis] = in == 0 ? 0 : (in - 1) / stride + 1;
      window.before[axis] = config.padding == "causal"
                                ? extent - 1
                                : std::max<Index>((window.out[axis] - 1) * stride + extent - in, 0) / 2;
    }
  }
  return window;
}

}  // namespace unrolled
