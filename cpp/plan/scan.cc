// SPDX-License-Identifier: MIT
#include "plan/scan.h"

#include <cstring>

namespace unrolled {
namespace {

TensorType with_batch(Index batch, const std::vector<Index>& sizes) {
  std::vector<Index> dims{batch};
  dims.insert(dims.end(), sizes.begin(), sizes.end());
  return {DType::kFloat32, make_shape(dims)};
}

// x without its timesteps axis.
TensorType timestep_of(const TensorType& x) {
  TensorType step = x;
  step.shape.rank -= 1;
  for (int axis = 1; axis < step.shape.rank; ++axis) step.shape.dims[axis] = x.shape.dims[axis + 1];
  return step;
}

class Scan final : public Op {
 public:
  Scan(std::shared_ptr<const Plan> step, ScanConfig config)
      : step_(std::move(step)), config_(std::move(config)) {
    const std::size_t states = config_.state_shapes.size();
    if (states == 0 || step_->input_count() != 1 + states || step_->output_count() != 1 + states) {
      fail({"scan: expected a step from x and ", std::to_string(states),
            " states to an output and the states"});
    }
  }

  const char* name() const override { return "scan"; }

  int output_count() const override {
    return 1 + (config_.return_state ? static_cast<int>(config_.state_shapes.size()) : 0);
  }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    const TensorType& x = inputs[0];
    check_dtype(name(), x, DType::kFloat32);
    check_rank_at_least(name(), x, 3);
    const Index batch = x.shape.dims[0];
    const Index timesteps = x.shape.dims[1];
    if (timesteps < 1) fail({"scan: expected at least one timestep, got ", to_string(x.shape)});
    std::size_t next = 1;
    if (config_.has_mask) {
      check_exactly(inputs[next++], {DType::kBool, make_shape(std::vector<Index>{batch, timesteps})}, "mask");
    }
    for (std::size_t i = 0; config_.has_initial_states && i < config_.state_shapes.size(); ++i) {
      check_exactly(inputs[next++], with_batch(batch, config_.state_shapes[i]), "initial state");
    }
    const std::vector<TensorType> results = step_->infer(step_types(x));
    for (std::size_t i = 0; i < config_.state_shapes.size(); ++i) {
      check_exactly(results[i + 1], with_batch(batch, config_.state_shapes[i]), "new state");
      if (config_.return_state) outputs[i + 1] = results[i + 1];
    }
    const TensorType& output = results[0];
    if (output.dtype != DType::kFloat32 || output.shape.rank < 1 || output.shape.dims[0] != batch) {
      fail({"scan: expected the step's output to have the batch first, got ", to_string(output)});
    }
    if (config_.masked_output_is_state)
      check_exactly(output, with_batch(batch, config_.state_shapes[0]), "output");
    outputs[0] = output;
    if (!config_.return_sequences) return;
    if (output.shape.rank == kMaxRank) fail({"scan: too many axes: ", to_string(output)});
    outputs[0].shape.rank += 1;
    outputs[0].shape.dims[1] = timesteps;
    for (int axis = 1; axis < output.shape.rank; ++axis)
      outputs[0].shape.dims[axis + 1] = output.shape.dims[axis];
  }

  Index scratch_bytes(std::span<const TensorType> inputs, int) const override {
    return Layout(*this, inputs[0]).bytes;
  }

  Cost cost(std::span<const TensorType> inputs) const override {
    // What a step costs is the step's own business; enough here to keep a scan from looking free.
    Cost cost;
    cost.flops = 2000.0 * static_cast<double>(inputs[0].shape.dims[1] * inputs[0].shape.dims[0]);
    cost.is_sequential = true;
    return cost;
  }

  void run(const OpContext& context) const override {
    if (context.team.index != 0) return;  // the plan shares the batch between threads, not a step
    try {
      run_alone(context);
    } catch (...) {
      context.error->set_current_exception();
    }
  }

 private:
  // Scratch: x_t, the step's output, the output of the last step, then every state twice (read, written).
  struct Layout {
    Layout(const Scan& scan, const TensorType& x) {
      types = scan.step_types(x);
      const std::vector<TensorType> results = scan.step_->infer(types);
      output_type = results[0];
      input = take(types[0]);
      output = take(output_type);
      previous = take(output_type);
      for (std::size_t i = 1; i < types.size(); ++i) {
        states[0].push_back(take(types[i]));
        states[1].push_back(take(types[i]));
      }
    }

    Index take(const TensorType& type) {
      const Index offset = bytes;
      bytes = add(bytes, align_up(std::max<Index>(byte_count(type), 1)));
      return offset;
    }

    std::vector<TensorType> types;
    TensorType output_type;
    Index input = 0, output = 0, previous = 0;
    std::vector<Index> states[2];
    Index bytes = 0;
  };

  std::vector<TensorType> step_types(const TensorType& x) const {
    std::vector<TensorType> types{timestep_of(x)};
    for (const auto& sizes : config_.state_shapes) types.push_back(with_batch(x.shape.dims[0], sizes));
    return types;
  }

  static void check_exactly(const TensorType& got, const TensorType& expected, const char* what) {
    if (!(got == expected)) {
      fail({"scan: expected ", what, " ", to_string(expected), ", got ", to_string(got)});
    }
  }

  void run_alone(const OpContext& context) const {
    const TensorType& x = context.inputs[0].type;
    const Index batch = x.shape.dims[0];
    const Index timesteps = x.shape.dims[1];
    const Layout layout(*this, x);
    char* scratch = static_cast<char*>(context.scratch);
    const std::size_t state_count = config_.state_shapes.size();
    const auto row_bytes = [batch](const TensorType& type) {
      return static_cast<std::size_t>(byte_count(type) / batch);
    };

    const std::uint8_t* mask = config_.has_mask ? bytes(context.inputs[1]) : nullptr;
    const std::size_t first_state = config_.has_mask ? 2 : 1;
    for (std::size_t i = 0; i < state_count; ++i) {
      const auto size = static_cast<std::size_t>(byte_count(layout.types[i + 1]));
      char* state = scratch + layout.states[0][i];
      if (config_.has_initial_states) {
        std::memcpy(state, context.inputs[first_state + i].data, size);
      } else {
        std::memset(state, 0, size);
      }
    }
    const std::size_t output_row = row_bytes(layout.output_type);
    if (config_.masked_output_is_state) {
      std::memcpy(scratch + layout.previous, scratch + layout.states[0][0],
                  output_row * static_cast<std::size_t>(batch));
    } else {
      std::memset(scratch + layout.previous, 0, output_row * static_cast<std::size_t>(batch));
    }

    Plan::Run step(*step_, layout.types);
    Stop never;
    std::vector<const void*> from(1 + state_count);
    std::vector<void*> to(1 + state_count);
    const std::size_t input_row = row_bytes(layout.types[0]);
    char* sequence = static_cast<char*>(context.outputs[0].data);
    int read = 0;
    for (Index s = 0; s < timesteps; ++s, read ^= 1) {
      if (should_stop(context.team)) return;
      const Index read_time = config_.read_reversed ? timesteps - 1 - s : s;
      const Index write_time = config_.write_reversed ? timesteps - 1 - s : s;
      const char* all = static_cast<const char*>(context.inputs[0].data);
      for (Index row = 0; row < batch; ++row) {
        std::memcpy(scratch + layout.input + static_cast<std::size_t>(row) * input_row,
                    all + static_cast<std::size_t>(row * timesteps + read_time) * input_row, input_row);
      }
      from[0] = scratch + layout.input;
      to[0] = scratch + layout.output;
      for (std::size_t i = 0; i < state_count; ++i) {
        from[i + 1] = scratch + layout.states[read][i];
        to[i + 1] = scratch + layout.states[read ^ 1][i];
      }
      step.execute(from, to, 0, 1, never);
      for (Index row = 0; row < batch; ++row) {
        const std::size_t at = static_cast<std::size_t>(row) * output_row;
        char* output = scratch + layout.output + at;
        char* previous = scratch + layout.previous + at;
        if (mask != nullptr && mask[row * timesteps + read_time] == 0) {
          if (config_.zero_output_for_mask) {
            std::memset(output, 0, output_row);
          } else {
            std::memcpy(output, previous, output_row);
          }
          for (std::size_t i = 0; i < state_count; ++i) {
            const std::size_t size = row_bytes(layout.types[i + 1]);
            const std::size_t state_at = static_cast<std::size_t>(row) * size;
            std::memcpy(scratch + layout.states[read ^ 1][i] + state_at,
                        scratch + layout.states[read][i] + state_at, size);
          }
        }
        std::memcpy(previous, output, output_row);
        if (config_.return_sequences) {
          std::memcpy(sequence + static_cast<std::size_t>(row * timesteps + write_time) * output_row, output,
                      output_row);
        }
      }
    }
    if (!config_.return_sequences) {
      std::memcpy(sequence, scratch + layout.previous, output_row * static_cast<std::size_t>(batch));
    }
    for (std::size_t i = 0; config_.return_state && i < state_count; ++i) {
      std::memcpy(context.outputs[i + 1].data, scratch + layout.states[read][i],
                  static_cast<std::size_t>(byte_count(layout.types[i + 1])));
    }
  }

  std::shared_ptr<const Plan> step_;
  ScanConfig config_;
};

}  // namespace

OpPointer make_scan(std::shared_ptr<const Plan> step, ScanConfig config) {
  return std::make_unique<Scan>(std::move(step), std::move(config));
}

}  // namespace unrolled
