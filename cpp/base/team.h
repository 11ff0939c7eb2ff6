// SPDX-License-Identifier: MIT
// The threads that run one operation together. Plain data and function pointers, so that kernels
// compiled once per ISA can wait for their team without sharing an inline function with other objects.
#pragma once

namespace unrolled {

struct Team {
  int index = 0;  // this thread, 0 .. size - 1
  int size = 1;
  void* barrier = nullptr;
  // Null exactly when size == 1. True: the run is to end; the whole team is told so at the same wait.
  bool (*wait)(void* barrier, int index) = nullptr;
  void* stop = nullptr;
  // Null: never. Only for work between two waits, which the thread may then leave unfinished; it must still
  // come to the next wait.
  bool (*should_stop)(void* stop) = nullptr;
};

}  // namespace unrolled
