// SPDX-License-Identifier: MIT
// A recurrence whose timestep is a plan of its own: for cells that the kernels do not have (ConvLSTM, gates
// with softmax). The loop over time is that of Keras, as TimeLoop in kernels/table.h states it.
#include <array>
#include <cstring>

#include "base/small_vector.h"
#include "ops/registry.h"
#include "plan/plan.h"

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
  explicit Scan(const Arguments& given)
      : step_(given.get<std::shared_ptr<const Plan>>("step")),
        loop_(time_loop(given)),
        has_mask_(given.find<Index>("mask") != nullptr),
        has_initial_states_(!given.get<std::vector<Index>>("initial_states").empty()),
        return_sequences_(given.get<bool>("return_sequences")),
        return_state_(given.get<bool>("return_state")),
        state_shapes_(given.get<std::vector<std::vector<Index>>>("state_shapes")) {
    const std::size_t states = state_shapes_.size();
    const std::size_t initial = given.get<std::vector<Index>>("initial_states").size();
    if (has_initial_states_ && initial != states) {
      fail({"scan: expected ", std::to_string(states), " initial states or none, got ",
            std::to_string(initial)});
    }
    if (states == 0 || step_->input_count() != 1 + states || step_->output_count() != 1 + states) {
      fail({"scan: expected a step from x and ", std::to_string(states),
            " states to an output and the states"});
    }
    for (const std::vector<Index>& sizes : state_shapes_) {
      for (const Index size : sizes) {
        if (size < 0) fail({"scan: expected state_shapes of at least 0, got ", std::to_string(size)});
      }
    }
  }

  int output_count() const override {
    return 1 + (return_state_ ? static_cast<int>(state_shapes_.size()) : 0);
  }

  PreparedPointer prepare(Types inputs, int) const override {
    const TensorType& x = inputs[0];
    check_dtype("scan", x, DType::kFloat32);
    check_rank_at_least("scan", x, 3);
    const Index batch = x.shape.dims[0];
    const Index timesteps = x.shape.dims[1];
    if (timesteps < 1) fail({"scan: expected at least one timestep, got ", to_string(x.shape)});
    std::size_t next = 1;
    if (has_mask_) {
      check_type("scan", "mask", inputs[next++], {DType::kBool, make_shape(std::array{batch, timesteps})});
    }
    for (std::size_t i = 0; has_initial_states_ && i < state_shapes_.size(); ++i) {
      check_type("scan", "initial state", inputs[next++], with_batch(batch, state_shapes_[i]));
    }
    const Layout layout(*this, x);
    std::vector<TensorType> outputs{layout.output_type};
    for (std::size_t i = 0; i < state_shapes_.size(); ++i) {
      check_type("scan", "new state", layout.results[i + 1], with_batch(batch, state_shapes_[i]));
      if (return_state_) outputs.push_back(layout.results[i + 1]);
    }
    const TensorType& output = layout.output_type;
    if (output.dtype != DType::kFloat32 || output.shape.rank < 1 || output.shape.dims[0] != batch) {
      fail({"scan: expected the step's output to have the batch first, got ", to_string(output)});
    }
    if (loop_.masked_output_is_state) {
      check_type("scan", "output", output, with_batch(batch, state_shapes_[0]));
    }
    if (return_sequences_) {
      if (output.shape.rank == kMaxRank) fail({"scan: too many axes: ", to_string(output)});
      Shape& shape = outputs[0].shape;
      std::copy(output.shape.dims + 1, output.shape.dims + output.shape.rank, shape.dims + 2);
      shape.dims[1] = timesteps;
      shape.rank += 1;
    }
    // What a step costs is the step's own business; enough here to keep a scan from looking free.
    Cost cost;
    cost.flops = 2000.0 * static_cast<double>(multiply(timesteps, batch));
    cost.is_sequential = true;
    return prepared(Rows::kIndependent, std::move(outputs), {cost, layout.bytes},
                    [=, this](const OpContext& context) noexcept { run(layout, context); });
  }

 private:
  // Scratch: x_t, the step's output, the output of the last step, then every state twice (read, written).
  struct Layout {
    Layout(const Scan& scan, const TensorType& x) {
      types = scan.step_types(x);
      results = scan.step_->infer(types);
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

    std::vector<TensorType> types;    // of what the step takes
    std::vector<TensorType> results;  // and gives
    TensorType output_type;
    Index input = 0, output = 0, previous = 0;
    std::vector<Index> states[2];
    Index bytes = 0;
  };

  std::vector<TensorType> step_types(const TensorType& x) const {
    std::vector<TensorType> types{timestep_of(x)};
    for (const auto& sizes : state_shapes_) types.push_back(with_batch(x.shape.dims[0], sizes));
    return types;
  }

  void run(const Layout& layout, const OpContext& context) const {
    if (context.team.index != 0) return;  // the plan shares the batch between threads, not a step
    try {
      run_alone(layout, context);
    } catch (...) {
      context.error->set_current_exception();
    }
  }

  void run_alone(const Layout& layout, const OpContext& context) const {
    const TensorType& x = context.inputs[0].type;
    const Index batch = x.shape.dims[0];
    const Index timesteps = x.shape.dims[1];
    char* scratch = static_cast<char*>(context.scratch);
    const std::size_t state_count = state_shapes_.size();
    const auto row_bytes = [batch](const TensorType& type) {
      return static_cast<std::size_t>(byte_count(type) / batch);
    };

    const std::uint8_t* mask = has_mask_ ? bytes(context.inputs[1]) : nullptr;
    const std::size_t first_state = has_mask_ ? 2 : 1;
    for (std::size_t i = 0; i < state_count; ++i) {
      const auto size = static_cast<std::size_t>(byte_count(layout.types[i + 1]));
      char* state = scratch + layout.states[0][i];
      if (has_initial_states_) {
        std::memcpy(state, context.inputs[first_state + i].data, size);
      } else {
        std::memset(state, 0, size);
      }
    }
    const std::size_t output_row = row_bytes(layout.output_type);
    if (loop_.masked_output_is_state) {
      std::memcpy(scratch + layout.previous, scratch + layout.states[0][0],
                  output_row * static_cast<std::size_t>(batch));
    } else {
      std::memset(scratch + layout.previous, 0, output_row * static_cast<std::size_t>(batch));
    }

    Plan::Run step(*step_, layout.types);
    Stop never;
    SmallVector<const void*> from(1 + state_count);
    SmallVector<void*> to(1 + state_count);
    const std::size_t input_row = row_bytes(layout.types[0]);
    char* sequence = static_cast<char*>(context.outputs[0].data);
    int read = 0;
    for (Index s = 0; s < timesteps; ++s, read ^= 1) {
      if (should_stop(context.team)) return;
      const Index read_time = loop_.read_reversed ? timesteps - 1 - s : s;
      const Index write_time = loop_.write_reversed ? timesteps - 1 - s : s;
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
      step.execute(from.get(), to.get(), 0, 1, never);
      for (Index row = 0; row < batch; ++row) {
        const std::size_t at = static_cast<std::size_t>(row) * output_row;
        char* output = scratch + layout.output + at;
        char* previous = scratch + layout.previous + at;
        if (mask != nullptr && mask[row * timesteps + read_time] == 0) {
          if (loop_.zero_output_for_mask) {
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
        if (return_sequences_) {
          std::memcpy(sequence + static_cast<std::size_t>(row * timesteps + write_time) * output_row, output,
                      output_row);
        }
      }
    }
    if (!return_sequences_) {
      std::memcpy(sequence, scratch + layout.previous, output_row * static_cast<std::size_t>(batch));
    }
    for (std::size_t i = 0; return_state_ && i < state_count; ++i) {
      std::memcpy(context.outputs[i + 1].data, scratch + layout.states[read][i],
                  static_cast<std::size_t>(byte_count(layout.types[i + 1])));
    }
  }

  std::shared_ptr<const Plan> step_;
  kernels::TimeLoop loop_;
  bool has_mask_;
  bool has_initial_states_;
  bool return_sequences_;
  bool return_state_;
  // Sizes of every state without the batch: [units], or [spatial..., filters].
  std::vector<std::vector<Index>> state_shapes_;
};

}  // namespace

OpRecord records::scan() {
  return record<Scan>(
      "scan",
      {{"x", kOperand},
       {"step", kPlan},
       {"*"},
       {"state_shapes", kShapes},
       {"mask", kOperand, kNoneByDefault},
       {"initial_states", kOperands, std::vector<Index>{}},
       {"return_sequences", kBool, false},
       {"return_state", kBool, false},
       {"read_reversed", kBool, false},
       {"write_reversed", kBool, false},
       {"zero_output_for_mask", kBool, false},
       {"masked_output_is_state", kBool, false}},
      "A plan stepped over x [batch, timesteps, ...]: it takes x_t and the states (state_shapes, without the "
      "batch) and gives the output and the new states, all float32. The output, then (return_state) the "
      "final states; no initial states: zeros.",
      kOwn, true);
}

}  // namespace unrolled
