// SPDX-License-Identifier: MIT
// unrolled.h with owners and exceptions, C++17. Lifetimes, threads and real time: see there.
#pragma once

#include <unrolled.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace unrolled_c {

class Error : public std::runtime_error {
 public:
  Error(unrolled_status status, const std::string& message) : std::runtime_error(message), status_(status) {}
  unrolled_status status() const { return status_; }

 private:
  unrolled_status status_;
};

inline void check(unrolled_status status) {
  if (status != UNROLLED_OK) throw Error(status, unrolled_last_error());
}

using Tensor = unrolled_tensor;

class Model {
 public:
  explicit Model(const std::string& path, bool verify = false) {
    unrolled_model* opened = nullptr;
    check(unrolled_open(path.c_str(), verify ? 1 : 0, &opened));
    model_.reset(opened);
  }
  // `data` must stay as it is while the model or a stream of it lives.
  Model(const void* data, std::size_t bytes, bool verify = false) {
    unrolled_model* opened = nullptr;
    check(unrolled_open_memory(data, bytes, verify ? 1 : 0, &opened));
    model_.reset(opened);
  }

  std::size_t input_count() const { return unrolled_input_count(model_.get()); }
  std::size_t output_count() const { return unrolled_output_count(model_.get()); }
  Tensor input(std::size_t index) const {
    Tensor description;
    check(unrolled_input(model_.get(), index, &description));
    return description;
  }
  Tensor output(std::size_t index) const {
    Tensor description;
    check(unrolled_output(model_.get(), index, &description));
    return description;
  }

  // See unrolled_run: `outputs` without data get their shapes.
  void run(const std::vector<Tensor>& inputs, std::vector<Tensor>& outputs) const {
    if (inputs.size() != input_count() || outputs.size() != output_count()) {
      throw Error(UNROLLED_INVALID_ARGUMENT, "expected all inputs and outputs of the model");
    }
    check(unrolled_run(model_.get(), inputs.data(), outputs.data()));
  }

  const unrolled_model* get() const { return model_.get(); }

 private:
  struct Close {
    void operator()(unrolled_model* model) const { unrolled_close(model); }
  };
  std::unique_ptr<unrolled_model, Close> model_;
};

class Stream {
 public:
  explicit Stream(const Model& model, std::size_t rows = 1) {
    unrolled_stream* made = nullptr;
    check(unrolled_stream_new(model.get(), rows, &made));
    stream_.reset(made);
  }

  Tensor input(std::size_t index) const {
    Tensor description;
    check(unrolled_stream_input(stream_.get(), index, &description));
    return description;
  }
  Tensor output(std::size_t index) const {
    Tensor description;
    check(unrolled_stream_output(stream_.get(), index, &description));
    return description;
  }

  // Of a model with one input and one output. Real-time safe.
  void step(const void* input, void* output) { step(&input, &output); }
  void step(const void* const* inputs, void* const* outputs) {
    check(unrolled_stream_step(stream_.get(), inputs, outputs));
  }
  void run(std::size_t timesteps, const void* const* inputs, void* const* outputs) {
    check(unrolled_stream_run(stream_.get(), timesteps, inputs, outputs));
  }
  void reset() { unrolled_stream_reset(stream_.get()); }

  std::vector<unsigned char> state() const {
    std::vector<unsigned char> bytes(unrolled_stream_state_bytes(stream_.get()));
    check(unrolled_stream_get_state(stream_.get(), bytes.data(), bytes.size()));
    return bytes;
  }
  void set_state(const std::vector<unsigned char>& bytes) {
    check(unrolled_stream_set_state(stream_.get(), bytes.data(), bytes.size()));
  }

 private:
  struct Free {
    void operator()(unrolled_stream* stream) const { unrolled_stream_free(stream); }
  };
  std::unique_ptr<unrolled_stream, Free> stream_;
};

}  // namespace unrolled_c
