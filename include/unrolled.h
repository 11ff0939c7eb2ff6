/* SPDX-License-Identifier: MIT
 *
 * unrolled: run recurrent networks trained in Keras from C. A model is a plan file, which Python's
 * `model.export("model.unrolled")` or the command `unrolled export` writes; results have the bits of
 * Python's.
 *
 * Errors: a function that can fail returns UNROLLED_OK (0) or another unrolled_status; unrolled_last_error()
 * then says more. What a function was to fill or change is as before, unless it says otherwise.
 *
 * Lifetimes: a stream keeps its model alive, which may be closed before it. Texts that come from a model
 * live as long as the model, the text of unrolled_last_error() until the next failing call of its thread.
 * Memory that a caller gives for inputs and outputs is used during the call only.
 *
 * Threads: a model may be used by any number of threads at once, and so may different streams of one model.
 * One stream is for one thread at a time. Runs share threads of their own where the library was built with
 * OpenMP; results do not depend on it. A child that fork() makes opens models and streams of its own.
 *
 * Real time: unrolled_stream_step allocates nothing, takes no lock and makes no system call, from the first
 * step on; all memory is taken by unrolled_stream_new. (An id out of range is an error, whose message does
 * allocate.) Nothing else here is for a thread with a deadline, but unrolled_stream_reset.
 *
 * Arrays are dense, row-major, little-endian: float (UNROLLED_FLOAT32), int32_t (UNROLLED_INT32), or a byte
 * of 0 or 1 (UNROLLED_BOOL). They may begin anywhere that suits their type.
 */
#ifndef UNROLLED_H
#define UNROLLED_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(UNROLLED_SHARED)
#if defined(UNROLLED_BUILDING)
#define UNROLLED_API __declspec(dllexport)
#else
#define UNROLLED_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define UNROLLED_API __attribute__((visibility("default")))
#else
#define UNROLLED_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define UNROLLED_MAX_RANK 8

typedef enum unrolled_status {
  UNROLLED_OK = 0,
  UNROLLED_INVALID_ARGUMENT = 1, /* a shape, an id of an embedding, a null pointer */
  UNROLLED_BAD_FILE = 2,         /* broken, hostile, or of a later version */
  UNROLLED_IO_ERROR = 3,         /* the file cannot be opened */
  UNROLLED_OUT_OF_MEMORY = 4,
  UNROLLED_INTERNAL_ERROR = 5
} unrolled_status;

typedef enum unrolled_dtype { UNROLLED_FLOAT32 = 0, UNROLLED_INT32 = 1, UNROLLED_BOOL = 2 } unrolled_dtype;

typedef struct unrolled_model unrolled_model;
typedef struct unrolled_stream unrolled_stream;

/* An input or output, or an array. */
typedef struct unrolled_tensor {
  const char* name; /* UTF-8; of descriptions only */
  void* data;       /* of arrays only */
  size_t bytes;     /* of arrays only: what there is room for at `data` */
  int32_t dtype;    /* an unrolled_dtype */
  int32_t rank;
  int64_t shape[UNROLLED_MAX_RANK]; /* the batch first; in descriptions -1 where any size goes */
} unrolled_tensor;

/* "1.2.3" */
UNROLLED_API const char* unrolled_version(void);

/* What went wrong in the last failing call of this thread; "" where none has. */
UNROLLED_API const char* unrolled_last_error(void);

/* How many threads one run may take; by default as many as there are processors. */
UNROLLED_API unrolled_status unrolled_set_num_threads(int count);

/* Opens a plan file. It is mapped: replace such a file, do not overwrite it while it is open. With `verify`
 * the checksum of the weights is verified too, which reads all of them. */
UNROLLED_API unrolled_status unrolled_open(const char* path, int verify, unrolled_model** model);

/* Opens the content of a plan file. `data` must stay as it is until the model and its streams are gone; it is
 * copied where it does not begin at a multiple of 64. */
UNROLLED_API unrolled_status unrolled_open_memory(const void* data, size_t bytes, int verify,
                                                  unrolled_model** model);
UNROLLED_API void unrolled_close(unrolled_model* model);

UNROLLED_API size_t unrolled_input_count(const unrolled_model* model);
UNROLLED_API size_t unrolled_output_count(const unrolled_model* model);
UNROLLED_API unrolled_status unrolled_input(const unrolled_model* model, size_t index,
                                            unrolled_tensor* description);
UNROLLED_API unrolled_status unrolled_output(const unrolled_model* model, size_t index,
                                             unrolled_tensor* description);

/* Runs the model on a batch, as Python's predict. Of every input: data, bytes, dtype, rank, shape. Of every
 * output: data and bytes; dtype, rank and shape are filled in. Where an output has no data (null), nothing is
 * computed: a first call gives the shapes, and the second one the numbers. */
UNROLLED_API unrolled_status unrolled_run(const unrolled_model* model, const unrolled_tensor* inputs,
                                          unrolled_tensor* outputs);

/* A stream of `rows` sequences that are stepped together. Fails with UNROLLED_INVALID_ARGUMENT where the
 * model needs timesteps that are still to come. */
UNROLLED_API unrolled_status unrolled_stream_new(const unrolled_model* model, size_t rows,
                                                 unrolled_stream** stream);
UNROLLED_API void unrolled_stream_free(unrolled_stream* stream);

/* An input, or output, of one step: the batch first, without a time axis. */
UNROLLED_API unrolled_status unrolled_stream_input(const unrolled_stream* stream, size_t index,
                                                   unrolled_tensor* description);
UNROLLED_API unrolled_status unrolled_stream_output(const unrolled_stream* stream, size_t index,
                                                    unrolled_tensor* description);

/* One timestep: one pointer for every input and output. Real-time safe. */
UNROLLED_API unrolled_status unrolled_stream_step(unrolled_stream* stream, const void* const* inputs,
                                                  void* const* outputs);

/* Several timesteps at once, [rows, timesteps, ...]: for bulk; takes memory that grows with their number.
 * Outputs that are not sequences are as after the last timestep. */
UNROLLED_API unrolled_status unrolled_stream_run(unrolled_stream* stream, size_t timesteps,
                                                 const void* const* inputs, void* const* outputs);

/* All rows begin anew. Real-time safe. */
UNROLLED_API void unrolled_stream_reset(unrolled_stream* stream);

/* The states of all rows: to go on from later, in this stream or in another one with as many rows of the same
 * model. */
UNROLLED_API size_t unrolled_stream_state_bytes(const unrolled_stream* stream);
UNROLLED_API unrolled_status unrolled_stream_get_state(const unrolled_stream* stream, void* state,
                                                       size_t bytes);
UNROLLED_API unrolled_status unrolled_stream_set_state(unrolled_stream* stream, const void* state,
                                                       size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
