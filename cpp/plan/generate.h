// SPDX-License-Identifier: MIT
// Autoregression: a model's output becomes its next input, as it is, as the id of a token drawn from it, or
// as that token's one-hot vector.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/stream.h"

namespace unrolled {

enum class Feed { kValues, kIds, kOneHot };

struct Generation {
  Feed feed = Feed::kValues;
  Index steps = 0;
  Index width = 0;  // of an output, and of an input but for ids
  // Tokens are drawn with probabilities raised to 1 / temperature; 0: the most likely one, the first of
  // equals.
  double temperature = 0.0;
  Index top_k = 0;  // only among so many most likely tokens; 0: all
  bool from_logits = false;
  std::uint64_t seed = 0;
};

// Turns outputs [rows, width] into the next inputs [rows] (ids) or [rows, width]. Every row draws from its
// own random numbers: what it gets does not depend on the rows beside it. Throws std::invalid_argument on
// outputs that are no probabilities.
class Sampler {
 public:
  Sampler(const Generation& generation, Index rows);
  void next(const float* outputs, void* inputs);

 private:
  Index draw(const float* scores, Index row);

  Generation generation_;
  Index rows_;
  std::vector<std::uint64_t> random_;  // by row
  std::vector<double> weights_;
  std::vector<Index> order_;
};

// `results`: [rows, steps] ids, or [rows, steps, width] values. Begins with what follows from `outputs`, the
// last ones of the stream, which ends one step behind the results. Where this throws the stream is as before.
void generate(Stream& stream, const Generation& generation, const float* outputs, void* results, Stop& stop);

// The same from the last timesteps only: `window` [rows, timesteps, ...] is given to the plan again and
// again, moved on by one timestep each time. It is overwritten.
void generate(const Plan& plan, const TensorType& window_type, const Generation& generation, void* window,
              void* results, Stop& stop);

}  // namespace unrolled
