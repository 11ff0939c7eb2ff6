// SPDX-License-Identifier: MIT
// An activation over all elements.
#include "ops/registry.h"

namespace unrolled {
namespace {

class Activate final : public Op {
 public:
  Activate(const Arguments& arguments, const Surroundings& surroundings)
      : table_(surroundings.table), activation_(arguments.get<kernels::Activation>("activation")) {}

  PreparedPointer prepare(Types inputs, int) const override {
    check_dtype("activate", inputs[0], DType::kFloat32);
    const Index count = element_count(inputs[0].shape);
    const Cost cost{16.0 * static_cast<double>(count)};
    return prepared(Rows::kIndependent, {inputs[0]}, {cost}, [=, this](const OpContext& context) noexcept {
      const Range range = share_of(count, context.team, kGrain);
      table_.activate(activation_, floats(context.inputs[0]) + range.begin,
                      mutable_floats(context.outputs[0]) + range.begin, range.end - range.begin);
    });
  }

 private:
  const kernels::KernelTable& table_;
  kernels::Activation activation_;
};

}  // namespace

OpRecord records::activate() {
  return record<Activate>("activate", {{"x", kOperand}, {"activation", kActivation}},
                          "activation(x), element by element.", kInPlace);
}

}  // namespace unrolled
