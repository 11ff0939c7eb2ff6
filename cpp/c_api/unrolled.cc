// SPDX-License-Identifier: MIT
// include/unrolled.h over plans and streams. No exception leaves a function.
#include <unrolled.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>
#include <system_error>

#include "base/mapped_file.h"
#include "base/threads.h"
#include "plan/plan_file.h"

using namespace unrolled;

struct unrolled_model {
  std::shared_ptr<const PlanFile> file;
};

struct unrolled_stream {
  unrolled_stream(std::shared_ptr<const PlanFile> plan_file, Index rows)
      : file(std::move(plan_file)), stream(file->stream(), rows, Stream::Steps::kAlone) {}

  std::shared_ptr<const PlanFile> file;
  Stream stream;
};

namespace {

// A buffer of fixed size: thread-local objects with destructors would need the C++ runtime's help.
thread_local char last_error[512] = "";

unrolled_status failed(unrolled_status status, const char* message) noexcept {
  std::snprintf(last_error, sizeof(last_error), "%s", message);
  return status;
}

template <typename Function>
unrolled_status guarded(Function function) noexcept {
  try {
    function();
    return UNROLLED_OK;
  } catch (const PlanFileError& error) {
    return failed(UNROLLED_BAD_FILE, error.what());
  } catch (const std::system_error& error) {
    return failed(UNROLLED_IO_ERROR, error.what());
  } catch (const std::invalid_argument& error) {
    return failed(UNROLLED_INVALID_ARGUMENT, error.what());
  } catch (const std::bad_alloc&) {
    return failed(UNROLLED_OUT_OF_MEMORY, "not enough memory");
  } catch (const std::exception& error) {
    return failed(UNROLLED_INTERNAL_ERROR, error.what());
  } catch (...) {
    return failed(UNROLLED_INTERNAL_ERROR, "an unknown error");
  }
}

template <typename... Pointers>
void check_pointers(const Pointers*... pointers) {
  if (((pointers == nullptr) || ...)) fail({"a pointer is null"});
}

void describe(const TensorType& type, unrolled_tensor& tensor) {
  tensor.dtype = static_cast<std::int32_t>(type.dtype);
  tensor.rank = type.shape.rank;
  std::copy_n(type.shape.dims, type.shape.rank, tensor.shape);
}

void describe(const std::vector<TensorDescription>& tensors, std::size_t index, unrolled_tensor* to) {
  check_pointers(to);
  if (index >= tensors.size()) fail({"no input or output ", std::to_string(index)});
  const TensorDescription& from = tensors[index];
  unrolled_tensor tensor{};
  tensor.name = from.name.c_str();
  tensor.dtype = static_cast<std::int32_t>(from.dtype);
  tensor.rank = static_cast<std::int32_t>(from.sizes.size());
  std::copy(from.sizes.begin(), from.sizes.end(), tensor.shape);
  *to = tensor;
}

// As a step sees it: `type` without axis 1.
TensorType without_time(const TensorType& type) {
  TensorType result = type;
  result.shape.rank -= 1;
  std::copy(type.shape.dims + 2, type.shape.dims + type.shape.rank, result.shape.dims + 1);
  return result;
}

TensorType input_type(const TensorDescription& expected, std::size_t index, const unrolled_tensor& given) {
  const auto refuse = [&](const std::string& what) {
    fail({"input ", std::to_string(index), " (", expected.name, "): ", what});
  };
  if (given.dtype != static_cast<std::int32_t>(expected.dtype)) {
    refuse(std::string("expected dtype ") + to_string(expected.dtype));
  }
  if (given.rank != static_cast<std::int32_t>(expected.sizes.size())) {
    refuse("expected rank " + std::to_string(expected.sizes.size()) + ", got " + std::to_string(given.rank));
  }
  TensorType type{expected.dtype, {}};
  type.shape.rank = given.rank;
  for (int i = 0; i < given.rank; ++i) {
    const Index size = static_cast<Index>(given.shape[i]);
    const Index wanted = i == 0 ? -1 : expected.sizes[static_cast<std::size_t>(i)];
    if (size < 0 || (wanted >= 0 && size != wanted)) {
      refuse("axis " + std::to_string(i) + " has a size of " + std::to_string(size));
    }
    type.shape.dims[i] = size;
  }
  const Index bytes = byte_count(type);
  if (given.bytes < static_cast<std::size_t>(bytes) || (given.data == nullptr && bytes > 0)) {
    refuse("expected " + std::to_string(bytes) + " bytes, got " + std::to_string(given.bytes));
  }
  return type;
}

std::shared_ptr<const PlanFile> open(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                     int verify) {
  return std::make_shared<const PlanFile>(read_plan_file(bytes, std::move(owner), verify != 0));
}

}  // namespace

extern "C" {

const char* unrolled_version(void) { return UNROLLED_VERSION; }

const char* unrolled_last_error(void) { return last_error; }

unrolled_status unrolled_set_num_threads(int count) {
  return guarded([&] { set_num_threads(count); });
}

unrolled_status unrolled_open(const char* path, int verify, unrolled_model** model) {
  return guarded([&] {
    check_pointers(path, model);
    const auto* text = reinterpret_cast<const char8_t*>(path);
    const auto mapped = std::make_shared<const MappedFile>(std::filesystem::path(text));
    *model = new unrolled_model{open(mapped->bytes(), mapped, verify)};
  });
}

unrolled_status unrolled_open_memory(const void* data, size_t bytes, int verify, unrolled_model** model) {
  return guarded([&] {
    check_pointers(data, model);
    std::span<const std::byte> given(static_cast<const std::byte*>(data), bytes);
    std::shared_ptr<AlignedBuffer> copy;
    if (reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(kAlignment) != 0 && bytes > 0) {
      copy = std::make_shared<AlignedBuffer>(static_cast<Index>(bytes));
      std::memcpy(copy->data(), data, bytes);
      given = {static_cast<const std::byte*>(copy->data()), bytes};
    }
    *model = new unrolled_model{open(given, copy, verify)};
  });
}

void unrolled_close(unrolled_model* model) { delete model; }

size_t unrolled_input_count(const unrolled_model* model) {
  return model == nullptr ? 0 : model->file->inputs.size();
}

size_t unrolled_output_count(const unrolled_model* model) {
  return model == nullptr ? 0 : model->file->outputs.size();
}

unrolled_status unrolled_input(const unrolled_model* model, size_t index, unrolled_tensor* description) {
  return guarded([&] {
    check_pointers(model);
    describe(model->file->inputs, index, description);
  });
}

unrolled_status unrolled_output(const unrolled_model* model, size_t index, unrolled_tensor* description) {
  return guarded([&] {
    check_pointers(model);
    describe(model->file->outputs, index, description);
  });
}

unrolled_status unrolled_run(const unrolled_model* model, const unrolled_tensor* inputs,
                             unrolled_tensor* outputs) {
  return guarded([&] {
    check_pointers(model, inputs, outputs);
    const PlanFile& file = *model->file;
    std::vector<TensorType> types;
    std::vector<const void*> from;
    for (std::size_t i = 0; i < file.inputs.size(); ++i) {
      types.push_back(input_type(file.inputs[i], i, inputs[i]));
      if (types[i].shape.dims[0] != types[0].shape.dims[0]) fail({"inputs have different batch sizes"});
      from.push_back(inputs[i].data);
    }
    Plan::Run run(*file.plan, types);
    bool has_all = true;
    std::vector<void*> to;
    for (std::size_t i = 0; i < file.outputs.size(); ++i) {
      const TensorType& type = run.outputs()[i];
      has_all = has_all && outputs[i].data != nullptr;
      const Index bytes = byte_count(type);
      if (outputs[i].data != nullptr && outputs[i].bytes < static_cast<std::size_t>(bytes)) {
        fail({"output ", std::to_string(i), ": expected ", std::to_string(bytes), " bytes, got ",
              std::to_string(outputs[i].bytes)});
      }
      to.push_back(outputs[i].data);
    }
    for (std::size_t i = 0; i < file.outputs.size(); ++i) describe(run.outputs()[i], outputs[i]);
    if (!has_all) return;
    Stop never;
    run.execute(from, to, 0, 0, never);
  });
}

unrolled_status unrolled_stream_new(const unrolled_model* model, size_t rows, unrolled_stream** stream) {
  return guarded([&] {
    check_pointers(model, stream);
    if (model->file->stream_plan == nullptr) {
      fail({"model ", model->file->name, " cannot be stepped: it needs timesteps that are still to come"});
    }
    if (rows > static_cast<std::size_t>(kMaxElements)) fail({"too many rows"});
    *stream = new unrolled_stream(model->file, static_cast<Index>(rows));
  });
}

void unrolled_stream_free(unrolled_stream* stream) { delete stream; }

unrolled_status unrolled_stream_input(const unrolled_stream* stream, size_t index,
                                      unrolled_tensor* description) {
  return guarded([&] {
    check_pointers(stream);
    unrolled_tensor result{};
    describe(stream->file->inputs, index, &result);
    describe(without_time(stream->stream.plan().inputs[index]), result);
    result.shape[0] = static_cast<std::int64_t>(stream->stream.rows());
    *description = result;
  });
}

unrolled_status unrolled_stream_output(const unrolled_stream* stream, size_t index,
                                       unrolled_tensor* description) {
  return guarded([&] {
    check_pointers(stream, description);
    unrolled_tensor result{};
    describe(stream->file->outputs, index, &result);
    const TensorType& type = stream->stream.step_outputs()[index];
    describe(stream->file->sequence_outputs[index] ? without_time(type) : type, result);
    *description = result;
  });
}

unrolled_status unrolled_stream_step(unrolled_stream* stream, const void* const* inputs,
                                     void* const* outputs) {
  return guarded([&] {
    check_pointers(stream, inputs, outputs);
    Stop never;
    stream->stream.step({inputs, stream->file->inputs.size()}, {outputs, stream->file->outputs.size()},
                        never);
  });
}

unrolled_status unrolled_stream_run(unrolled_stream* stream, size_t timesteps, const void* const* inputs,
                                    void* const* outputs) {
  return guarded([&] {
    check_pointers(stream, inputs, outputs);
    if (timesteps < 1 || timesteps > static_cast<std::size_t>(kMaxElements)) {
      fail({"expected at least one timestep"});
    }
    Stop never;
    stream->stream.run(static_cast<Index>(timesteps), {inputs, stream->file->inputs.size()},
                       {outputs, stream->file->outputs.size()}, never);
  });
}

void unrolled_stream_reset(unrolled_stream* stream) {
  if (stream != nullptr) stream->stream.reset();
}

size_t unrolled_stream_state_bytes(const unrolled_stream* stream) {
  if (stream == nullptr) return 0;
  const auto rows = static_cast<std::size_t>(stream->stream.rows());
  std::size_t bytes = sizeof(std::int64_t);
  for (const CarriedState& state : stream->file->states)
    bytes += static_cast<std::size_t>(byte_count(state.row));
  return rows * bytes;
}

unrolled_status unrolled_stream_get_state(const unrolled_stream* stream, void* state, size_t bytes) {
  return guarded([&] {
    check_pointers(stream, state);
    if (bytes != unrolled_stream_state_bytes(stream)) {
      fail({"expected ", std::to_string(unrolled_stream_state_bytes(stream)), " bytes of state"});
    }
    auto* to = static_cast<char*>(state);
    auto& from = const_cast<Stream&>(stream->stream);  // only read
    for (std::size_t i = 0; i < stream->file->states.size(); ++i) {
      const auto size = static_cast<std::size_t>(byte_count(stream->file->states[i].row) * from.rows());
      std::memcpy(to, from.state(i), size);
      to += size;
    }
    std::memcpy(to, from.timesteps_seen().data(), from.timesteps_seen().size_bytes());
  });
}

unrolled_status unrolled_stream_set_state(unrolled_stream* stream, const void* state, size_t bytes) {
  return guarded([&] {
    check_pointers(stream, state);
    if (bytes != unrolled_stream_state_bytes(stream)) {
      fail({"expected ", std::to_string(unrolled_stream_state_bytes(stream)), " bytes of state"});
    }
    const auto* from = static_cast<const char*>(state);
    for (std::size_t i = 0; i < stream->file->states.size(); ++i) {
      const auto size =
          static_cast<std::size_t>(byte_count(stream->file->states[i].row) * stream->stream.rows());
      std::memcpy(stream->stream.state(i), from, size);
      from += size;
    }
    std::memcpy(stream->stream.timesteps_seen().data(), from, stream->stream.timesteps_seen().size_bytes());
  });
}

}  // extern "C"
