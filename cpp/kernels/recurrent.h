// SPDX-License-Identifier: MIT
// The loop over time of every recurrent cell (SweepArguments in table.h says what it computes). Included by
// the per-ISA kernel files only.
#pragma once

#include "kernels/sweep_scratch.h"

namespace unrolled::kernels::UNROLLED_ISA_NAME {
namespace {

// Recurrent weights of one thread beyond this do not stay in its second-level cache from step to step: the
// next panel is prefetched while the row blocks of one go by.
inline constexpr Index kResidentBytes = 1 << 20;

// Weights that stay in a first-level cache, beside the state and the sums.
inline constexpr Index kFirstLevelBytes = 24 << 10;

template <CellKind K, bool kTanhSigmoid>
class Sweep {
  using Traits = CellTraits<K>;
  static constexpr int kPanel = Traits::kPanelVectors;
  static constexpr Index kRows = kTileRows<kPanel>;
  // A single row with the usual activations stays in registers (single_row.h).
  static constexpr bool kInRegisters = kTanhSigmoid && K != CellKind::kGruResetBefore;
  // Otherwise it takes several granules at once, see kSingleRowPanels.
  static constexpr Index kGranulePanels = Traits::kGranuleBlocks * Traits::kPart[0].gates / kPanel;
  static constexpr Index kSingleRowGranules =
      kSingleRowPanels<kPanel> >= kGranulePanels ? kSingleRowPanels<kPanel> / kGranulePanels : 1;
  // Vectors of the largest tile: several rows of one granule, or one row of several.
  static constexpr Index kGranuleVectors = kGranulePanels * kPanel;
  static constexpr Index kTileVectors =
      kGranuleVectors * (kRows > kSingleRowGranules ? kRows : kSingleRowGranules);

 public:
  explicit Sweep(const SweepArguments& arguments)
      : a_(arguments),
        cell_(arguments.shape, arguments.packed),
        projection_(choose_projection<K>(a_.batch, a_.timesteps, a_.team.size)),
        stride_(cell_.padded_units()),
        first_granule_(granules() * a_.team.index / a_.team.size),
        end_granule_(granules() * (a_.team.index + 1) / a_.team.size),
        groups_(end_granule_ - first_granule_, group_granules()),
        row_blocks_(a_.batch, kRows),
        first_block_(granule_block(first_granule_)),
        last_block_(granule_block(end_granule_)) {
    const ScratchLayout<K> layout(cell_, a_.batch, a_.timesteps, a_.team.size);
    float* floats = static_cast<float*>(a_.scratch);
    hidden_[0] = floats;
    hidden_[1] = floats + layout.state_floats;
    cell_state_ = floats + 2 * layout.state_floats;
    update_ = floats + 3 * layout.state_floats;
    projected_ = floats + 4 * layout.state_floats;
    char* bytes = reinterpret_cast<char*>(projected_ + layout.projected_floats);
    if (a_.mask != nullptr && !a_.loop.zero_output_for_mask) {
      first_unmasked_ = reinterpret_cast<Index*>(bytes + a_.team.index * layout.first_unmasked_bytes);
    }
    const Index vectors = (last_block_ - first_block_) * Traits::kGates;
    prefetches_ = vectors * kLanes * cell_.units * static_cast<Index>(sizeof(float)) > kResidentBytes;
  }

  void run() {
    find_first_unmasked();
    begin_states();
    if (wait()) return;
    if constexpr (kInRegisters) {
      if (a_.batch == 1) return run_in_registers();
    }
    for (Index step = 0; step < a_.timesteps; ++step) {
      if (projection_.steps > 0 && step % projection_.steps == 0) project(step);
      walk_blocks(step, [&](Index block, Index last, Index ahead) { run_group(step, block, last, ahead); });
      if constexpr (K == CellKind::kGruResetBefore) {
        if (wait()) return;
        walk_blocks(step, [&](Index block, Index last, Index) { run_candidate(step, block, last); });
      }
      if (wait()) return;
    }
    end_states(hidden_[a_.timesteps % 2]);
  }

 private:
  // Whether the run is to end.
  bool wait() const {
    if (a_.team.size > 1) return a_.team.wait(a_.team.barrier, a_.team.index);
    return a_.team.should_stop != nullptr && a_.team.should_stop(a_.team.stop);
  }

  Index read_time(Index step) const { return a_.loop.read_reversed ? a_.timesteps - 1 - step : step; }
  Index write_time(Index step) const { return a_.loop.write_reversed ? a_.timesteps - 1 - step : step; }
  Index first_unit() const { return first_block_ * kLanes; }
  Index last_unit() const { return last_block_ * kLanes; }

  Index granules() const { return ceil_divide(cell_.blocks, Traits::kGranuleBlocks); }
  Index group_granules() const {
    if (a_.batch > 1) return 1;
    if constexpr (kInRegisters) {
      constexpr Index kMost = kMaxRegisterBlocks<K> / Traits::kGranuleBlocks;
      const Index own = end_granule_ - first_granule_;
      const Index bytes = own * kGranuleVectors * kLanes * cell_.units * static_cast<Index>(sizeof(float));
      // Of what does not fit the first-level cache, groups in alternating order find a part there.
      return bytes > kFirstLevelBytes ? smaller(kMost, ceil_divide(own, 2)) : kMost;
    } else {
      return kSingleRowGranules;
    }
  }
  Index granule_block(Index granule) const { return smaller(granule * Traits::kGranuleBlocks, cell_.blocks); }
  Index group_block(Index group) const { return granule_block(first_granule_ + groups_.begin(group)); }

  // The groups of blocks that are computed together; every second step backwards: what the last step read
  // last is still in the cache.
  template <class F>
  UNROLLED_INLINE void walk_blocks(Index step, F run_group) const {
    for (Index i = 0; i < groups_.count; ++i) {
      const Index group = step % 2 == 0 ? i : groups_.count - 1 - i;
      // Where the next group starts from; the last group of a step is the first of the next one.
      const Index next =
          i + 1 < groups_.count ? group_block(step % 2 == 0 ? group + 1 : group - 1) : group_block(group);
      run_group(group_block(group), group_block(group + 1), next - group_block(group));
    }
  }

  void find_first_unmasked() {
    if (first_unmasked_ == nullptr) return;
    for (Index row = 0; row < a_.batch; ++row) {
      const std::uint8_t* mask = a_.mask + row * a_.mask_batch_stride;
      Index step = 0;
      while (!a_.loop.masked_output_is_state && step < a_.timesteps && mask[read_time(step)] == 0) ++step;
      first_unmasked_[row] = step;
    }
  }

  // This thread's units of a state, zeros where none is given and in the padding.
  void begin_state(const float* initial, float* state) const {
    for (Index row = 0; row < a_.batch; ++row) {
      for (Index unit = first_unit(); unit < last_unit(); unit += kLanes) {
        const Vector v =
            initial == nullptr ? Vector::zero() : load_units(initial + row * cell_.units, unit, cell_.units);
        v.store(state + row * stride_ + unit);
      }
    }
  }

  void begin_states() {
    begin_state(a_.initial_hidden_state, hidden_[0]);
    if (K == CellKind::kLstm) begin_state(a_.initial_cell_state, cell_state_);
  }

  // This thread's units of one row into a caller's array of units.
  void put_units(const float* state, float* to) const {
    for (Index unit = first_unit(); unit < last_unit(); unit += kLanes) {
      store_units(to, unit, cell_.units, state == nullptr ? Vector::zero() : Vector::load(state + unit));
    }
  }

  void end_states(const float* hidden) const {
    for (Index row = 0; row < a_.batch; ++row) {
      const float* h = hidden + row * stride_;
      if (a_.final_hidden_state != nullptr) put_units(h, a_.final_hidden_state + row * cell_.units);
      if (a_.last_output != nullptr) {
        put_units(last_output_is_hidden(row) ? h : nullptr, a_.last_output + row * a_.last_output_stride);
      }
      if (K == CellKind::kLstm && a_.final_cell_state != nullptr) {
        put_units(cell_state_ + row * stride_, a_.final_cell_state + row * cell_.units);
      }
    }
  }

  bool last_output_is_hidden(Index row) const {
    if (a_.timesteps == 0) return false;
    if (a_.mask == nullptr) return true;
    if (first_unmasked_ != nullptr) return first_unmasked_[row] < a_.timesteps;
    return a_.mask[row * a_.mask_batch_stride + read_time(a_.timesteps - 1)] != 0;
  }

  // The input part of this thread's vectors for the timesteps from `step` on, rows ordered [step][row].
  void project(Index step) const {
    const Index steps = smaller(projection_.steps, a_.timesteps - step);
    const Index row_floats = cell_.vectors * kLanes;
    const Index time_stride = a_.loop.read_reversed ? -a_.x_time_stride : a_.x_time_stride;
    const float* x = a_.x + read_time(step) * a_.x_time_stride;
    // Tiles run along the longer of time and batch.
    const bool along_time = steps >= a_.batch;
    const EqualBlocks blocks(along_time ? steps : a_.batch, kRows);
    const Index width = (along_time ? steps : a_.batch) == 1 ? kPanel * kSingleRowPanels<kPanel> : kPanel;
    const Index across = along_time ? a_.batch : steps;
    const Index x_stride = along_time ? time_stride : a_.x_batch_stride;
    const Index x_across = along_time ? a_.x_batch_stride : time_stride;
    const Index row_stride = along_time ? a_.batch * row_floats : row_floats;
    const Index row_across = along_time ? row_floats : a_.batch * row_floats;
    for (int part = 0; part < Traits::kParts; ++part) {
      const auto matrix = cell_.kernel_part(part);
      const Index last = last_block_ * cell_.gates(part);
      const Index offset = cell_.first_vector(part) * kLanes;
      for (Index v = first_block_ * cell_.gates(part); v < last; v += width) {
        const Index next = smaller(v + width, last);
        const Index column = offset + v * kLanes;
        for (Index i = 0; i < across; ++i) {
          for (Index block = 0; block < blocks.count; ++block) {
            const Index r = blocks.begin(block);
            multiply(matrix, v, next,
                     Product{x + i * x_across + r * x_stride, x_stride, blocks.begin(block + 1) - r,
                             cell_.bias + column, 0, projected_ + i * row_across + r * row_stride + column,
                             row_stride});
          }
        }
      }
    }
  }

  void run_in_registers() {
    RegisterSteps s{cell_.recurrent_depth};
    s.row_floats = cell_.vectors * kLanes;
    s.output_stride = a_.loop.write_reversed ? -a_.sequence_time_stride : a_.sequence_time_stride;
    const bool is_whole = groups_.count == 1 && a_.team.size == 1 && a_.mask == nullptr;
    Index computed = 0;
    for (Index step = 0; step < a_.timesteps;) {
      const Index ahead = step % projection_.steps;
      if (ahead == 0) project(step);
      if (a_.mask != nullptr && a_.mask[read_time(step)] == 0) {
        put_masked_output(step++);
        if (a_.team.size == 1 && wait()) return;
        continue;
      }
      s.steps = is_whole ? smaller(projection_.steps, a_.timesteps - step) : 1;
      walk_blocks(computed++, [&](Index block, Index last, Index) {
        const Index unit = block * kLanes;
        const Index column = block * Traits::kGates * kLanes;
        s.projected = projected_ + ahead * s.row_floats + column;
        s.recurrent_bias = cell_.recurrent_bias + column;
        s.recurrent = cell_.recurrent + column * cell_.units;
        s.h = hidden_[0];
        s.h_before = hidden_[0] + unit;
        s.h_next = hidden_[is_whole ? 0 : 1] + unit;
        s.c = cell_state_ + unit;
        s.output = a_.sequence_output == nullptr ? nullptr : output_at(step) + unit;
        s.output_units = cell_.units - unit;
        run_register_steps_of<K>(last - block, s);
      });
      step += s.steps;
      if (is_whole) {
        if (wait()) return;
        continue;
      }
      float* written = hidden_[1];
      hidden_[1] = hidden_[0];
      hidden_[0] = written;
      if (wait()) return;
    }
    end_states(hidden_[0]);
  }

  float* output_at(Index step) const {
    return a_.sequence_output + write_time(step) * a_.sequence_time_stride;
  }

  // Of a masked step of a single row, see keep_hidden.
  void put_masked_output(Index step) const {
    if (a_.sequence_output == nullptr) return;
    const bool repeats = first_unmasked_ != nullptr && step >= first_unmasked_[0];
    put_units(repeats ? hidden_[0] : nullptr, output_at(step));
  }

  StateRows state_rows(Index step, Index row, Index unit) const {
    StateRows s;
    const Index at = row * stride_ + unit;
    s.h = hidden_[step % 2] + at;
    s.h_next = hidden_[(step + 1) % 2] + at;
    s.c = cell_state_ + at;
    s.stride = stride_;
    s.output =
        a_.sequence_output == nullptr ? nullptr : output_at(step) + row * a_.sequence_batch_stride + unit;
    s.output_stride = a_.sequence_batch_stride;
    s.units = cell_.units - unit;
    s.mask = a_.mask == nullptr ? nullptr : a_.mask + row * a_.mask_batch_stride + read_time(step);
    s.mask_stride = a_.mask_batch_stride;
    s.first_unmasked = first_unmasked_ == nullptr ? nullptr : first_unmasked_ + row;
    s.step = step;
    return s;
  }

  // The projected input of rows from `row` on.
  float* projected(Index step, Index row) const {
    return projected_ + ((step % projection_.steps) * a_.batch + row) * cell_.vectors * kLanes;
  }

  // Part 0 of blocks `block` to `last`: all gates, or those of GRU with reset_before that come before its
  // candidate.
  void run_group(Index step, Index block, Index last, Index ahead) const {
    const Index gates = cell_.gates(0);
    const Index first_vector = block * gates;
    const Index last_vector = last * gates;
    const Index column = first_vector * kLanes;
    const Index tile_stride = (last_vector - first_vector) * kLanes;
    const auto kernel = cell_.kernel_part(0);
    const auto recurrent = cell_.recurrent_part(0);
    const Index row_floats = cell_.vectors * kLanes;
    const float* h = hidden_[step % 2];
    const float* x = a_.x + read_time(step) * a_.x_time_stride;
    const Index ahead_vectors = prefetches_ && row_blocks_.count > 1 ? ahead * gates : 0;
    alignas(64) float tile[kTileVectors * kLanes];
    alignas(64) float input[K == CellKind::kGruResetAfter ? kTileVectors * kLanes : 1];
    for (Index i = 0; i < row_blocks_.count; ++i) {
      const Index row = row_blocks_.begin(i);
      const Index rows = row_blocks_.begin(i + 1) - row;
      const float* init = cell_.bias + column;
      Index init_stride = 0;
      if (projection_.steps > 0) {
        init = projected(step, row) + column;
        init_stride = row_floats;
      } else {
        float* to = K == CellKind::kGruResetAfter ? input : tile;
        multiply(kernel, first_vector, last_vector,
                 Product{x + row * a_.x_batch_stride, a_.x_batch_stride, rows, init, 0, to, tile_stride,
                         ahead_vectors, i, row_blocks_.count});
        init = to;
        init_stride = tile_stride;
      }
      const StateRows s = state_rows(step, row, block * kLanes);
      if constexpr (K == CellKind::kGruResetAfter) {
        multiply(recurrent, first_vector, last_vector,
                 Product{h + row * stride_, stride_, rows, cell_.recurrent_bias + column, 0, tile,
                         tile_stride, ahead_vectors, i, row_blocks_.count});
        // The input part may be overwritten: it is this step's alone.
        float* input_part = projection_.steps > 0 ? projected(step, row) + column : input;
        finish_gru_reset_after<kTanhSigmoid>(a_.shape, input_part, init_stride, tile, tile_stride, rows,
                                             last - block, s);
      } else {
        multiply(recurrent, first_vector, last_vector,
                 Product{h + row * stride_, stride_, rows, init, init_stride, tile, tile_stride,
                         ahead_vectors, i, row_blocks_.count});
        if constexpr (K == CellKind::kLstm) {
          finish_lstm<kTanhSigmoid>(a_.shape, tile, tile_stride, rows, last - block, s);
        } else if constexpr (K == CellKind::kSimpleRnn) {
          finish_simple_rnn<kTanhSigmoid>(a_.shape, tile, tile_stride, rows, last - block, s);
        } else {
          const Index at = row * stride_ + block * kLanes;
          finish_gru_gates<kTanhSigmoid>(a_.shape, tile, tile_stride, rows, last - block, s, update_ + at,
                                         cell_state_ + at);
        }
      }
    }
  }

  // GRU with reset_before: the candidate of blocks `block` to `last`, from r h of all units.
  void run_candidate(Index step, Index block, Index last) const {
    const Index tile_stride = (last - block) * kLanes;
    const Index column = (cell_.first_vector(Traits::kParts - 1) + block) * kLanes;
    const auto recurrent = cell_.recurrent_part(Traits::kParts - 1);
    alignas(64) float tile[kTileVectors * kLanes];
    for (Index i = 0; i < row_blocks_.count; ++i) {
      const Index row = row_blocks_.begin(i);
      const Index rows = row_blocks_.begin(i + 1) - row;
      multiply(recurrent, block, last,
               Product{cell_state_ + row * stride_, stride_, rows, projected(step, row) + column,
                       cell_.vectors * kLanes, tile, tile_stride});
      finish_gru_candidate<kTanhSigmoid>(a_.shape, tile, tile_stride, rows, last - block,
                                         state_rows(step, row, block * kLanes),
                                         update_ + row * stride_ + block * kLanes);
    }
  }

  const SweepArguments& a_;
  PackedCell<K> cell_;
  Projection projection_;
  Index stride_;  // of a row of every state buffer
  float* hidden_[2];
  float* cell_state_;  // GRU with reset_before: r h
  float* update_;      // GRU with reset_before: z
  float* projected_;
  Index* first_unmasked_ = nullptr;
  bool prefetches_;
  // What this thread computes: granules, in groups that are computed together, and their blocks.
  Index first_granule_;
  Index end_granule_;
  EqualBlocks groups_;
  EqualBlocks row_blocks_;
  Index first_block_;
  Index last_block_;
};

template <CellKind K>
void sweep_of(const SweepArguments& arguments) {
  const bool is_tanh_sigmoid =
      arguments.shape.activation.kind == ActivationKind::kTanh &&
      (K == CellKind::kSimpleRnn || arguments.shape.recurrent_activation.kind == ActivationKind::kSigmoid);
  if (is_tanh_sigmoid) {
    Sweep<K, true>(arguments).run();
  } else {
    Sweep<K, false>(arguments).run();
  }
}

}  // namespace
}  // namespace unrolled::kernels::UNROLLED_ISA_NAME
