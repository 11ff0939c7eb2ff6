// SPDX-License-Identifier: MIT
// The operations there are, and what makes a Plan of them.
#pragma once

#include <memory>
#include <vector>

#include "base/process.h"
#include "plan/plan.h"

namespace unrolled {

// Every operation, in the order of ops/registry.h.
const std::vector<OpRecord>& operations();

// Adds operations to a graph until it is finished. Values are ids, counted from 0. May be shared by threads:
// each call is done as a whole. Everything throws std::invalid_argument once the builder is finished.
class Builder {
 public:
  int input(DType dtype, int rank);
  int constant(const TensorType& type, const void* data);
  // The outputs of the operation. Its arguments stay with it, see Graph::nodes.
  std::vector<int> add(const OpRecord& record, Arguments arguments);
  std::shared_ptr<Plan> finish(std::vector<int> outputs);

 private:
  Graph& graph();

  ForkSafeMutex mutex_;
  Graph graph_;
  bool is_finished_ = false;
};

}  // namespace unrolled
