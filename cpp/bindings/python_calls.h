// SPDX-License-Identifier: MIT
// What a call that computes does with the GIL, and with signals. For cpp/bindings only.
#pragma once

#include "base/stop.h"
#include "bindings/bindings.h"

namespace unrolled::bindings {

namespace detail {
// Null on threads other than Python's main one: its handlers of signals run nowhere else.
Stop::Question question_of_this_thread();
void restore_thread(PyThreadState* state);
}  // namespace detail

// Calls compute(stop) without the GIL. A handler of a signal that raises, as Python's own for Ctrl-C does,
// stops it, and its exception is what the caller gets. Handlers run as Python runs them: on the main thread
// alone; a call on another thread goes on.
template <typename Compute>
void without_gil(Compute&& compute) {
  Stop stop(detail::question_of_this_thread());
  PyThreadState* const state = PyEval_SaveThread();
  try {
    compute(stop);
  } catch (const Stopped&) {
    detail::restore_thread(state);
    throw py::error_already_set();
  } catch (...) {
    detail::restore_thread(state);
    throw;
  }
  detail::restore_thread(state);
}

// Remembers the main thread; once, when the module is loaded.
void watch_signals();

}  // namespace unrolled::bindings
