// SPDX-License-Identifier: MIT
// What Stream and StreamPool of the module share: how Python's values become the plan's. Arrays that are
// right already cost no conversion; others go through the Python function `convert` first. For cpp/bindings
// only.
#pragma once

#include <string>

#include "bindings/bindings.h"
#include "plan/stream_plan.h"

namespace unrolled::bindings {

class Caller {
 public:
  Caller(const Plan& plan, const std::vector<std::vector<Index>>& input_shapes,
         const std::vector<std::tuple<std::string, std::vector<Index>, double>>& states,
         std::vector<bool> sequence_outputs, py::function convert);

  const StreamPlan& plan() const { return plan_; }
  std::size_t input_count() const { return plan_.inputs.size(); }
  std::size_t output_count() const { return plan_.output_count; }

  // The inputs of a step, (rows, ...), or of a block, (rows, timesteps, ...). `rows` or `timesteps` below 0
  // is taken from the first input.
  void take_inputs(py::handle given, Index& rows, Index* timesteps, std::span<py::object> arrays,
                   std::span<const void*> from) const;

  // Type of an output as the caller gets it: a step has no time axis.
  TensorType output_type(std::size_t index, const TensorType& type, bool is_step) const;

  // Fresh outputs, or those that the caller gave; what the caller gets back.
  py::object take_outputs(std::span<const TensorType> types, bool is_step, py::handle given,
                          std::span<py::object> inputs, std::span<void*> to) const;

 private:
  bool fits(const py::array& array, const TensorType& type, Index rows, const Index* timesteps) const;

  const void* take_input(std::size_t index, py::handle given, Index& rows, Index* timesteps,
                         py::object& keeper) const;

  py::object take_output(std::size_t index, const TensorType& type, bool is_step, py::handle given,
                         std::span<py::object> inputs, void*& to) const;

  StreamPlan plan_;
  std::vector<bool> sequence_outputs_;
  py::function convert_;
};

// A new array for a state of so many rows.
py::array state_array(const CarriedState& state, Index rows);
// `given`, checked to be such a state.
py::array check_state(const CarriedState& state, Index rows, std::size_t index, py::handle given);

template <typename Bound>
std::unique_ptr<Bound> make(const Plan& plan, Index rows, const std::vector<std::vector<Index>>& input_shapes,
                            const std::vector<std::tuple<std::string, std::vector<Index>, double>>& states,
                            std::vector<bool> sequence_outputs, py::function convert) {
  return std::make_unique<Bound>(
      Caller(plan, input_shapes, states, std::move(sequence_outputs), std::move(convert)), rows);
}

}  // namespace unrolled::bindings
