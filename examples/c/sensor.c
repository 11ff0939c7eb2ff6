/* SPDX-License-Identifier: MIT
 *
 * A sensor in a loop: every line of the standard input is a timestep, its numbers the features; every line of
 * the standard output is what the model says after it, as C's hexadecimal floats, which lose nothing.
 *
 *   sensor model.unrolled < readings.txt
 */
#include <stdio.h>
#include <stdlib.h>
#include <unrolled.h>

static size_t elements(const unrolled_tensor* tensor) {
  size_t count = 1;
  for (int32_t axis = 0; axis < tensor->rank; ++axis) count *= (size_t)tensor->shape[axis];
  return count;
}

static int fail(const char* what) {
  fprintf(stderr, "sensor: %s: %s\n", what, unrolled_last_error());
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: sensor model.unrolled < readings.txt\n");
    return 2;
  }
  unrolled_model* model = NULL;
  unrolled_stream* stream = NULL;
  if (unrolled_open(argv[1], 1, &model) != UNROLLED_OK) return fail(argv[1]);
  if (unrolled_stream_new(model, 1, &stream) != UNROLLED_OK) return fail("stream");
  unrolled_close(model); /* the stream keeps what it needs */

  unrolled_tensor input, output;
  if (unrolled_stream_input(stream, 0, &input) != UNROLLED_OK) return fail("input");
  if (unrolled_stream_output(stream, 0, &output) != UNROLLED_OK) return fail("output");
  if (input.dtype != UNROLLED_FLOAT32 || output.dtype != UNROLLED_FLOAT32) {
    fprintf(stderr, "sensor: expected a model from numbers to numbers\n");
    return 1;
  }
  const size_t features = elements(&input), results = elements(&output);
  float* x = malloc(features * sizeof(float));
  float* y = malloc(results * sizeof(float));
  if (x == NULL || y == NULL) return 1;
  const void* const inputs[] = {x};
  void* const outputs[] = {y};

  for (;;) {
    for (size_t i = 0; i < features; ++i) {
      if (scanf("%f", &x[i]) != 1) goto end;
    }
    if (unrolled_stream_step(stream, inputs, outputs) != UNROLLED_OK) return fail("step");
    for (size_t i = 0; i < results; ++i) printf(i + 1 < results ? "%a " : "%a\n", (double)y[i]);
  }
end:
  free(x);
  free(y);
  unrolled_stream_free(stream);
  return 0;
}
