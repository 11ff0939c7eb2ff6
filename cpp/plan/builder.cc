// SPDX-License-Identifier: MIT
#include "plan/builder.h"

#include "ops/registry.h"

namespace unrolled {

const std::vector<OpRecord>& operations() {
#define UNROLLED_RECORD(name) records::name(),
  static const std::vector<OpRecord> all{UNROLLED_FOR_EACH_OPERATION(UNROLLED_RECORD)};
#undef UNROLLED_RECORD
  return all;
}

int Builder::input(DType dtype, int rank) {
  const ForkSafeLock lock(mutex_);
  return graph().add_input(dtype, rank);
}

int Builder::constant(const TensorType& type, const void* data) {
  const ForkSafeLock lock(mutex_);
  return graph().add_constant(type, data);
}

std::vector<int> Builder::add(const OpRecord& record, Arguments arguments) {
  const ForkSafeLock lock(mutex_);
  return graph().add(record, std::move(arguments));
}

std::shared_ptr<Plan> Builder::finish(std::vector<int> outputs) {
  const ForkSafeLock lock(mutex_);
  graph().finish(std::move(outputs));
  auto plan = std::make_shared<Plan>(std::move(graph_));
  is_finished_ = true;
  return plan;
}

Graph& Builder::graph() {
  if (is_finished_) fail({"this PlanBuilder is finished"});
  return graph_;
}

}  // namespace unrolled
