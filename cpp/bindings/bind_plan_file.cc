// SPDX-License-Identifier: MIT
// PlanFile: a model's plans, its inputs and outputs, from a file, and as the bytes of one.
#include <pybind11/stl/filesystem.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <tuple>

#include "base/mapped_file.h"
#include "bindings/bindings.h"
#include "plan/plan_file.h"

namespace unrolled::bindings {
namespace {

// name, dtype, sizes with the batch
using Tensor = std::tuple<std::string, std::string, std::vector<std::optional<Index>>>;
// dtype, sizes of one row, initial value
using State = std::tuple<std::string, std::vector<Index>, float>;

struct OpenFile {
  PlanFile file;
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};

std::unique_ptr<OpenFile> open(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                               bool verify) {
  return std::make_unique<OpenFile>(OpenFile{read_plan_file(bytes, owner, verify), bytes, owner});
}

std::unique_ptr<OpenFile> open_path(const std::filesystem::path& path, bool verify) {
  std::shared_ptr<const MappedFile> mapped;
  try {
    mapped = std::make_shared<const MappedFile>(path);
  } catch (const std::system_error& error) {
    errno = error.code().default_error_condition().value();
    PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, py::cast(path.string()).ptr());
    throw py::error_already_set();
  }
  const py::gil_scoped_release release;
  return open(mapped->bytes(), mapped, verify);
}

std::unique_ptr<OpenFile> open_bytes(const py::bytes& given, bool verify) {
  const auto view = static_cast<std::string_view>(given);
  auto copy = std::make_shared<AlignedBuffer>(std::max<Index>(static_cast<Index>(view.size()), 1));
  if (!view.empty()) std::memcpy(copy->data(), view.data(), view.size());
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(copy->data()), view.size());
  const py::gil_scoped_release release;
  return open(bytes, copy, verify);
}

py::bytes as_bytes(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<TensorDescription> from_python(const std::vector<Tensor>& tensors) {
  std::vector<TensorDescription> result;
  for (const auto& [name, dtype, sizes] : tensors) {
    TensorDescription description{name, dtype_from_string(dtype), {}};
    for (const std::optional<Index>& size : sizes) description.sizes.push_back(size.value_or(-1));
    result.push_back(std::move(description));
  }
  return result;
}

// Names are bytes: a stranger's need not be UTF-8.
using NamedTensor = std::tuple<py::bytes, std::string, std::vector<std::optional<Index>>>;

std::vector<NamedTensor> to_python(const std::vector<TensorDescription>& tensors) {
  std::vector<NamedTensor> result;
  for (const TensorDescription& tensor : tensors) {
    std::vector<std::optional<Index>> sizes;
    for (const Index size : tensor.sizes) {
      sizes.push_back(size < 0 ? std::nullopt : std::optional<Index>(size));
    }
    result.emplace_back(py::bytes(tensor.name), to_string(tensor.dtype), std::move(sizes));
  }
  return result;
}

py::bytes plan_file_bytes(const std::string& name, const std::string& description,
                          const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                          std::shared_ptr<Plan> plan, std::shared_ptr<Plan> stream_plan,
                          const std::vector<State>& states, std::vector<bool> sequence_outputs) {
  PlanFile file;
  file.name = name;
  file.description = description;
  file.inputs = from_python(inputs);
  file.outputs = from_python(outputs);
  file.plan = std::move(plan);
  file.stream_plan = std::move(stream_plan);
  file.sequence_outputs = std::move(sequence_outputs);
  for (const auto& [dtype, sizes, initial] : states) {
    file.states.push_back({{dtype_from_string(dtype), make_shape(sizes)}, initial});
  }
  std::vector<std::byte> bytes;
  {
    const py::gil_scoped_release release;
    bytes = write_plan_file(file);
  }
  return as_bytes(bytes);
}

std::shared_ptr<Plan> shared(const std::shared_ptr<const Plan>& plan) {
  return std::const_pointer_cast<Plan>(plan);  // pybind11 knows no const; Python changes no plan
}

std::vector<State> states_of(const OpenFile& open) {
  std::vector<State> result;
  for (const CarriedState& state : open.file.states) {
    const Shape& shape = state.row.shape;
    result.emplace_back(to_string(state.row.dtype), std::vector<Index>(shape.dims, shape.dims + shape.rank),
                        state.initial);
  }
  return result;
}

}  // namespace

void bind_plan_file(py::module_& module) {
  module.attr("PLAN_FILE_MAGIC") =
      py::bytes(reinterpret_cast<const char*>(kPlanFileMagic), kPlanFileMagicSize);
  module.def("plan_file_bytes", &plan_file_bytes, py::kw_only(), py::arg("name"), py::arg("description"),
             py::arg("inputs"), py::arg("outputs"), py::arg("plan"), py::arg("stream_plan"),
             py::arg("states"), py::arg("sequence_outputs"));
  py::class_<OpenFile>(module, "PlanFile", "An open plan file; any number of threads may use it at once.")
      .def_static("open", &open_path, py::arg("path"), py::kw_only(), py::arg("verify"))
      .def_static("from_bytes", &open_bytes, py::arg("data"), py::kw_only(), py::arg("verify"))
      .def("to_bytes", [](const OpenFile& self) { return as_bytes(self.bytes); })
      .def_property_readonly("name", [](const OpenFile& self) { return py::bytes(self.file.name); })
      .def_property_readonly("description",
                             [](const OpenFile& self) { return py::bytes(self.file.description); })
      .def_property_readonly("inputs", [](const OpenFile& self) { return to_python(self.file.inputs); })
      .def_property_readonly("outputs", [](const OpenFile& self) { return to_python(self.file.outputs); })
      .def_property_readonly("plan", [](const OpenFile& self) { return shared(self.file.plan); })
      .def_property_readonly("stream_plan",
                             [](const OpenFile& self) { return shared(self.file.stream_plan); })
      .def_property_readonly("states", &states_of)
      .def_property_readonly("sequence_outputs",
                             [](const OpenFile& self) { return self.file.sequence_outputs; });
}

}  // namespace unrolled::bindings
