// SPDX-License-Identifier: MIT
// An activation over all elements.
#include "ops/factories.h"

namespace unrolled {
namespace {

// Elements that a thread takes at once: whole cache lines, so that no two threads write the same one.
constexpr Index kGrain = 1024;

class Activate final : public Op {
 public:
  Activate(const kernels::KernelTable& table, const kernels::Activation& activation)
      : table_(table), activation_(activation) {}

  const char* name() const override { return "activate"; }
  bool is_in_place() const override { return true; }

  void infer(std::span<const TensorType> inputs, std::span<TensorType> outputs) const override {
    check_dtype(name(), inputs[0], DType::kFloat32);
    outputs[0] = inputs[0];
  }

  Cost cost(std::span<const TensorType> inputs) const override {
    return {16.0 * static_cast<double>(element_count(inputs[0].shape))};
  }

  void run(const OpContext& context) const override {
    const Range range = share_of(element_count(context.inputs[0].type.shape), context.team, kGrain);
    table_.activate(activation_, floats(context.inputs[0]) + range.begin,
                    mutable_floats(context.outputs[0]) + range.begin, range.end - range.begin);
  }

 private:
  const kernels::KernelTable& table_;
  kernels::Activation activation_;
};

}  // namespace

OpPointer make_activate(const kernels::KernelTable& table, const kernels::Activation& activation) {
  return std::make_unique<Activate>(table, activation);
}

}  // namespace unrolled
