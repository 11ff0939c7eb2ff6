// SPDX-License-Identifier: MIT
// Steps a stream under watch: after the first step every call of an allocator or of a lock is counted, and
// the system allows read, write and exit alone (seccomp's strict mode). Prints what was counted, then the
// outputs.
#include <dlfcn.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <unrolled.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

bool is_watched = false;
long allocations = 0;
long locks = 0;

}  // namespace

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void __libc_free(void*);

void* malloc(size_t size) {
  allocations += is_watched;
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  allocations += is_watched;
  return __libc_calloc(count, size);
}
void* realloc(void* memory, size_t size) {
  allocations += is_watched;
  return __libc_realloc(memory, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  allocations += is_watched;
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** memory, size_t alignment, size_t size) {
  allocations += is_watched;
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr ? 12 : 0;
}
void free(void* memory) {
  allocations += is_watched && memory != nullptr;  // that of null does nothing
  __libc_free(memory);
}
int pthread_mutex_lock(pthread_mutex_t* mutex) {
  using Function = int (*)(pthread_mutex_t*);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "pthread_mutex_lock"));
  locks += is_watched;
  return real(mutex);
}
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const int steps = std::atoi(argv[2]);
  const bool provoke = std::strcmp(argv[3], "allocate") == 0;
  unrolled_model* model = nullptr;
  unrolled_stream* stream = nullptr;
  unrolled_tensor input, output;
  if (unrolled_open(argv[1], 1, &model) != UNROLLED_OK ||
      unrolled_stream_new(model, 1, &stream) != UNROLLED_OK ||
      unrolled_stream_input(stream, 0, &input) != UNROLLED_OK ||
      unrolled_stream_output(stream, 0, &output) != UNROLLED_OK) {
    std::fprintf(stderr, "%s\n", unrolled_last_error());
    return 1;
  }
  const auto count = [](const unrolled_tensor& tensor) {
    std::size_t elements = 1;
    for (int axis = 0; axis < tensor.rank; ++axis) elements *= static_cast<std::size_t>(tensor.shape[axis]);
    return elements;
  };
  const std::size_t features = count(input);
  std::vector<float> x(features * static_cast<std::size_t>(steps));
  std::vector<float> y(count(output) * static_cast<std::size_t>(steps));
  if (std::fread(x.data(), sizeof(float), x.size(), stdin) != x.size()) return 1;
  char line[64];

  is_watched = true;
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) return 77;
  bool is_done = true;
  for (int step = 0; step < steps; ++step) {
    const void* from = x.data() + features * static_cast<std::size_t>(step);
    void* to = y.data() + count(output) * static_cast<std::size_t>(step);
    is_done = is_done && unrolled_stream_step(stream, &from, &to) == UNROLLED_OK;
  }
  unrolled_stream_reset(stream);
  if (provoke) free(malloc(8));
  is_watched = false;
  const int length = std::snprintf(line, sizeof(line), "%ld %ld %d\n", allocations, locks, is_done);
  if (write(1, line, static_cast<std::size_t>(length)) != length) return 1;
  const char* rest = reinterpret_cast<const char*>(y.data());
  for (std::size_t left = y.size() * sizeof(float); left > 0;) {
    const ssize_t written = write(1, rest, left);
    if (written <= 0) syscall(SYS_exit, 1);
    rest += written;
    left -= static_cast<std::size_t>(written);
  }
  syscall(SYS_exit, 0);
}
