/* SPDX-License-Identifier: MIT
 *
 * Calls of the C library that Python compares: "run" a batch, "stream" by steps, a block and a copied state,
 * "refuse" whatever is wrong. Raw arrays in and out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unrolled.h>

static int fail(void) {
  fprintf(stderr, "%s\n", unrolled_last_error());
  return 1;
}

static size_t count(const unrolled_tensor* tensor) {
  size_t elements = 1;
  for (int32_t axis = 0; axis < tensor->rank; ++axis) elements *= (size_t)tensor->shape[axis];
  return elements;
}

/* argv: run MODEL, then for the only input its shape; float32 or int32 on the standard input */
static int run(const unrolled_model* model, int argc, char** argv) {
  unrolled_tensor input, outputs[8];
  memset(outputs, 0, sizeof(outputs));
  if (unrolled_input_count(model) != 1 || unrolled_output_count(model) > 8) return 1;
  if (unrolled_input(model, 0, &input) != UNROLLED_OK) return fail();
  if (input.rank != argc) return 1;
  for (int axis = 0; axis < argc; ++axis) input.shape[axis] = atoll(argv[axis]);
  input.bytes = count(&input) * 4;
  input.data = malloc(input.bytes);
  if (fread(input.data, 1, input.bytes, stdin) != input.bytes) return 1;
  if (unrolled_run(model, &input, outputs) != UNROLLED_OK) return fail();
  for (size_t i = 0; i < unrolled_output_count(model); ++i) {
    outputs[i].bytes = count(&outputs[i]) * 4;
    outputs[i].data = malloc(outputs[i].bytes + 1);
  }
  if (unrolled_run(model, &input, outputs) != UNROLLED_OK) return fail();
  for (size_t i = 0; i < unrolled_output_count(model); ++i)
    fwrite(outputs[i].data, 1, outputs[i].bytes, stdout);
  return 0;
}

/* Half of the timesteps by steps, then the rest as a block in another stream that goes on from the state. */
static int stream(const unrolled_model* model, int argc, char** argv) {
  unrolled_stream *first = NULL, *second = NULL;
  unrolled_tensor input, output;
  if (argc != 1) return 1;
  const size_t steps = (size_t)atoll(argv[0]), half = steps / 2;
  if (unrolled_stream_new(model, 1, &first) != UNROLLED_OK) return fail();
  if (unrolled_stream_new(model, 1, &second) != UNROLLED_OK) return fail();
  if (unrolled_stream_input(first, 0, &input) != UNROLLED_OK) return fail();
  if (unrolled_stream_output(first, 0, &output) != UNROLLED_OK) return fail();
  const size_t in = count(&input), out = count(&output);
  float* x = malloc(steps * in * 4);
  float* y = malloc(steps * out * 4);
  if (fread(x, 4, steps * in, stdin) != steps * in) return 1;
  for (int again = 0; again < 2; ++again) { /* after a reset it is as new */
    for (size_t step = 0; step < half; ++step) {
      const void* from[] = {x + step * in};
      void* to[] = {y + step * out};
      if (unrolled_stream_step(first, from, to) != UNROLLED_OK) return fail();
    }
    if (again == 0) unrolled_stream_reset(first);
  }
  const size_t bytes = unrolled_stream_state_bytes(first);
  void* state = malloc(bytes);
  if (unrolled_stream_get_state(first, state, bytes) != UNROLLED_OK) return fail();
  unrolled_stream_free(first);
  if (unrolled_stream_set_state(second, state, bytes - 1) != UNROLLED_INVALID_ARGUMENT) return 1;
  if (unrolled_stream_set_state(second, state, bytes) != UNROLLED_OK) return fail();
  const void* from[] = {x + half * in};
  void* to[] = {y + half * out};
  if (unrolled_stream_run(second, steps - half, from, to) != UNROLLED_OK) return fail();
  unrolled_stream_free(second);
  fwrite(y, 4, steps * out, stdout);
  return 0;
}

#define EXPECT(call, status)                                           \
  if ((call) != (status) || unrolled_last_error()[0] == '\0') {        \
    fprintf(stderr, "line %d: %s\n", __LINE__, unrolled_last_error()); \
    return 1;                                                          \
  }

/* Every wrong call says so, and what was given stays. The model takes (batch, timesteps, 5). */
static int refuse(const char* path, unrolled_model* model) {
  unrolled_model* other = NULL;
  unrolled_stream* none = NULL;
  unrolled_tensor tensor, outputs[8];
  float data[8] = {0};
  if (unrolled_last_error()[0] != '\0') return 1;
  EXPECT(unrolled_open("/nowhere/at/all", 0, &other), UNROLLED_IO_ERROR);
  EXPECT(unrolled_open("/", 0, &other), UNROLLED_IO_ERROR);
  EXPECT(unrolled_open(NULL, 0, &other), UNROLLED_INVALID_ARGUMENT);
  EXPECT(unrolled_open(path, 0, NULL), UNROLLED_INVALID_ARGUMENT);
  EXPECT(unrolled_open_memory("abc", 3, 0, &other), UNROLLED_BAD_FILE);
  EXPECT(unrolled_open_memory("abc", 0, 0, &other), UNROLLED_BAD_FILE);
  EXPECT(unrolled_set_num_threads(0), UNROLLED_INVALID_ARGUMENT);
  EXPECT(unrolled_input(model, 1, &tensor), UNROLLED_INVALID_ARGUMENT);
  EXPECT(unrolled_output(model, 99, &tensor), UNROLLED_INVALID_ARGUMENT);
  EXPECT(unrolled_input(NULL, 0, &tensor), UNROLLED_INVALID_ARGUMENT);
  EXPECT(unrolled_stream_new(model, 0, &none), UNROLLED_INVALID_ARGUMENT);
  EXPECT(unrolled_stream_new(NULL, 1, &none), UNROLLED_INVALID_ARGUMENT);
  EXPECT(unrolled_stream_step(NULL, NULL, NULL), UNROLLED_INVALID_ARGUMENT);
  if (other != NULL || none != NULL) return 1;
  if (unrolled_input(model, 0, &tensor) != UNROLLED_OK) return fail();
  memset(outputs, 0, sizeof(outputs));
  tensor.shape[0] = tensor.shape[1] = 1;
  tensor.data = data;
  tensor.bytes = 19;
  EXPECT(unrolled_run(model, &tensor, outputs), UNROLLED_INVALID_ARGUMENT);
  tensor.bytes = 20;
  tensor.shape[2] = 6;
  EXPECT(unrolled_run(model, &tensor, outputs), UNROLLED_INVALID_ARGUMENT);
  tensor.shape[2] = 5;
  tensor.dtype = UNROLLED_INT32;
  EXPECT(unrolled_run(model, &tensor, outputs), UNROLLED_INVALID_ARGUMENT);
  tensor.dtype = UNROLLED_FLOAT32;
  tensor.rank = 2;
  EXPECT(unrolled_run(model, &tensor, outputs), UNROLLED_INVALID_ARGUMENT);
  tensor.rank = 3;
  tensor.shape[1] = -1;
  EXPECT(unrolled_run(model, &tensor, outputs), UNROLLED_INVALID_ARGUMENT);
  tensor.shape[1] = 1;
  tensor.data = NULL;
  EXPECT(unrolled_run(model, &tensor, outputs), UNROLLED_INVALID_ARGUMENT);
  tensor.data = data;
  outputs[0].data = data;
  outputs[0].bytes = 3;
  EXPECT(unrolled_run(model, &tensor, outputs), UNROLLED_INVALID_ARGUMENT);
  unrolled_close(NULL);
  unrolled_stream_free(NULL);
  unrolled_stream_reset(NULL);
  printf("%s", unrolled_version());
  return 0;
}

int main(int argc, char** argv) {
  unrolled_model* model = NULL;
  if (argc < 3) return 2;
  if (unrolled_open(argv[2], 1, &model) != UNROLLED_OK) return fail();
  int result = 2;
  if (strcmp(argv[1], "run") == 0) result = run(model, argc - 3, argv + 3);
  if (strcmp(argv[1], "stream") == 0) result = stream(model, argc - 3, argv + 3);
  if (strcmp(argv[1], "refuse") == 0) result = refuse(argv[2], model);
  unrolled_close(model);
  return result;
}
