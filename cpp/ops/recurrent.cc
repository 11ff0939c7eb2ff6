// SPDX-License-Identifier: MIT
// SimpleRNN, LSTM or GRU over whole sequences, in one or several directions over the same input
// (Bidirectional). Every direction writes straight to its place in the outputs; the loop itself is the
// kernel table's sweep. Here: what the team shares (directions, rows or units) and in which blocks of rows.
#include <array>

#include "base/aligned_buffer.h"
#include "ops/factories.h"

namespace unrolled {
namespace {

// Weights that stay in one core's second-level cache while its rows go by.
constexpr Index kResidentBytes = 3 << 19;
// Below this a step is too short to share: the barrier and moving the state between cores cost more.
constexpr Index kUnitSplitBytes = 32 << 10;
// Rows that one sweep takes at once. Weights that do not stay in cache are read once per step and block.
constexpr Index kResidentBlock = 48;
constexpr Index kStreamedBlock = 128;

enum class Split { kNone, kDirections, kRows, kUnits };

const char* cell_name(kernels::CellKind kind) {
  switch (kind) {
    case kernels::CellKind::kSimpleRnn:
      return "simple_rnn";
    case kernels::CellKind::kLstm:
      return "lstm";
    case kernels::CellKind::kGruResetAfter:
      return "gru_reset_after";
    case kernels::CellKind::kGruResetBefore:
      return "gru_reset_before";
  }
  return "?";
}

struct Direction {
  kernels::CellShape shape;
  AlignedBuffer packed;
  Index packed_bytes = 0;
  Index recurrent_bytes = 0;
  Index output_offset = 0;  // the first of its units in a concatenated output
  bool read_reversed = false;
  bool write_reversed = false;
  bool zero_output_for_mask = false;
  bool masked_output_is_state = false;
};

class Recurrent final : public Op {
 public:
  Recurrent(const kernels::KernelTable& table, const std::vector<DirectionConfig>& directions,
            const RecurrentConfig& config)
      : table_(table), config_(config) {
    if (directions.empty()) fail({"recurrent: expected at least one direction"});
    for (const DirectionConfig& from : directions) {
      if (from.shape.features != directions[0].shape.features) {
        fail({"recurrent: expected all directions to read ", std::to_string(directions[0].shape.features),
              " features, got ", std::to_string(from.shape.features)});
      }
      Direction to;
      to.shape = from.shape;
      to.packed_bytes = table.cell_packed_floats(from.shape) * size_of(DType::kFloat32);
      to.packed.reserve(to.packed_bytes);
      table.pack_cell(from.shape, from.weights, to.packed.floats());
      to.recurrent_bytes =
          gate_count(from.shape.kind) * from.shape.units * from.shape.units * size_of(DType::kFloat32);
      to.output_offset = total_units_;
      to.read_reversed = from.read_reversed;
      to.write_reversed = from.write_reversed;
      to.zero_output_for_mask = from.zero_output_for_mask;
      to.masked_output_is_state = from.masked_output_is_state;
      total_units_ += from.shape.units;
      state_count_ += state_count(from.shape.kind);
      directions_.push_back(std::move(to));
    }
  }

  const char* name() const override { return cell_name(directions_[0].shape.kind); }

  int output_count() const override {
    return sequence_output_count() + (config_.return_state ? state_count_ : 0);
  }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    const TensorType& x = inputs[0];
    const Index features = directions_[0].shape.features;
    check_dtype(name(), x, DType::kFloat32);
    if (x.shape.rank != 3 || x.shape.dims[2] != features) {
      fail({name(), ": expected (batch, timesteps, ", std::to_string(features), "), got ",
            to_string(x.shape)});
    }
    const Index batch = x.shape.dims[0];
    const Index timesteps = x.shape.dims[1];
    if (timesteps < 1) fail({name(), ": expected at least one timestep, got ", to_string(x.shape)});
    std::size_t next = 1;
    if (config_.has_mask) {
      check_exactly(inputs[next++], {DType::kBool, make_shape(std::array{batch, timesteps})}, "mask");
    }
    std::size_t output = 0;
    const auto put = [&](Index units, bool sequences) {
      outputs[output++] = {DType::kFloat32, sequences ? make_shape(std::array{batch, timesteps, units})
                                                      : make_shape(std::array{batch, units})};
    };
    if (config_.concatenate) put(total_units_, config_.return_sequences);
    for (const Direction& direction : directions_) {
      if (!config_.concatenate) put(direction.shape.units, config_.return_sequences);
      for (int i = 0; config_.has_initial_states && i < state_count(direction.shape.kind); ++i) {
        check_exactly(inputs[next++], {DType::kFloat32, make_shape(std::array{batch, direction.shape.units})},
                      "initial state");
      }
    }
    if (!config_.return_state) return;
    for (const Direction& direction : directions_) {
      for (int i = 0; i < state_count(direction.shape.kind); ++i) put(direction.shape.units, false);
    }
  }

  Index scratch_bytes(std::span<const TensorType> inputs, int team_size) const override {
    const Index batch = inputs[0].shape.dims[0];
    const Index timesteps = inputs[0].shape.dims[1];
    const Split split = split_for(batch, team_size);
    return scratch_slot(batch, timesteps, split, team_size) * (split == Split::kUnits ? 1 : team_size);
  }

  Cost cost(std::span<const TensorType> inputs) const override {
    const double steps = static_cast<double>(inputs[0].shape.dims[1]);
    const double batch = static_cast<double>(inputs[0].shape.dims[0]);
    Cost cost;
    cost.is_sequential = true;
    for (const Direction& direction : directions_) {
      const double weights = static_cast<double>(direction.packed_bytes);
      cost.flops += batch * steps * (weights / 2.0 + 64.0 * static_cast<double>(direction.shape.units));
      cost.weight_bytes += steps * weights;
      cost.resident_bytes = std::max(cost.resident_bytes, weights);
    }
    return cost;
  }

  void run(const OpContext& context) const override {
    const Shape& x = context.inputs[0].type.shape;
    const Index batch = x.dims[0];
    const Index timesteps = x.dims[1];
    const Team& team = context.team;
    const Split split = split_for(batch, team.size);
    const Index slot = scratch_slot(batch, timesteps, split, team.size);
    char* own_scratch =
        static_cast<char*>(context.scratch) + (split == Split::kUnits ? 0 : team.index * slot);
    const Range rows = split == Split::kRows ? share_of(batch, team) : Range{0, batch};
    bool first = true;
    for (std::size_t d = 0; d < directions_.size(); ++d) {
      const Direction& direction = directions_[d];
      if (split == Split::kNone && team.index != 0) return;
      if (split == Split::kDirections && static_cast<int>(d) % team.size != team.index) continue;
      const Index blocks = block_count(rows.end - rows.begin, split, direction);
      for (Index block = 0; block < blocks; ++block) {
        kernels::SweepArguments arguments;
        const Range part = share_of(
            rows.end - rows.begin, Team{static_cast<int>(block), static_cast<int>(blocks), nullptr, nullptr});
        set_rows(context, d, {rows.begin + part.begin, rows.begin + part.end}, arguments);
        arguments.scratch = own_scratch;
        if (split == Split::kUnits) {
          arguments.team = team;
          // The whole team must have left the scratch of the sweep before.
          if (!first && team.wait(team.barrier, team.index)) return;
          first = false;
        } else {
          arguments.team.stop = team.stop;
          arguments.team.should_stop = team.should_stop;
        }
        table_.sweep(arguments);
      }
    }
  }

 private:
  int sequence_output_count() const { return config_.concatenate ? 1 : static_cast<int>(directions_.size()); }

  void check_exactly(const TensorType& got, const TensorType& expected, const char* what) const {
    if (!(got == expected)) {
      fail({name(), ": expected ", what, " ", to_string(expected), ", got ", to_string(got)});
    }
  }

  Split split_for(Index batch, int team_size) const {
    if (team_size == 1) return Split::kNone;
    if (directions_.size() % static_cast<std::size_t>(team_size) == 0) return Split::kDirections;
    Index weights = 0;
    Index recurrent = 0;
    for (const Direction& direction : directions_) {
      weights = std::max(weights, direction.packed_bytes);
      recurrent = std::max(recurrent, direction.recurrent_bytes);
    }
    if (batch >= std::max(4, 2 * team_size) && weights <= kResidentBytes) return Split::kRows;
    if (recurrent >= kUnitSplitBytes) return Split::kUnits;
    return directions_.size() > 1 ? Split::kDirections : Split::kNone;
  }

  static Index block_rows(const Direction& direction) {
    return direction.packed_bytes <= kResidentBytes ? kResidentBlock : kStreamedBlock;
  }

  static Index block_count(Index rows, Split split, const Direction& direction) {
    const Index limit = split == Split::kUnits ? kStreamedBlock : block_rows(direction);
    return (rows + limit - 1) / limit;
  }

  // Scratch of one sweep: of one thread, or of the whole team when it shares the units.
  Index scratch_slot(Index batch, Index timesteps, Split split, int team_size) const {
    Index slot = 0;
    for (const Direction& direction : directions_) {
      const Index limit = split == Split::kUnits ? kStreamedBlock : block_rows(direction);
      slot = std::max(slot, table_.sweep_scratch_bytes(direction.shape, std::min(batch, limit), timesteps,
                                                       split == Split::kUnits ? team_size : 1));
    }
    return align_up(slot);
  }

  void set_rows(const OpContext& context, std::size_t d, Range rows,
                kernels::SweepArguments& arguments) const {
    const Direction& direction = directions_[d];
    const Index units = direction.shape.units;
    const Index timesteps = context.inputs[0].type.shape.dims[1];
    arguments.shape = direction.shape;
    arguments.packed = direction.packed.floats();
    arguments.batch = rows.end - rows.begin;
    arguments.timesteps = timesteps;
    arguments.x_time_stride = direction.shape.features;
    arguments.x_batch_stride = timesteps * direction.shape.features;
    arguments.x = floats(context.inputs[0]) + rows.begin * arguments.x_batch_stride;
    arguments.read_reversed = direction.read_reversed;
    arguments.write_reversed = direction.write_reversed;
    arguments.zero_output_for_mask = direction.zero_output_for_mask;
    arguments.masked_output_is_state = direction.masked_output_is_state;

    std::size_t input = 1;
    if (config_.has_mask) {
      arguments.mask = bytes(context.inputs[input++]) + rows.begin * timesteps;
      arguments.mask_batch_stride = timesteps;
    }
    std::size_t state = 0;  // of the first state of this direction
    for (std::size_t before = 0; before < d; ++before) {
      state += static_cast<std::size_t>(state_count(directions_[before].shape.kind));
    }
    const bool has_cell_state = direction.shape.kind == kernels::CellKind::kLstm;
    if (config_.has_initial_states) {
      arguments.initial_hidden_state = floats(context.inputs[input + state]) + rows.begin * units;
      if (has_cell_state) {
        arguments.initial_cell_state = floats(context.inputs[input + state + 1]) + rows.begin * units;
      }
    }

    const Index width = config_.concatenate ? total_units_ : units;
    float* output = mutable_floats(context.outputs[config_.concatenate ? 0 : d]) +
                    (config_.concatenate ? direction.output_offset : 0);
    if (config_.return_sequences) {
      arguments.sequence_time_stride = width;
      arguments.sequence_batch_stride = timesteps * width;
      arguments.sequence_output = output + rows.begin * arguments.sequence_batch_stride;
    } else {
      arguments.last_output_stride = width;
      arguments.last_output = output + rows.begin * width;
    }
    if (config_.return_state) {
      const std::size_t first = static_cast<std::size_t>(sequence_output_count()) + state;
      arguments.final_hidden_state = mutable_floats(context.outputs[first]) + rows.begin * units;
      if (has_cell_state) {
        arguments.final_cell_state = mutable_floats(context.outputs[first + 1]) + rows.begin * units;
      }
    }
  }

  const kernels::KernelTable& table_;
  RecurrentConfig config_;
  std::vector<Direction> directions_;
  Index total_units_ = 0;
  int state_count_ = 0;
};

}  // namespace

int state_count(kernels::CellKind kind) { return kind == kernels::CellKind::kLstm ? 2 : 1; }

int gate_count(kernels::CellKind kind) {
  switch (kind) {
    case kernels::CellKind::kSimpleRnn:
      return 1;
    case kernels::CellKind::kLstm:
      return 4;
    case kernels::CellKind::kGruResetAfter:
    case kernels::CellKind::kGruResetBefore:
      return 3;
  }
  return 0;
}

OpPointer make_recurrent(const kernels::KernelTable& table, const std::vector<DirectionConfig>& directions,
                         const RecurrentConfig& config) {
  return std::make_unique<Recurrent>(table, directions, config);
}

}  // namespace unrolled
