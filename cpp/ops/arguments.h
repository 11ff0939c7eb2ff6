// SPDX-License-Identifier: MIT
// The arguments of an operation as data: what it may take (a Schema) and what it was given (Arguments).
#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/shape.h"
#include "kernels/table.h"

namespace unrolled {

class Plan;
struct Arguments;
struct Schema;

// float32 values in C order; `owner` keeps them alive and nobody changes them.
struct Array {
  const float* data = nullptr;
  Shape shape;
  std::shared_ptr<const void> owner;
};

// What an argument is; in brackets how it is held.
enum class Kind : std::uint8_t {
  kOperand,     // the id of a value of the graph [Index]
  kOperands,    // several [vector<Index>]
  kBool,        // [bool]
  kInt,         // [Index]
  kFloat,       // [double]
  kString,      // one word of several [string]
  kDType,       // [DType]
  kInts,        // [vector<Index>]
  kShapes,      // [vector<vector<Index>>]
  kActivation,  // [kernels::Activation]
  kArray,       // [Array]
  kPlan,        // a plan inside this one [shared_ptr<const Plan>]
  kParts,       // each with arguments of its own [vector<Arguments>]
};

// monostate: None, where the parameter allows it.
using Argument = std::variant<std::monostate, bool, Index, double, std::string, DType, std::vector<Index>,
                              std::vector<std::vector<Index>>, kernels::Activation, Array,
                              std::shared_ptr<const Plan>, std::vector<Arguments>>;

struct Arguments {
  const Schema* schema = nullptr;
  std::vector<Argument> values;  // in the order of the schema

  // std::logic_error where the schema has no such parameter; std::bad_variant_access on another type.
  const Argument& at(const char* name) const;
  template <typename T>
  const T& get(const char* name) const {
    return std::get<T>(at(name));
  }
  // Null for None.
  template <typename T>
  const T* find(const char* name) const {
    return std::get_if<T>(&at(name));
  }
  // The ids of all operands, in order.
  std::vector<Index> operands() const;
};

// The names of activations, in the order of kernels::ActivationKind; plan files have them.
extern const std::span<const char* const> kActivationNames;
const char* to_string(kernels::ActivationKind kind);
// Throws std::invalid_argument where there is no such name.
kernels::ActivationKind activation_kind(const std::string& name);

struct OrNone {};  // must be given, None is allowed
inline constexpr OrNone kOrNone;
struct NoneByDefault {};
inline constexpr NoneByDefault kNoneByDefault;

struct Parameter {
  const char* name;
  Kind kind = Kind::kBool;
  bool allows_none = false;
  std::optional<Argument> default_value;
  const Schema* parts = nullptr;  // of kParts

  Parameter(const char* only) : name(only) {}  // "*": those after it are given by name, as in Python
  Parameter(const char* its_name, Kind its_kind) : name(its_name), kind(its_kind) {}
  Parameter(const char* its_name, Kind its_kind, OrNone)
      : name(its_name), kind(its_kind), allows_none(true) {}
  Parameter(const char* its_name, Kind its_kind, NoneByDefault)
      : name(its_name), kind(its_kind), allows_none(true), default_value(std::monostate{}) {}
  Parameter(const char* its_name, Kind its_kind, Argument value)
      : name(its_name), kind(its_kind), default_value(std::move(value)) {}
  Parameter(const char* its_name, const Schema& of_parts)
      : name(its_name), kind(Kind::kParts), parts(&of_parts) {}

  bool is_operand() const { return kind == Kind::kOperand || kind == Kind::kOperands; }
};

struct Schema {
  const char* name;
  std::vector<Parameter> parameters;
  std::size_t positional = 0;  // how many may be given without their name
  void (*check)(const Arguments&) = nullptr;

  Schema(const char* its_name, std::initializer_list<Parameter> its_parameters,
         void (*its_check)(const Arguments&) = nullptr);
};

}  // namespace unrolled
