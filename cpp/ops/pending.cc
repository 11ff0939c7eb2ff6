// SPDX-License-Identifier: MIT
// Operations that PlanBuilder already offers and that follow next: each throws.
#include "ops/factories.h"
namespace unrolled {
#define P(sig) \
  OpPointer sig { fail({"not written yet"}); }
P(make_convolution(const kernels::KernelTable&, const WeightView&, const std::optional<WeightView>&,
                   const WindowConfig&, const kernels::Activation&))
P(make_pool(const std::string&, const WindowConfig&))
P(make_reduce(const std::string&, std::vector<int>, bool))
P(make_masked_mean(bool))
P(make_softmax(const kernels::KernelTable&, int, bool))
P(make_sparsemax(int))
P(make_batch_normalization(int, const WeightView&, const WeightView&, const std::optional<WeightView>&,
                           const std::optional<WeightView>&, double))
P(make_layer_normalization(std::vector<int>, const std::optional<WeightView>&,
                           const std::optional<WeightView>&, double, bool))
P(make_apply_mask())
P(make_cast(DType))
P(make_ones_like(DType))
P(make_matmul(const kernels::KernelTable&, Operand, Operand, bool))
P(make_transpose(std::vector<int>))
P(make_slice(int, std::optional<Index>, std::optional<Index>, Index))
P(make_pad(int, Index, Index))
P(make_repeat(int, Index))
P(make_concatenate(int))
}  // namespace unrolled
