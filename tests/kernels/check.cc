// SPDX-License-Identifier: MIT
// Checks the kernels of every instruction set of this machine, without Python and without the operations
// above them, so that it can be cross-compiled, emulated and run under sanitizers.
//
//   kernel_check [instruction set ..]
//
// Every cell against a textbook loop in float64, and byte for byte against itself in teams of threads, in
// parts of the batch and in parts of the sequence. Prints one line per instruction set: its name and a hash
// of all outputs, which is the same for all that have fused multiply-add. Fails if anything differs.
#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/barrier.h"
#include "kernels/dispatch.h"

namespace unrolled::kernels {
namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
// About ten roundings of numbers of order 1, carried over at most 9 steps.
constexpr double kTolerance = 5e-6;

std::size_t size(Index count) { return static_cast<std::size_t>(count); }

// Exact in float32 whatever the machine and its mathematical library: splitmix64, 23 bits of it.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  Index below(Index end) { return static_cast<Index>(bits() % static_cast<std::uint64_t>(end)); }
  template <class T, std::size_t N>
  T choose(const T (&values)[N]) {
    return values[bits() % N];
  }
  // Uniform in -scale .. scale.
  Floats floats(Index count, float scale) {
    Floats values(size(count));
    for (float& value : values) {
      value = (static_cast<float>(bits() >> 41) * 0x1p-22f - 1.0f) * scale;
    }
    return values;
  }

 private:
  std::uint64_t state_;
};

// FNV-1a over bits; NaNs count as one, because instruction sets give them different signs.
class Hash {
 public:
  void add(const Floats& values) {
    for (const float value : values) {
      std::uint32_t bits = 0x7fc00000u;
      if (!std::isnan(value)) std::memcpy(&bits, &value, sizeof(bits));
      hash_ = (hash_ ^ bits) * 0x100000001b3u;
    }
  }
  std::uint64_t value() const { return hash_; }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325u;
};

int failures = 0;

void fail(const KernelTable& table, const std::string& what) {
  if (++failures <= 20) std::fprintf(stderr, "%s: %s\n", table.name, what.c_str());
}

bool same_bytes(const float* a, const float* b, Index count) {
  return count == 0 || std::memcmp(a, b, size(count) * sizeof(float)) == 0;
}

enum class Masking { kNone, kZero, kRepeat, kState };

struct Case {
  CellShape shape;
  Index batch = 1;
  Index timesteps = 1;
  bool has_bias = false;
  bool has_states = false;
  bool reads_reversed = false;
  bool writes_reversed = false;
  Masking masking = Masking::kNone;
  Index padding = 0;  // floats between timesteps, of the input and of the output

  Index gates() const {
    return shape.kind == CellKind::kSimpleRnn ? 1 : shape.kind == CellKind::kLstm ? 4 : 3;
  }
  Index read_time(Index step) const { return reads_reversed ? timesteps - 1 - step : step; }
  Index write_time(Index step) const { return writes_reversed ? timesteps - 1 - step : step; }

  std::string text() const {
    char line[256];
    std::snprintf(line, sizeof(line),
                  "cell %d, units %td, features %td, batch %td, timesteps %td, bias %d, states %d, "
                  "reversed %d %d, masking %d, activations %d %d",
                  static_cast<int>(shape.kind), shape.units, shape.features, batch, timesteps, has_bias,
                  has_states, reads_reversed, writes_reversed, static_cast<int>(masking),
                  static_cast<int>(shape.activation.kind), static_cast<int>(shape.recurrent_activation.kind));
    return line;
  }
};

struct Numbers {
  Floats kernel, recurrent_kernel, bias, x, hidden, cell;
  std::vector<std::uint8_t> mask;

  Numbers(const Case& c, Random& random) {
    const Index units = c.shape.units;
    const Index columns = c.gates() * units;
    kernel =
        random.floats(c.shape.features * columns, 1.5f / std::sqrt(static_cast<float>(c.shape.features + 1)));
    recurrent_kernel = random.floats(units * columns, 1.2f / std::sqrt(static_cast<float>(units)));
    if (c.has_bias) bias = random.floats((c.shape.kind == CellKind::kGruResetAfter ? 2 : 1) * columns, 0.2f);
    x = random.floats(c.batch * c.timesteps * c.shape.features, 1.5f);
    if (c.has_states) {
      hidden = random.floats(c.batch * units, 0.8f);
      if (c.shape.kind == CellKind::kLstm) cell = random.floats(c.batch * units, 0.8f);
    }
    if (c.masking != Masking::kNone) {
      // Rows from all masked to all unmasked.
      mask.resize(size(c.batch * c.timesteps));
      for (Index row = 0; row < c.batch; ++row) {
        const Index masked_quarters = random.below(5);
        for (Index t = 0; t < c.timesteps; ++t) {
          mask[size(row * c.timesteps + t)] = random.below(4) >= masked_quarters;
        }
      }
    }
  }
};

template <class T>
struct Outputs {
  std::vector<T> sequence;      // [batch, timesteps, units]
  std::vector<T> last;          // [batch, units], as all below
  std::vector<T> hidden, cell;  // cell: LSTM only

  Outputs(const Case& c, Index rows, Index timesteps, T value)
      : sequence(size(rows * timesteps * c.shape.units), value),
        last(size(rows * c.shape.units), value),
        hidden(last),
        cell(c.shape.kind == CellKind::kLstm ? last : std::vector<T>()) {}
};

double activate(const Activation& activation, double x) {
  switch (activation.kind) {
    case ActivationKind::kTanh:
      return std::tanh(x);
    case ActivationKind::kSigmoid:
      return 1.0 / (1.0 + std::exp(-x));
    case ActivationKind::kSoftsign:
      return x / (1.0 + std::fabs(x));
    case ActivationKind::kHardSigmoid:
      return std::clamp(static_cast<double>(activation.alpha) * x + static_cast<double>(activation.beta), 0.0,
                        1.0);
    case ActivationKind::kRelu:
      return std::max(x, 0.0);
    default:
      return x;
  }
}

// row . matrix[.., columns] + bias, columns `first` to `last`.
Doubles product(const Doubles& row, const Floats& matrix, Index columns, Index first, Index last,
                const float* bias) {
  Doubles sums(size(columns), 0.0);
  for (Index j = first; j < last; ++j) {
    double sum = bias == nullptr ? 0.0 : static_cast<double>(bias[j]);
    for (std::size_t k = 0; k < row.size(); ++k) {
      sum += row[k] * static_cast<double>(matrix[k * size(columns) + size(j)]);
    }
    sums[size(j)] = sum;
  }
  return sums;
}

// One step of one row: Keras 3.15 keras/src/layers/rnn/{simple_rnn,lstm,gru}.py.
void reference_step(const Case& c, const Numbers& n, const Doubles& x, Doubles& h, Doubles& cell) {
  const std::size_t units = size(c.shape.units);
  const Index columns = c.gates() * c.shape.units;
  const bool reset_after = c.shape.kind == CellKind::kGruResetAfter;
  const float* bias = c.has_bias ? n.bias.data() : nullptr;
  const float* recurrent_bias = c.has_bias && reset_after ? bias + columns : nullptr;
  const Doubles a = product(x, n.kernel, columns, 0, columns, bias);
  const Doubles s = product(h, n.recurrent_kernel, columns, 0, columns, recurrent_bias);
  const auto f = [&](double v) { return activate(c.shape.activation, v); };
  const auto g = [&](double v) { return activate(c.shape.recurrent_activation, v); };
  if (c.shape.kind == CellKind::kSimpleRnn) {
    for (std::size_t u = 0; u < units; ++u) h[u] = f(a[u] + s[u]);
  } else if (c.shape.kind == CellKind::kLstm) {
    const auto sum = [&](std::size_t gate, std::size_t u) {
      return a[gate * units + u] + s[gate * units + u];
    };
    for (std::size_t u = 0; u < units; ++u) {
      cell[u] = g(sum(1, u)) * cell[u] + g(sum(0, u)) * f(sum(2, u));
      h[u] = g(sum(3, u)) * f(cell[u]);
    }
  } else {
    Doubles reset(units);
    Doubles reset_hidden(units);
    for (std::size_t u = 0; u < units; ++u) {
      reset[u] = g(a[units + u] + s[units + u]);
      reset_hidden[u] = reset[u] * h[u];
    }
    const Doubles before = product(reset_hidden, n.recurrent_kernel, columns,
                                   reset_after ? columns : 2 * c.shape.units, columns, nullptr);
    for (std::size_t u = 0; u < units; ++u) {
      const std::size_t at = 2 * units + u;
      const double candidate = f(a[at] + (reset_after ? reset[u] * s[at] : before[at]));
      const double z = g(a[u] + s[u]);
      h[u] = z * h[u] + (1.0 - z) * candidate;
    }
  }
}

Outputs<double> reference(const Case& c, const Numbers& n) {
  const Index units = c.shape.units;
  const Index features = c.shape.features;
  Outputs<double> outputs(c, c.batch, c.timesteps, 0.0);
  for (Index row = 0; row < c.batch; ++row) {
    const auto row_of = [&](const auto& values, Index width) {
      return values.empty() ? Doubles(size(width), 0.0)
                            : Doubles(values.begin() + row * width, values.begin() + (row + 1) * width);
    };
    Doubles h = row_of(n.hidden, units);
    Doubles cell = row_of(n.cell, units);
    Doubles output = c.masking == Masking::kState ? h : Doubles(size(units), 0.0);
    for (Index step = 0; step < c.timesteps; ++step) {
      const Index at = row * c.timesteps + c.read_time(step);
      if (n.mask.empty() || n.mask[size(at)] != 0) {
        reference_step(c, n, Doubles(n.x.begin() + at * features, n.x.begin() + (at + 1) * features), h,
                       cell);
        output = h;
      } else if (c.masking == Masking::kZero) {
        std::fill(output.begin(), output.end(), 0.0);
      }
      std::copy(output.begin(), output.end(),
                outputs.sequence.begin() + (row * c.timesteps + c.write_time(step)) * units);
    }
    std::copy(output.begin(), output.end(), outputs.last.begin() + row * units);
    std::copy(h.begin(), h.end(), outputs.hidden.begin() + row * units);
    if (c.shape.kind == CellKind::kLstm)
      std::copy(cell.begin(), cell.end(), outputs.cell.begin() + row * units);
  }
  return outputs;
}

// What one call computes: some rows, some steps, from the states that `before` ended with.
struct Part {
  Index row = 0;
  Index rows = 0;
  Index begin = 0;
  Index end = 0;
  int threads = 1;
  const Outputs<float>* before = nullptr;
};

// Every buffer has exactly the size that is promised to be enough, so that AddressSanitizer sees one float
// too far; what lies between rows is NaN, must not be read and must stay.
Outputs<float> run(const KernelTable& table, const Case& c, const Numbers& n, const AlignedBuffer& packed,
                   const Part& part) {
  const Index units = c.shape.units;
  const Index steps = part.end - part.begin;
  const Index x_stride = c.shape.features + c.padding;
  const Index y_stride = units + c.padding;
  const Index read_begin = c.reads_reversed ? c.timesteps - part.end : part.begin;
  Floats x(size(part.rows * steps * x_stride), kNan);
  std::vector<std::uint8_t> mask(n.mask.empty() ? 0 : size(part.rows * steps));
  for (Index row = 0; row < part.rows; ++row) {
    for (Index t = 0; t < steps; ++t) {
      const Index from = (part.row + row) * c.timesteps + read_begin + t;
      std::copy_n(n.x.begin() + from * c.shape.features, c.shape.features,
                  x.begin() + (row * steps + t) * x_stride);
      if (!mask.empty()) mask[size(row * steps + t)] = n.mask[size(from)];
    }
  }
  Floats sequence(size(part.rows * steps * y_stride), kNan);
  Outputs<float> outputs(c, part.rows, steps, kNan);

  SweepArguments a;
  a.shape = c.shape;
  a.packed = packed.floats();
  a.batch = part.rows;
  a.timesteps = steps;
  a.x = x.data();
  a.x_batch_stride = steps * x_stride;
  a.x_time_stride = x_stride;
  a.mask = mask.empty() ? nullptr : mask.data();
  a.mask_batch_stride = steps;
  if (part.before != nullptr) {
    a.initial_hidden_state = part.before->hidden.data();
    a.initial_cell_state = part.before->cell.empty() ? nullptr : part.before->cell.data();
  } else if (c.has_states) {
    a.initial_hidden_state = n.hidden.data() + part.row * units;
    a.initial_cell_state = n.cell.empty() ? nullptr : n.cell.data() + part.row * units;
  }
  a.sequence_output = sequence.data();
  a.sequence_batch_stride = steps * y_stride;
  a.sequence_time_stride = y_stride;
  a.last_output = outputs.last.data();
  a.last_output_stride = units;
  a.final_hidden_state = outputs.hidden.data();
  a.final_cell_state = outputs.cell.empty() ? nullptr : outputs.cell.data();
  a.loop.read_reversed = c.reads_reversed;
  a.loop.write_reversed = c.writes_reversed;
  a.loop.zero_output_for_mask = c.masking == Masking::kZero;
  a.loop.masked_output_is_state = c.masking == Masking::kState;
  const AlignedBuffer scratch(table.sweep_scratch_bytes(c.shape, part.rows, steps, part.threads));
  a.scratch = scratch.data();
  if (part.threads == 1) {
    table.sweep(a);
  } else {
    Barrier barrier(part.threads);
    std::vector<std::thread> threads;
    for (int index = 0; index < part.threads; ++index) {
      threads.emplace_back([&, index] {
        SweepArguments own = a;
        own.team = barrier.team(index);
        table.sweep(own);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  for (Index i = 0; i < part.rows * steps; ++i) {
    const auto from = sequence.begin() + i * y_stride;
    std::copy_n(from, units, outputs.sequence.begin() + i * units);
    if (!std::all_of(from + units, from + y_stride, [](float v) { return std::isnan(v); })) {
      fail(table, "wrote between the outputs of two timesteps: " + c.text());
    }
  }
  return outputs;
}

// Rows from `row` and steps from `begin` of the whole against a part of it.
void compare(const KernelTable& table, const Case& c, const Outputs<float>& whole, const Outputs<float>& part,
             const Part& p, const char* what) {
  const Index units = c.shape.units;
  const Index steps = p.end - p.begin;
  const Index write_begin = c.writes_reversed ? c.timesteps - p.end : p.begin;
  bool same = true;
  for (Index row = 0; row < p.rows; ++row) {
    same &= same_bytes(&whole.sequence[size(((p.row + row) * c.timesteps + write_begin) * units)],
                       &part.sequence[size(row * steps * units)], steps * units);
  }
  if (p.end == c.timesteps) {
    same &= same_bytes(&whole.last[size(p.row * units)], part.last.data(), p.rows * units);
    same &= same_bytes(&whole.hidden[size(p.row * units)], part.hidden.data(), p.rows * units);
    if (!part.cell.empty())
      same &= same_bytes(&whole.cell[size(p.row * units)], part.cell.data(), p.rows * units);
  }
  if (!same) fail(table, std::string(what) + " changes bits: " + c.text());
}

double largest_error(const Floats& got, const Doubles& expected) {
  double largest = 0.0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double error = std::fabs(static_cast<double>(got[i]) - expected[i]);
    if (!(error <= largest)) largest = error;  // a NaN, too
  }
  return largest;
}

double check_cell(const KernelTable& table, const Case& c, const Numbers& n, const Outputs<double>& expected,
                  int case_number, Hash& hash) {
  AlignedBuffer packed(table.cell_packed_floats(c.shape) * static_cast<Index>(sizeof(float)));
  table.pack_cell(c.shape, {n.kernel.data(), n.recurrent_kernel.data(), c.has_bias ? n.bias.data() : nullptr},
                  packed.floats());
  const Part all{0, c.batch, 0, c.timesteps, 1, nullptr};
  const Outputs<float> whole = run(table, c, n, packed, all);
  for (const Floats* values : {&whole.sequence, &whole.last, &whole.hidden, &whole.cell}) hash.add(*values);
  const double error =
      std::max({largest_error(whole.sequence, expected.sequence), largest_error(whole.last, expected.last),
                largest_error(whole.hidden, expected.hidden), largest_error(whole.cell, expected.cell)});
  if (!(error <= kTolerance)) fail(table, "error " + std::to_string(error) + ": " + c.text());

  Random random(static_cast<std::uint64_t>(c.shape.units));
  // Starting threads would take most of the time: a quarter of the cases.
  if (case_number % 4 == 0) {
    Part team = all;
    team.threads = 2 + case_number / 4 % 2;
    compare(table, c, whole, run(table, c, n, packed, team), team, "a team");
  }
  for (Part rows = all; rows.row < c.batch && c.batch > 1; rows.row += rows.rows) {
    rows.rows = std::min(c.batch - rows.row, 1 + random.below(7));
    compare(table, c, whole, run(table, c, n, packed, rows), rows, "the batch");
  }
  // In parts, a masked step before the first unmasked one could not know that it is.
  if (c.masking == Masking::kRepeat) return error;
  Outputs<float> before = whole;
  for (Part steps = all; steps.begin < c.timesteps && c.timesteps > 1; steps.begin = steps.end) {
    steps.end = std::min(c.timesteps, steps.begin + 1 + random.below(3));
    steps.before = steps.begin == 0 ? nullptr : &before;
    Outputs<float> part = run(table, c, n, packed, steps);
    compare(table, c, whole, part, steps, "splitting the sequence");
    before = std::move(part);
  }
  return error;
}

struct Isa {
  const KernelTable* table;
  Hash hash;
  double error = 0.0;
};

Activation activation(ActivationKind kind, float alpha = 0.0f, float beta = 0.0f) {
  return {kind, alpha, beta, 0.0f};
}

const Activation kActivations[][2] = {
    {activation(ActivationKind::kTanh), activation(ActivationKind::kSigmoid)},
    {activation(ActivationKind::kSoftsign), activation(ActivationKind::kHardSigmoid, 0.2f, 0.5f)},
    {activation(ActivationKind::kRelu, std::numeric_limits<float>::infinity()),
     activation(ActivationKind::kSigmoid)},
};
constexpr CellKind kCells[] = {CellKind::kSimpleRnn, CellKind::kLstm, CellKind::kGruResetAfter,
                               CellKind::kGruResetBefore};

void check_case(std::vector<Isa>& isas, const Case& c, int case_number, Random& random) {
  const Numbers numbers(c, random);
  const Outputs<double> expected = reference(c, numbers);
  for (Isa& isa : isas) {
    isa.error = std::max(isa.error, check_cell(*isa.table, c, numbers, expected, case_number, isa.hash));
  }
}

// All combinations of what a layer may ask for, at sizes below, at and above the lanes of every vector.
int check_cells(std::vector<Isa>& isas) {
  Random random(1);
  int cases = 0;
  for (const CellKind kind : kCells) {
    for (const Index units : {1, 3, 7, 8, 9, 15, 16, 17, 31, 33}) {
      for (int options = 0; options < 3 * 64; ++options, ++cases) {
        Case c;
        c.shape = {kind, random.choose({1, 2, 5, 13}), units, kActivations[options / 64][0],
                   kActivations[options / 64][1]};
        c.has_bias = (options & 1) != 0;
        c.has_states = (options & 2) != 0;
        c.reads_reversed = (options & 4) != 0;
        c.writes_reversed = (options & 8) != 0;
        c.masking = static_cast<Masking>(options / 16 % 4);
        c.batch = random.choose({1, 1, 2, 3, 5, 9});
        c.timesteps = random.choose({1, 2, 4, 7});
        c.padding = random.choose({0, 3});
        check_case(isas, c, cases, random);
      }
    }
  }
  return cases;
}

// Several chunks of k, several panels, weights beyond the second-level cache and more rows than one tile has.
int check_large_cells(std::vector<Isa>& isas) {
  struct Size {
    Index units, features, batch, timesteps;
  };
  Random random(2);
  int cases = 0;
  for (const CellKind kind : kCells) {
    for (const Size s : {Size{47, 64, 17, 9}, Size{49, 70, 1, 9}, Size{64, 130, 7, 3}, Size{65, 1, 26, 2},
                         Size{100, 5, 3, 5}, Size{48, 3, 1, 40}, Size{288, 2, 16, 2}}) {
      for (const bool masked : {false, true}) {
        Case c;
        c.shape = {kind, s.features, s.units, kActivations[masked][0], kActivations[masked][1]};
        c.has_bias = true;
        c.has_states = true;
        c.masking = masked ? Masking::kRepeat : Masking::kNone;
        c.batch = s.batch;
        c.timesteps = s.timesteps;
        check_case(isas, c, cases, random);
        ++cases;
      }
    }
  }
  return cases;
}

int check_dense(std::vector<Isa>& isas) {
  Random random(3);
  constexpr int kCases = 200;
  for (int i = 0; i < kCases; ++i) {
    const DenseShape shape{1 + random.below(150), 1 + random.below(150)};
    const Index rows = 1 + random.below(20);
    // Convolution windows overlap.
    const Index x_stride = random.choose({shape.depth, shape.depth + 3, 1 + shape.depth / 2});
    const Activation chosen = kActivations[i % 3][i % 2];
    const Floats x = random.floats((rows - 1) * x_stride + shape.depth, 1.0f);
    const Floats kernel =
        random.floats(shape.depth * shape.columns, 1.0f / std::sqrt(static_cast<float>(shape.depth)));
    const Floats bias = random.floats(shape.columns, 0.5f);
    const float* given_bias = i % 4 == 0 ? nullptr : bias.data();
    Doubles expected;
    for (Index row = 0; row < rows; ++row) {
      const Doubles from(x.begin() + row * x_stride, x.begin() + row * x_stride + shape.depth);
      for (const double sum : product(from, kernel, shape.columns, 0, shape.columns, given_bias)) {
        expected.push_back(activate(chosen, sum));
      }
    }
    const std::string text = "dense " + std::to_string(shape.depth) + " x " + std::to_string(shape.columns) +
                             ", rows " + std::to_string(rows);
    const Index split_numerator = random.below(5);
    for (Isa& isa : isas) {
      const KernelTable& table = *isa.table;
      AlignedBuffer packed(table.dense_packed_floats(shape) * static_cast<Index>(sizeof(float)));
      table.pack_dense(shape, kernel.data(), given_bias, packed.floats());
      const Index panels = table.dense_panels(shape);
      const auto dense = [&](Floats& y, Index row, Index count, Index panel_begin, Index panel_end) {
        table.dense({shape, packed.floats(), count, x.data() + row * x_stride, x_stride,
                     y.data() + row * shape.columns, shape.columns, chosen, panel_begin, panel_end});
      };
      Floats whole(expected.size(), kNan);
      dense(whole, 0, rows, 0, panels);
      isa.hash.add(whole);
      const double error = largest_error(whole, expected);
      isa.error = std::max(isa.error, error);
      if (!(error <= kTolerance)) fail(table, "error " + std::to_string(error) + ": " + text);
      Floats by_panels(expected.size(), kNan);
      const Index split = panels * split_numerator / 4;
      dense(by_panels, 0, rows, split, panels);
      dense(by_panels, 0, rows, 0, split);
      if (!same_bytes(whole.data(), by_panels.data(), rows * shape.columns)) {
        fail(table, "splitting the panels changes bits: " + text);
      }
      Floats by_rows(expected.size(), kNan);
      for (Index row = 0; row < rows; ++row) dense(by_rows, row, 1, 0, panels);
      if (!same_bytes(whole.data(), by_rows.data(), rows * shape.columns)) {
        fail(table, "the batch changes bits: " + text);
      }
    }
  }
  return kCases;
}

// Every activation at float32 numbers of all magnitudes, infinities and NaN; their errors are measured where
// they are documented and tested from Python.
int check_activations(std::vector<Isa>& isas) {
  Floats x;
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const std::uint32_t bits = i * 65521u;
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    x.push_back(value);
  }
  for (int i = -800; i <= 800; ++i) x.push_back(static_cast<float>(i) * 0.0625f);
  x.push_back(std::numeric_limits<float>::infinity());
  x.push_back(-std::numeric_limits<float>::infinity());
  const Index count = static_cast<Index>(x.size());
  constexpr int kKinds = static_cast<int>(ActivationKind::kThresholdedRelu) + 1;
  for (int kind = 0; kind < kKinds; ++kind) {
    const Activation chosen{static_cast<ActivationKind>(kind), 0.75f, 0.25f, 0.125f};
    for (Isa& isa : isas) {
      Floats whole(x.size(), kNan);
      isa.table->activate(chosen, x.data(), whole.data(), count);
      isa.hash.add(whole);
      // In place, and every number in another lane.
      Floats shifted = x;
      isa.table->activate(chosen, shifted.data(), shifted.data(), 1);
      isa.table->activate(chosen, shifted.data() + 1, shifted.data() + 1, count - 1);
      if (!same_bytes(whole.data(), shifted.data(), count)) {
        fail(*isa.table, "the lane changes bits of activation " + std::to_string(kind));
      }
    }
  }
  return kKinds;
}

int check_softmax(std::vector<Isa>& isas) {
  Random random(4);
  int cases = 0;
  for (const Index count : {1, 2, 5, 8, 15, 16, 17, 33, 100}) {
    for (const bool logarithm : {false, true}) {
      constexpr Index kRows = 3;
      const Floats x = random.floats(kRows * count, 8.0f);
      ++cases;
      for (Isa& isa : isas) {
        Floats y(x.size(), kNan);
        isa.table->softmax(x.data(), y.data(), kRows, count, logarithm);
        isa.hash.add(y);
        Floats in_place = x;
        isa.table->softmax(in_place.data(), in_place.data(), kRows, count, logarithm);
        if (!same_bytes(y.data(), in_place.data(), kRows * count)) {
          fail(*isa.table, "softmax in place changes bits");
        }
        for (Index row = 0; row < kRows; ++row) {
          const auto begin = x.begin() + row * count;
          const double largest = static_cast<double>(*std::max_element(begin, begin + count));
          double sum = 0.0;
          for (Index i = 0; i < count; ++i) sum += std::exp(static_cast<double>(begin[i]) - largest);
          for (Index i = 0; i < count; ++i) {
            const double log_ratio = static_cast<double>(begin[i]) - largest - std::log(sum);
            const double expected = logarithm ? log_ratio : std::exp(log_ratio);
            if (!(std::fabs(static_cast<double>(y[size(row * count + i)]) - expected) <= kTolerance)) {
              fail(*isa.table, "softmax of " + std::to_string(count) + " is wrong");
            }
          }
        }
      }
    }
  }
  return cases;
}

int check(const std::vector<std::string>& names) {
  std::vector<Isa> isas;
  for (const std::string& name : names) isas.push_back({&table_by_name(name), {}});
  const int cases = check_cells(isas) + check_large_cells(isas) + check_dense(isas) +
                    check_activations(isas) + check_softmax(isas);
  for (const Isa& isa : isas) {
    std::printf("%s %016" PRIx64 " cases %d, largest error %.2g\n", isa.table->name, isa.hash.value(), cases,
                isa.error);
  }
  if (failures > 0) std::fprintf(stderr, "%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace unrolled::kernels

int main(int argc, char** argv) {
  std::vector<std::string> names(argv + 1, argv + argc);
  return unrolled::kernels::check(names.empty() ? unrolled::kernels::available_isas() : names);
}
