// SPDX-License-Identifier: MIT
// The threads that run one operation together. Plain data and a function pointer, so that kernels
// compiled once per ISA can wait for their team without sharing an inline function with other objects.
#pragma once

namespace unrolled {

struct Team {
  int index = 0;  // this thread, 0 .. size - 1
  int size = 1;
  void* barrier = nullptr;
  void (*wait)(void* barrier, int index) = nullptr;  // null exactly when size == 1
};

}  // namespace unrolled
