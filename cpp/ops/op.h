// SPDX-License-Identifier: MIT
// An operation of a Plan, in three stages: its record says what it is; an Op is made of arguments, weights
// packed; a Prepared is an Op for inputs of given types and a team of a given size.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include "base/shape.h"
#include "base/team.h"
#include "base/tensor.h"
#include "ops/arguments.h"

namespace unrolled {

// What the plan needs to know to choose threads; estimates, never used for results.
struct Cost {
  double flops = 0.0;
  double weight_bytes = 0.0;    // weights read by one call; a recurrent op counts them once per timestep
  double resident_bytes = 0.0;  // weights that a thread needs in its cache to run this op on its own
  bool is_sequential = false;   // reads its weights once per timestep
};

// The first problem with the values of an input (an embedding id out of range) that any thread finds; the
// plan throws it as std::invalid_argument once the run has ended.
class RunError {
 public:
  template <typename... Arguments>
  void set(const char* format, Arguments... arguments) {
    if (claimed_.exchange(true, std::memory_order_relaxed)) return;
    std::snprintf(message_, sizeof(message_), format, arguments...);
    ready_.store(true, std::memory_order_release);
  }
  // The exception in flight, in a catch block.
  void set_current_exception() {
    if (claimed_.exchange(true, std::memory_order_relaxed)) return;
    exception_ = std::current_exception();
    ready_.store(true, std::memory_order_release);
  }
  void throw_if_set() const {
    if (!ready_.load(std::memory_order_acquire)) return;
    if (exception_) std::rethrow_exception(exception_);
    fail({message_});
  }

 private:
  std::atomic<bool> claimed_{false};
  std::atomic<bool> ready_{false};
  std::exception_ptr exception_;
  char message_[160];
};

struct OpContext {
  std::span<const TensorView> inputs;
  std::span<const TensorView> outputs;
  void* scratch = nullptr;  // scratch_bytes, 64-byte aligned, shared by the team
  Team team;
  RunError* error = nullptr;
};

// Rows are independent when running rows [a, b) of every input that has a batch gives rows [a, b) of every
// output (or the same multiple of a and b, where axis 0 is batch * time).
enum class Rows { kIndependent, kDependent };
constexpr Rows independent_if(bool condition) { return condition ? Rows::kIndependent : Rows::kDependent; }

struct Needs {
  Cost cost;
  Index scratch_bytes = 0;
};

class Prepared {
 public:
  // Nothing is assumed of the rows: whoever prepares an operation says it.
  Prepared(Rows rows_of, std::vector<TensorType> output_types, const Needs& needed)
      : outputs(std::move(output_types)), needs(needed), rows(rows_of) {}
  virtual ~Prepared() = default;

  // Called by every thread of the team; the plan waits for the whole team after each operation. Never called
  // for outputs without elements, nor for views. Allocates nothing.
  virtual void run(const OpContext& context) const noexcept = 0;

  const std::vector<TensorType> outputs;
  const Needs needs;
  const Rows rows;
};
using PreparedPointer = std::unique_ptr<const Prepared>;

// A Prepared whose run is a function object that holds the geometry.
template <typename Run>
PreparedPointer prepared(Rows rows, std::vector<TensorType> outputs, const Needs& needs, Run run) {
  static_assert(std::is_nothrow_invocable_v<const Run&, const OpContext&>, "a run is noexcept");
  class Function final : public Prepared {
   public:
    Function(Rows rows_of, std::vector<TensorType> types, const Needs& needed, Run function)
        : Prepared(rows_of, std::move(types), needed), run_(std::move(function)) {}
    void run(const OpContext& context) const noexcept override { run_(context); }

   private:
    Run run_;
  };
  return std::make_unique<Function>(rows, std::move(outputs), needs, std::move(run));
}

using Types = std::span<const TensorType>;

class Op {
 public:
  virtual ~Op() = default;

  // Throws std::invalid_argument on inputs that the run could not handle: the run checks nothing. Sizes may
  // be 0.
  virtual PreparedPointer prepare(Types inputs, int team_size) const = 0;

  // Packs weights, the first time. Before any run, by any number of threads at once.
  virtual void make_ready() const {}

  virtual int output_count() const { return 1; }
};
using OpPointer = std::unique_ptr<const Op>;

// Where output 0 lies.
enum class Memory : std::uint8_t {
  kOwn,
  kInPlace,  // has input 0's type and may be its memory too
  kView,     // is input 0's memory under another shape; only the types of the other inputs are read
};

// What an operation is made with besides its arguments.
struct Surroundings {
  const kernels::KernelTable& table;
  // Of every operand: whether it has a batch axis or is a constant, which broadcasts from the right.
  std::vector<bool> has_batch;
};

// One operation: everything that the builder, Python and a plan file know of it.
struct OpRecord {
  Schema schema;
  const char* doc;
  // Throws std::invalid_argument on arguments that cannot be right whatever the input. Arrays that the
  // operation needs are copied or packed.
  OpPointer (*make)(const Arguments&, const Surroundings&);
  Memory memory = Memory::kOwn;
  bool gives_list = false;  // in Python: the ids of several outputs, else one id
};

// The record of a class constructed from (arguments, surroundings), from arguments or from nothing.
template <typename T>
OpRecord record(const char* name, std::initializer_list<Parameter> parameters, const char* doc,
                Memory memory = Memory::kOwn, bool gives_list = false) {
  const auto make = [](const Arguments& arguments, const Surroundings& surroundings) -> OpPointer {
    if constexpr (std::is_constructible_v<T, const Arguments&, const Surroundings&>) {
      return std::make_unique<T>(arguments, surroundings);
    } else if constexpr (std::is_constructible_v<T, const Arguments&>) {
      return std::make_unique<T>(arguments);
    } else {
      return std::make_unique<T>();
    }
  };
  return {Schema(name, parameters), doc, make, memory, gives_list};
}

// The share of `count` items that a thread of the team takes, in contiguous ranges that are multiples of
// `grain` (the last may be shorter).
struct Range {
  Index begin = 0;
  Index end = 0;
};

inline Range share_of(Index count, const Team& team, Index grain = 1) {
  if (team.size == 1) return {0, count};
  const Index grains = (count + grain - 1) / grain;
  const Index begin = grains * team.index / team.size * grain;
  const Index end = grains * (team.index + 1) / team.size * grain;
  return {std::min(begin, count), std::min(end, count)};
}

// For work that takes long without a wait: whether to leave the rest undone.
inline bool should_stop(const Team& team) {
  return team.should_stop != nullptr && team.should_stop(team.stop);
}

// Elements that a thread takes at once where they are all alike: whole cache lines, so that no two threads
// write the same one.
inline constexpr Index kGrain = 1024;

inline const float* floats(const TensorView& view) { return static_cast<const float*>(view.data); }
inline float* mutable_floats(const TensorView& view) { return static_cast<float*>(view.data); }
inline const std::uint8_t* bytes(const TensorView& view) {
  return static_cast<const std::uint8_t*>(view.data);
}
// The part of the scratch that is this thread's, of `slot` bytes each.
inline char* own_scratch(const OpContext& context, Index slot) {
  return static_cast<char*>(context.scratch) + context.team.index * slot;
}

// The four flags of a loop over time, which go by the names of TimeLoop's members.
kernels::TimeLoop time_loop(const Arguments& given);

// Throw std::invalid_argument naming `op`, what was expected and what came.
void check_dtype(const char* op, const TensorType& type, DType expected);
void check_rank_at_least(const char* op, const TensorType& type, int rank);
void check_type(const char* op, const char* what, const TensorType& type, const TensorType& expected);

}  // namespace unrolled
