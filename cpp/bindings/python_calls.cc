// SPDX-License-Identifier: MIT
#include "bindings/python_calls.h"

#include <atomic>
#include <chrono>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace unrolled::bindings {
namespace {

std::atomic<unsigned long> main_thread{0};

// The exception of the handler stays set for without_gil.
bool handler_has_raised() noexcept {
  const PyGILState_STATE state = PyGILState_Ensure();
  const bool has_raised = PyErr_CheckSignals() != 0;
  PyGILState_Release(state);
  return has_raised;
}

}  // namespace

Stop::Question detail::question_of_this_thread() {
  const bool is_main = PyThread_get_thread_ident() == main_thread.load(std::memory_order_relaxed);
  return is_main ? &handler_has_raised : nullptr;
}

void detail::restore_thread(PyThreadState* state) {
  try {
    PyEval_RestoreThread(state);
  } catch (...) {
    // Nothing in there throws. While the interpreter ends, Python up to 3.13 ends a daemon thread that asks
    // for the GIL by pthread_exit, which unwinds the stack as an exception does, and would end the process at
    // the first frame that lets none through. So the thread stays here until the process ends, as from 3.14
    // on.
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
}

void watch_signals() {
  main_thread = py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>();
#if !defined(_WIN32)
  // The thread that forks is the main one of the child.
  pthread_atfork(nullptr, nullptr, [] { main_thread = PyThread_get_thread_ident(); });
#endif
}

}  // namespace unrolled::bindings
