// SPDX-License-Identifier: MIT
#include "plan/generate.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

namespace unrolled {
namespace {

// Probabilities are rounded; what is further from a sum of 1 is none.
constexpr double kSumTolerance = 1e-2;

// splitmix64: every state gives a well mixed number, so that rows may begin at neighbouring ones.
std::uint64_t next_random(std::uint64_t& state) {
  state += 0x9e3779b97f4a7c15u;
  std::uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

Index token_bytes(const Generation& generation) {
  const Index size = size_of(DType::kFloat32);
  return generation.feed == Feed::kIds ? size : multiply(generation.width, size);
}

// What a result of one row and step takes: ids for one-hot inputs too.
Index result_bytes(const Generation& generation) {
  const Index size = size_of(DType::kFloat32);
  return generation.feed == Feed::kValues ? multiply(generation.width, size) : size;
}

void store(const Generation& generation, const void* inputs, Index rows, Index step, void* results) {
  const Index bytes = result_bytes(generation);
  for (Index row = 0; row < rows; ++row) {
    char* to = static_cast<char*>(results) + (row * generation.steps + step) * bytes;
    const char* from = static_cast<const char*>(inputs) + row * token_bytes(generation);
    if (generation.feed == Feed::kOneHot) {
      const auto* values = reinterpret_cast<const float*>(from);
      const auto id = static_cast<std::int32_t>(std::find(values, values + generation.width, 1.0f) - values);
      std::memcpy(to, &id, sizeof(id));
    } else {
      std::memcpy(to, from, static_cast<std::size_t>(bytes));
    }
  }
}

// A copy of a stream's states and ages.
class StreamStates {
 public:
  explicit StreamStates(Stream& stream)
      : seen_(stream.timesteps_seen().begin(), stream.timesteps_seen().end()) {
    for (std::size_t i = 0; i < stream.plan().states.size(); ++i) {
      sizes_.push_back(multiply(byte_count(stream.plan().states[i].row), stream.rows()));
      states_.emplace_back(std::max<Index>(sizes_[i], 1));
      std::memcpy(states_[i].data(), stream.state(i), static_cast<std::size_t>(sizes_[i]));
    }
  }

  void restore(Stream& stream) const {
    for (std::size_t i = 0; i < states_.size(); ++i) {
      std::memcpy(stream.state(i), states_[i].data(), static_cast<std::size_t>(sizes_[i]));
    }
    std::copy(seen_.begin(), seen_.end(), stream.timesteps_seen().begin());
  }

 private:
  std::vector<Index> sizes_;
  std::vector<AlignedBuffer> states_;
  std::vector<std::int64_t> seen_;
};

}  // namespace

Sampler::Sampler(const Generation& generation, Index rows)
    : generation_(generation), rows_(rows), random_(static_cast<std::size_t>(rows)) {
  if (generation.width < 1 || generation.steps < 0) fail({"generate: expected outputs and steps"});
  if (!(generation.temperature >= 0.0) || std::isinf(generation.temperature) || generation.top_k < 0) {
    fail({"generate: expected temperature and top_k of at least 0"});
  }
  std::uint64_t state = generation.seed;
  for (std::uint64_t& random : random_) random = next_random(state);
  weights_.resize(static_cast<std::size_t>(generation.width));
  order_.resize(static_cast<std::size_t>(generation.width));
}

Index Sampler::draw(const float* scores, Index row) {
  const Index count = generation_.width;
  double sum = 0.0;
  for (Index i = 0; i < count; ++i) {
    if (std::isnan(scores[i])) fail({"generate: the model gave NaN"});
    if (!generation_.from_logits && scores[i] < 0.0f) sum = 2.0;
    sum += static_cast<double>(scores[i]);
  }
  if (!generation_.from_logits && !(std::abs(sum - 1.0) <= kSumTolerance)) {
    fail({"generate: the model's outputs are no probabilities; from_logits says that they are logits"});
  }
  const Index best = std::max_element(scores, scores + count) - scores;
  if (generation_.temperature == 0.0) return best;

  const auto is_before = [scores](Index a, Index b) {
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
  };
  std::iota(order_.begin(), order_.end(), Index{0});
  Index kept = count;
  if (generation_.top_k > 0 && generation_.top_k < count) {
    kept = generation_.top_k;
    std::nth_element(order_.begin(), order_.begin() + (kept - 1), order_.end(), is_before);
    std::sort(order_.begin(), order_.begin() + kept);
  }
  const auto logarithm = [this](float score) {
    return generation_.from_logits ? static_cast<double>(score) : std::log(static_cast<double>(score));
  };
  const double largest = logarithm(scores[best]);
  double total = 0.0;
  for (Index i = 0; i < kept; ++i) {
    const float score = scores[order_[static_cast<std::size_t>(i)]];
    total += std::exp((logarithm(score) - largest) / generation_.temperature);
    weights_[static_cast<std::size_t>(i)] = total;
  }
  if (!std::isfinite(total)) fail({"generate: the model gave infinite logits"});
  const double at =
      static_cast<double>(next_random(random_[static_cast<std::size_t>(row)]) >> 11) * 0x1p-53 * total;
  const auto end = weights_.begin() + kept;
  const auto found = std::upper_bound(weights_.begin(), end, at);
  return order_[static_cast<std::size_t>(std::min(found, end - 1) - weights_.begin())];
}

void Sampler::next(const float* outputs, void* inputs) {
  if (generation_.feed == Feed::kValues) {
    std::memcpy(inputs, outputs, static_cast<std::size_t>(rows_ * generation_.width) * sizeof(float));
    return;
  }
  for (Index row = 0; row < rows_; ++row) {
    const Index token = draw(outputs + row * generation_.width, row);
    if (generation_.feed == Feed::kIds) {
      static_cast<std::int32_t*>(inputs)[row] = static_cast<std::int32_t>(token);
    } else {
      float* values = static_cast<float*>(inputs) + row * generation_.width;
      std::fill_n(values, generation_.width, 0.0f);
      values[token] = 1.0f;
    }
  }
}

void generate(Stream& stream, const Generation& generation, const float* outputs, void* results, Stop& stop) {
  const Index rows = stream.rows();
  Sampler sampler(generation, rows);
  AlignedBuffer inputs(std::max<Index>(multiply(rows, token_bytes(generation)), 1));
  AlignedBuffer stepped(std::max<Index>(byte_count(stream.step_outputs()[0]), 1));
  const void* const from[] = {inputs.data()};
  void* const to[] = {stepped.data()};
  const StreamStates before(stream);
  try {
    for (Index step = 0; step < generation.steps; ++step) {
      if (stop.poll()) throw Stopped();
      sampler.next(step == 0 ? outputs : stepped.floats(), inputs.data());
      store(generation, inputs.data(), rows, step, results);
      if (step + 1 < generation.steps) stream.step(from, to, stop);
    }
  } catch (...) {
    before.restore(stream);
    throw;
  }
}

void generate(const Plan& plan, const TensorType& window_type, const Generation& generation, void* window,
              void* results, Stop& stop) {
  const Index rows = window_type.shape.dims[0];
  const Index timesteps = window_type.shape.dims[1];
  Sampler sampler(generation, rows);
  const std::vector<TensorType> outputs = plan.infer({&window_type, 1});
  const Shape& shape = outputs[0].shape;
  // A sequence output: the last timestep.
  const Index skipped = shape.rank == 3 ? (shape.dims[1] - 1) * generation.width : 0;
  const Index stride = skipped + generation.width;
  AlignedBuffer whole(std::max<Index>(byte_count(outputs[0]), 1));
  AlignedBuffer last(std::max<Index>(multiply(rows, generation.width * size_of(DType::kFloat32)), 1));
  AlignedBuffer inputs(std::max<Index>(multiply(rows, token_bytes(generation)), 1));
  const void* const from[] = {window};
  void* const to[] = {whole.data()};
  const auto bytes = static_cast<std::size_t>(token_bytes(generation));
  for (Index step = 0; step < generation.steps; ++step) {
    Plan::Run(plan, {&window_type, 1}).execute(from, to, 0, 0, stop);
    for (Index row = 0; row < rows; ++row) {
      std::copy_n(whole.floats() + row * stride + skipped, generation.width,
                  last.floats() + row * generation.width);
    }
    sampler.next(last.floats(), inputs.data());
    store(generation, inputs.data(), rows, step, results);
    for (Index row = 0; row < rows; ++row) {
      char* begin = static_cast<char*>(window) + row * timesteps * static_cast<Index>(bytes);
      std::memmove(begin, begin + bytes, static_cast<std::size_t>(timesteps - 1) * bytes);
      std::memcpy(begin + static_cast<std::size_t>(timesteps - 1) * bytes,
                  static_cast<const char*>(inputs.data()) + static_cast<std::size_t>(row) * bytes, bytes);
    }
  }
}

}  // namespace unrolled
