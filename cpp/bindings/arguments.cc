// SPDX-License-Identifier: MIT
#include "bindings/arguments.h"

#include <string>

#include "bindings/arrays.h"

namespace unrolled::bindings {
namespace {

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw py::type_error(where + ": " + what);
}

// A value of another type than the parameter's.
[[noreturn]] void refuse_type(const std::string& where, const char* expected, py::handle got) {
  refuse(where, std::string("expected ") + expected + ", got " +
                    py::cast<std::string>(py::type::handle_of(got).attr("__name__")));
}

Index take_int(const std::string& where, py::handle given) {
  if (!PyIndex_Check(given.ptr()) || PyBool_Check(given.ptr())) refuse_type(where, "an integer", given);
  const Index value = PyNumber_AsSsize_t(given.ptr(), PyExc_OverflowError);
  if (value == -1 && PyErr_Occurred()) {
    if (!PyErr_ExceptionMatches(PyExc_OverflowError)) throw py::error_already_set();
    PyErr_Clear();
    fail({where, ": expected an integer of 64 bits"});
  }
  return value;
}

double take_float(const std::string& where, py::handle given) {
  if (!PyNumber_Check(given.ptr()) || py::isinstance<py::array>(given)) refuse_type(where, "a number", given);
  const double value = PyFloat_AsDouble(given.ptr());
  if (value == -1.0 && PyErr_Occurred()) throw py::error_already_set();
  return value;
}

std::string take_string(const std::string& where, py::handle given) {
  if (!py::isinstance<py::str>(given)) refuse_type(where, "a string", given);
  return given.cast<std::string>();
}

// The items of a sequence, each by `take`.
template <typename Take>
auto take_each(const std::string& where, const char* expected, py::handle given, Take take) {
  if (!PySequence_Check(given.ptr()) || py::isinstance<py::str>(given) || py::isinstance<py::bytes>(given)) {
    refuse_type(where, expected, given);
  }
  const auto items = py::reinterpret_steal<py::tuple>(PySequence_Tuple(given.ptr()));
  if (!items) throw py::error_already_set();
  std::vector<decltype(take(where, given))> result;
  for (const py::handle item : items) result.push_back(take(where, item));
  return result;
}

std::vector<Index> take_ints(const std::string& where, py::handle given) {
  return take_each(where, "a sequence of integers", given, &take_int);
}

// An array that nobody can write is kept as it is; any other is copied, for the operation's arguments must
// stay what they were.
Array take_array(const std::string& where, py::handle given) {
  const py::array array = py::array::ensure(given);
  if (!array) {
    PyErr_Clear();
    refuse_type(where, "an array", given);
  }
  const char kind = array.dtype().kind();
  if (given.is_none() || std::string_view("fiubV").find(kind) == std::string_view::npos) {
    refuse(where, "expected an array of numbers, got " + (given.is_none() ? "None" : describe(array)));
  }
  py::array kept = WeightArray::ensure(array);
  if (!kept) throw py::error_already_set();
  if (kept.ndim() > kMaxRank) {
    fail({where, ": expected at most ", std::to_string(kMaxRank), " axes, got ", describe(array)});
  }
  if (kept.is(array) && array.writeable()) {
    kept = WeightArray({kept.shape(), kept.shape() + kept.ndim()}, static_cast<const float*>(kept.data()));
  }
  Array result{static_cast<const float*>(kept.data()),
               make_shape({kept.shape(), static_cast<std::size_t>(kept.ndim())}), nullptr};
  // Plans may end in a thread without the GIL.
  result.owner = std::shared_ptr<py::array>(new py::array(std::move(kept)), [](py::array* owned) {
    const py::gil_scoped_acquire gil;
    delete owned;
  });
  return result;
}

template <typename T>
const T& take_object(const std::string& where, const char* expected, py::handle given) {
  if (!py::isinstance<T>(given)) refuse_type(where, expected, given);
  return given.cast<const T&>();
}

Argument take(const std::string& where, const Parameter& parameter, py::handle given) {
  if (given.is_none() && parameter.allows_none) return std::monostate{};
  switch (parameter.kind) {
    case Kind::kOperand:
    case Kind::kInt:
      return take_int(where, given);
    case Kind::kOperands:
    case Kind::kInts:
      return take_ints(where, given);
    case Kind::kBool: {
      py::detail::make_caster<bool> caster;
      if (!caster.load(given, false)) refuse_type(where, "a bool", given);
      return static_cast<bool>(caster);
    }
    case Kind::kFloat:
      return take_float(where, given);
    case Kind::kString:
      return take_string(where, given);
    case Kind::kDType:
      return dtype_from_string(take_string(where, given));
    case Kind::kShapes:
      return take_each(where, "a sequence of shapes", given, &take_ints);
    case Kind::kActivation:
      return take_object<kernels::Activation>(where, "an Activation", given);
    case Kind::kArray:
      return take_array(where, given);
    case Kind::kPlan:
      (void)take_object<Plan>(where, "a Plan", given);
      return std::shared_ptr<const Plan>(given.cast<std::shared_ptr<Plan>>());
    case Kind::kParts:
      return take_each(where, "a sequence of Directions", given, [](const std::string& at, py::handle item) {
        return take_object<Direction>(at, "a Direction", item).arguments;
      });
  }
  throw std::logic_error("an unknown kind of argument");
}

py::object array_to_python(const Array& array) {
  auto* owner = new std::shared_ptr<const void>(array.owner);
  const py::capsule base(owner, [](void* held) { delete static_cast<std::shared_ptr<const void>*>(held); });
  py::array_t<float> result({array.shape.dims, array.shape.dims + array.shape.rank}, array.data, base);
  result.attr("flags").attr("writeable") = false;
  return result;
}

}  // namespace

Arguments bind_arguments(const Schema& schema, const py::args& args, const py::kwargs& kwargs) {
  const std::string name = schema.name;
  if (args.size() > schema.positional) {
    refuse(name, "expected at most " + std::to_string(schema.positional) + " arguments without a name, got " +
                     std::to_string(args.size()));
  }
  Arguments result{&schema, {}};
  std::size_t named = 0;
  for (std::size_t i = 0; i < schema.parameters.size(); ++i) {
    const Parameter& parameter = schema.parameters[i];
    const std::string where = name + ": " + parameter.name;
    const bool is_named = kwargs.contains(parameter.name);
    named += is_named ? 1 : 0;
    if (i < args.size()) {
      if (is_named) refuse(where, "given twice");
      result.values.push_back(take(where, parameter, args[i]));
    } else if (is_named) {
      result.values.push_back(take(where, parameter, kwargs[parameter.name]));
    } else if (parameter.default_value) {
      result.values.push_back(*parameter.default_value);
    } else {
      refuse(where, "missing");
    }
  }
  if (named != kwargs.size()) {
    for (const auto& [key, value] : kwargs) {
      const std::string given = key.cast<std::string>();
      const bool is_known = std::any_of(schema.parameters.begin(), schema.parameters.end(),
                                        [&](const Parameter& parameter) { return given == parameter.name; });
      if (!is_known) refuse(name, "no parameter '" + given + "'");
    }
  }
  if (schema.check) schema.check(result);
  return result;
}

py::object to_python(const Argument& argument) {
  return std::visit(
      [](const auto& value) -> py::object {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, std::monostate>) {
          return py::none();
        } else if constexpr (std::is_same_v<T, DType>) {
          return py::str(unrolled::to_string(value));
        } else if constexpr (std::is_same_v<T, Array>) {
          return array_to_python(value);
        } else if constexpr (std::is_same_v<T, std::shared_ptr<const Plan>>) {
          return py::cast(std::const_pointer_cast<Plan>(value));
        } else if constexpr (std::is_same_v<T, std::vector<Arguments>>) {
          py::list parts;
          for (const Arguments& part : value) parts.append(py::cast(Direction{part}));
          return parts;
        } else {
          return py::cast(value);
        }
      },
      argument);
}

py::dict to_python(const Arguments& arguments) {
  py::dict result;
  for (std::size_t i = 0; i < arguments.values.size(); ++i) {
    result[arguments.schema->parameters[i].name] = to_python(arguments.values[i]);
  }
  return result;
}

const char* to_string(Kind kind) {
  constexpr const char* kNames[] = {"operand", "operands", "bool",       "int",   "float", "string", "dtype",
                                    "ints",    "shapes",   "activation", "array", "plan",  "parts"};
  static_assert(std::size(kNames) == static_cast<std::size_t>(Kind::kParts) + 1);
  return kNames[static_cast<std::size_t>(kind)];
}

}  // namespace unrolled::bindings
