// SPDX-License-Identifier: MIT
// SimpleRNN, LSTM or GRU over whole sequences, in one or several directions over the same input
// (Bidirectional). Every direction writes straight to its place in the outputs; the loop itself is the
// kernel table's sweep. Here: what the team shares (directions, rows or units) and in which blocks of rows.
#include <array>

#include "ops/packed_weights.h"
#include "ops/registry.h"
#include "ops/rows.h"

namespace unrolled {
namespace {

// Below this a step is too short to share: the barrier and moving the state between cores cost more.
constexpr Index kUnitSplitBytes = 32 << 10;

enum class Split { kNone, kDirections, kRows, kUnits };

struct CellName {
  const char* name;
  kernels::CellKind kind;
  Index gates;
  int states;
};
// In the order of kernels::CellKind.
constexpr CellName kCells[] = {{"simple_rnn", kernels::CellKind::kSimpleRnn, 1, 1},
                               {"lstm", kernels::CellKind::kLstm, 4, 2},
                               {"gru_reset_after", kernels::CellKind::kGruResetAfter, 3, 1},
                               {"gru_reset_before", kernels::CellKind::kGruResetBefore, 3, 1}};

const CellName& cell_of(const Arguments& direction) {
  const std::string& name = direction.get<std::string>("cell");
  for (const CellName& cell : kCells) {
    if (name == cell.name) return cell;
  }
  fail({"direction: expected cell simple_rnn, lstm, gru_reset_after or gru_reset_before, got ", name});
}

void check_direction(const Arguments& given) {
  const CellName& cell = cell_of(given);
  const Array& kernel = given.get<Array>("kernel");
  const Array& recurrent_kernel = given.get<Array>("recurrent_kernel");
  const Array* bias = given.find<Array>("bias");
  const auto check = [](const char* what, const Array& got, const Shape& expected) {
    if (!(got.shape == expected)) {
      fail({"direction: expected ", what, " of shape ", to_string(expected), ", got ", to_string(got.shape)});
    }
  };
  if (recurrent_kernel.shape.rank != 2 || recurrent_kernel.shape.dims[0] < 1) {
    fail({"direction: expected a recurrent_kernel of shape (units, gates * units), got ",
          to_string(recurrent_kernel.shape)});
  }
  const Index units = recurrent_kernel.shape.dims[0];
  const Index columns = multiply(cell.gates, units);
  check("a recurrent_kernel", recurrent_kernel, make_shape(std::array{units, columns}));
  const Index features = kernel.shape.rank == 2 ? kernel.shape.dims[0] : 0;
  if (features < 1) {
    fail({"direction: expected a kernel of shape (features, ", std::to_string(columns), "), got ",
          to_string(kernel.shape)});
  }
  check("a kernel", kernel, make_shape(std::array{features, columns}));
  if (bias == nullptr) return;
  const bool has_two = cell.kind == kernels::CellKind::kGruResetAfter;
  check("a bias", *bias,
        has_two ? make_shape(std::array{Index{2}, columns}) : make_shape(std::array{columns}));
}

struct Direction {
  kernels::CellShape shape;
  int state_count = 1;
  PackedWeights packed;
  Index recurrent_bytes = 0;
  Index output_offset = 0;      // the first of its units in a concatenated output
  std::size_t first_state = 0;  // among those of all directions
  kernels::TimeLoop loop;
};

class Recurrent final : public Op {
 public:
  Recurrent(const Arguments& given, const Surroundings& surroundings)
      : table_(surroundings.table),
        has_mask_(given.find<Index>("mask") != nullptr),
        return_sequences_(given.get<bool>("return_sequences")),
        return_state_(given.get<bool>("return_state")),
        concatenate_(given.get<bool>("concatenate")) {
    for (const Arguments& from : given.get<std::vector<Arguments>>("directions")) {
      const CellName& cell = cell_of(from);
      const Array& kernel = from.get<Array>("kernel");
      const Array& recurrent_kernel = from.get<Array>("recurrent_kernel");
      const Array* bias = from.find<Array>("bias");
      Direction to;
      to.shape.kind = cell.kind;
      to.shape.features = kernel.shape.dims[0];
      to.shape.units = recurrent_kernel.shape.dims[0];
      to.shape.activation = from.get<kernels::Activation>("activation");
      to.shape.recurrent_activation = from.get<kernels::Activation>("recurrent_activation");
      to.state_count = cell.states;
      to.loop = time_loop(from);
      if (!directions_.empty() && to.shape.features != directions_[0].shape.features) {
        fail({"recurrent: expected all directions to read ", std::to_string(directions_[0].shape.features),
              " features, got ", std::to_string(to.shape.features)});
      }
      to.packed =
          PackedWeights(table_.cell_packed_floats(to.shape) * size_of(DType::kFloat32),
                        [&table = table_, shape = to.shape, kernel, recurrent_kernel,
                         bias = bias ? *bias : Array{}](float* packed) {
                          table.pack_cell(shape, {kernel.data, recurrent_kernel.data, bias.data}, packed);
                        });
      to.recurrent_bytes = cell.gates * to.shape.units * to.shape.units * size_of(DType::kFloat32);
      to.output_offset = total_units_;
      to.first_state = state_count_;
      total_units_ += to.shape.units;
      state_count_ += static_cast<std::size_t>(cell.states);
      directions_.push_back(std::move(to));
    }
    if (directions_.empty()) fail({"recurrent: expected at least one direction"});
    name_ = kCells[static_cast<std::size_t>(directions_[0].shape.kind)].name;
    const std::size_t initial = given.get<std::vector<Index>>("initial_states").size();
    has_initial_states_ = initial > 0;
    if (has_initial_states_ && initial != state_count_) {
      fail({"recurrent: expected ", std::to_string(state_count_), " initial states or none, got ",
            std::to_string(initial)});
    }
  }

  int output_count() const override {
    return static_cast<int>(sequence_output_count() + (return_state_ ? state_count_ : 0));
  }

  void make_ready() const override {
    for (const Direction& direction : directions_) direction.packed.make_ready();
  }

  PreparedPointer prepare(Types inputs, int team_size) const override {
    const TensorType& x = inputs[0];
    const Index features = directions_[0].shape.features;
    check_dtype(name_, x, DType::kFloat32);
    if (x.shape.rank != 3 || x.shape.dims[2] != features) {
      fail(
          {name_, ": expected (batch, timesteps, ", std::to_string(features), "), got ", to_string(x.shape)});
    }
    const Index batch = x.shape.dims[0];
    const Index timesteps = x.shape.dims[1];
    if (timesteps < 1) fail({name_, ": expected at least one timestep, got ", to_string(x.shape)});
    std::size_t next = 1;
    if (has_mask_) {
      check_type(name_, "mask", inputs[next++], {DType::kBool, make_shape(std::array{batch, timesteps})});
    }
    std::vector<TensorType> outputs;
    const auto put = [&](Index units, bool sequences) {
      outputs.push_back({DType::kFloat32, sequences ? make_shape(std::array{batch, timesteps, units})
                                                    : make_shape(std::array{batch, units})});
    };
    if (concatenate_) put(total_units_, return_sequences_);
    Cost cost;
    cost.is_sequential = true;
    const double steps = static_cast<double>(timesteps);
    for (const Direction& direction : directions_) {
      if (!concatenate_) put(direction.shape.units, return_sequences_);
      for (int i = 0; has_initial_states_ && i < direction.state_count; ++i) {
        check_type(name_, "initial state", inputs[next++],
                   {DType::kFloat32, make_shape(std::array{batch, direction.shape.units})});
      }
      const double weights = static_cast<double>(direction.packed.bytes());
      cost.flops += static_cast<double>(batch) * steps *
                    (weights / 2.0 + 64.0 * static_cast<double>(direction.shape.units));
      cost.weight_bytes += steps * weights;
      cost.resident_bytes = std::max(cost.resident_bytes, weights);
    }
    for (const Direction& direction : directions_) {
      for (int i = 0; return_state_ && i < direction.state_count; ++i) put(direction.shape.units, false);
    }
    Geometry geometry{batch, timesteps, split_for(batch, team_size), 0};
    geometry.slot = scratch_slot(geometry, team_size);
    const int slots = geometry.split == Split::kUnits ? 1 : team_size;
    return prepared(Rows::kIndependent, std::move(outputs), {cost, multiply(geometry.slot, slots)},
                    [=, this](const OpContext& context) noexcept { run(geometry, context); });
  }

 private:
  struct Geometry {
    Index batch;
    Index timesteps;
    Split split;
    Index slot;  // scratch of one sweep: of one thread, or of the whole team when it shares the units
  };

  void run(const Geometry& geometry, const OpContext& context) const {
    const Team& team = context.team;
    const Split split = geometry.split;
    const Range rows = split == Split::kRows ? share_of(geometry.batch, team) : Range{0, geometry.batch};
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
        set_rows(geometry, context, d, {rows.begin + part.begin, rows.begin + part.end}, arguments);
        arguments.scratch = own_scratch(context, split == Split::kUnits ? 0 : geometry.slot);
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

  std::size_t sequence_output_count() const { return concatenate_ ? 1 : directions_.size(); }

  Split split_for(Index batch, int team_size) const {
    if (team_size == 1) return Split::kNone;
    if (directions_.size() % static_cast<std::size_t>(team_size) == 0) return Split::kDirections;
    Index weights = 0;
    Index recurrent = 0;
    for (const Direction& direction : directions_) {
      weights = std::max(weights, direction.packed.bytes());
      recurrent = std::max(recurrent, direction.recurrent_bytes);
    }
    if (batch >= std::max(4, 2 * team_size) && is_resident(static_cast<double>(weights))) return Split::kRows;
    if (recurrent >= kUnitSplitBytes) return Split::kUnits;
    return directions_.size() > 1 ? Split::kDirections : Split::kNone;
  }

  static Index block_rows(const Direction& direction) {
    return rows_at_once(static_cast<double>(direction.packed.bytes()));
  }

  static Index block_count(Index rows, Split split, const Direction& direction) {
    const Index limit = split == Split::kUnits ? kStreamedBlock : block_rows(direction);
    return (rows + limit - 1) / limit;
  }

  Index scratch_slot(const Geometry& geometry, int team_size) const {
    const bool by_units = geometry.split == Split::kUnits;
    Index slot = 0;
    for (const Direction& direction : directions_) {
      const Index limit = by_units ? kStreamedBlock : block_rows(direction);
      const Index rows = std::clamp<Index>(geometry.batch, 1, limit);
      slot = std::max(slot, table_.sweep_scratch_bytes(direction.shape, rows, geometry.timesteps,
                                                       by_units ? team_size : 1));
    }
    return align_up(slot);
  }

  void set_rows(const Geometry& geometry, const OpContext& context, std::size_t d, Range rows,
                kernels::SweepArguments& arguments) const {
    const Direction& direction = directions_[d];
    const Index units = direction.shape.units;
    const Index timesteps = geometry.timesteps;
    arguments.shape = direction.shape;
    arguments.packed = direction.packed.floats();
    arguments.batch = rows.end - rows.begin;
    arguments.timesteps = timesteps;
    arguments.x_time_stride = direction.shape.features;
    arguments.x_batch_stride = timesteps * direction.shape.features;
    arguments.x = floats(context.inputs[0]) + rows.begin * arguments.x_batch_stride;
    arguments.loop = direction.loop;

    std::size_t input = 1;
    if (has_mask_) {
      arguments.mask = bytes(context.inputs[input++]) + rows.begin * timesteps;
      arguments.mask_batch_stride = timesteps;
    }
    const std::size_t state = direction.first_state;
    const bool has_cell_state = direction.shape.kind == kernels::CellKind::kLstm;
    if (has_initial_states_) {
      arguments.initial_hidden_state = floats(context.inputs[input + state]) + rows.begin * units;
      if (has_cell_state) {
        arguments.initial_cell_state = floats(context.inputs[input + state + 1]) + rows.begin * units;
      }
    }

    const Index width = concatenate_ ? total_units_ : units;
    float* output =
        mutable_floats(context.outputs[concatenate_ ? 0 : d]) + (concatenate_ ? direction.output_offset : 0);
    if (return_sequences_) {
      arguments.sequence_time_stride = width;
      arguments.sequence_batch_stride = timesteps * width;
      arguments.sequence_output = output + rows.begin * arguments.sequence_batch_stride;
    } else {
      arguments.last_output_stride = width;
      arguments.last_output = output + rows.begin * width;
    }
    if (return_state_) {
      const std::size_t first = sequence_output_count() + state;
      arguments.final_hidden_state = mutable_floats(context.outputs[first]) + rows.begin * units;
      if (has_cell_state) {
        arguments.final_cell_state = mutable_floats(context.outputs[first + 1]) + rows.begin * units;
      }
    }
  }

  const kernels::KernelTable& table_;
  const char* name_ = nullptr;
  bool has_mask_;
  bool has_initial_states_ = false;
  bool return_sequences_;
  bool return_state_;
  bool concatenate_;
  std::vector<Direction> directions_;
  Index total_units_ = 0;
  std::size_t state_count_ = 0;
};

}  // namespace

const Schema& direction_schema() {
  static const Schema schema("direction",
                             {{"*"},
                              {"cell", Kind::kString},
                              {"kernel", Kind::kArray},
                              {"recurrent_kernel", Kind::kArray},
                              {"bias", Kind::kArray, kOrNone},
                              {"activation", Kind::kActivation},
                              {"recurrent_activation", Kind::kActivation},
                              {"read_reversed", Kind::kBool, false},
                              {"write_reversed", Kind::kBool, false},
                              {"zero_output_for_mask", Kind::kBool, false},
                              {"masked_output_is_state", Kind::kBool, false}},
                             &check_direction);
  return schema;
}

OpRecord records::recurrent() {
  return record<Recurrent>(
      "recurrent",
      {{"x", kOperand},
       {"directions", direction_schema()},
       {"*"},
       {"mask", kOperand, kNoneByDefault},
       {"initial_states", kOperands, std::vector<Index>{}},
       {"return_sequences", kBool, false},
       {"return_state", kBool, false},
       {"concatenate", kBool, false}},
      "Sweeps over x [batch, timesteps, features]: the output of each direction or (concatenate) one of all "
      "units, then (return_state) the states. Initial states by direction: h, then c for LSTM; none: zeros.",
      kOwn, true);
}

}  // namespace unrolled
