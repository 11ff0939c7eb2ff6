// SPDX-License-Identifier: MIT
// A model as one file: its plan, the plan of its streams, and its weights, once; docs/plan_file.md has every
// byte. Opening one packs nothing: that is done by the first run.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "plan/plan.h"
#include "plan/stream.h"

namespace unrolled {

// The file is broken, hostile, or of a later version; the message says which part.
class PlanFileError final : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

// An input or output as the model's user sees it.
struct TensorDescription {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<Index> sizes;  // with the batch; -1 where any size goes
};

struct PlanFile {
  std::string name;
  std::string description;  // JSON, for Python alone: the structures of inputs and outputs
  std::vector<TensorDescription> inputs;
  std::vector<TensorDescription> outputs;
  std::shared_ptr<const Plan> plan;

  // Null where the model needs timesteps that are still to come.
  std::shared_ptr<const Plan> stream_plan;
  std::vector<CarriedState> states;
  std::vector<bool> sequence_outputs;  // whether an output of a stream has a time axis

  // How a stream calls `stream_plan`, which must be there and outlive it.
  StreamPlan stream() const;
};

inline constexpr std::size_t kPlanFileMagicSize = 8;
extern const unsigned char kPlanFileMagic[kPlanFileMagicSize];

std::vector<std::byte> write_plan_file(const PlanFile& file);

// `bytes` begin at a multiple of 64, `owner` keeps them alive and nobody changes them: the weights are used
// where they lie. `verify`: the checksum of the weights too, which reads them all. Throws PlanFileError.
PlanFile read_plan_file(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, bool verify);

}  // namespace unrolled
