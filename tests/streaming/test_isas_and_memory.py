# SPDX-License-Identifier: MIT
"""The same bytes at every instruction set, no allocation in a step, no growth over many steps.

The long soak: ``python -m tests.streaming.test_isas_and_memory soak 10000000``.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import unrolled
from tests.streaming.causal_models import MODELS, chain, make, returns_sequences, sequences
from unrolled import layers

ROOT = Path(__file__).resolve().parents[2]
# Without fused multiply-add a product is rounded before it is added: other bits, as documented.
WITHOUT_FMA = {"baseline"}


def play(name: str) -> str:
    """A hash of all outputs of steps, a block and a pool, each checked against predict."""
    model = make(name)
    x = sequences(model, 4, 9)
    model.reset_state()
    whole = model.predict(x, verbose=0)
    stream, pool = model.stream(4), model.stream_pool(2)
    clients = [pool.open() for _ in range(4)]
    digest = hashlib.sha256()
    for t in range(9):
        order = np.random.default_rng(t).permutation(4)
        y = stream.copy().run(x[:, t : t + 1]) if t == 4 else None
        step = stream.step(x[:, t])
        together = pool.step([clients[i] for i in order], x[order, t])
        assert together.tobytes() == np.ascontiguousarray(step[order]).tobytes()
        assert y is None or y.tobytes() == step.tobytes()
        digest.update(step.tobytes())
        if returns_sequences(model):
            assert step.tobytes() == np.ascontiguousarray(whole[:, t]).tobytes()
    if not returns_sequences(model):
        assert step.tobytes() == whole.tobytes()
    return digest.hexdigest()


def in_subprocess(*arguments: str, **environment: str) -> str:
    path = os.pathsep.join([str(ROOT), str(Path(unrolled.__file__).parents[1])])
    result = subprocess.run(
        [sys.executable, "-m", "tests.streaming.test_isas_and_memory", *arguments],
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_streams_give_the_bytes_of_predict_at_every_isa_and_thread_count():
    hashes = {}
    for isa in unrolled.available_isas():
        runs = [
            json.loads(in_subprocess("play", UNROLLED_ISA=isa, OMP_NUM_THREADS=threads))
            for threads in ("1", "2")
        ]
        assert runs[0] == runs[1], isa
        if isa not in WITHOUT_FMA:
            hashes[isa] = runs[0]
    assert len(set(map(json.dumps, hashes.values()))) <= 1


COUNTER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
static volatile long count;
long allocations(void) { return count; }
#define REAL(type, name) static type real; if (!real) real = (type)dlsym(RTLD_NEXT, name)
typedef void *(*malloc_t)(size_t);
typedef void *(*realloc_t)(void *, size_t);
typedef void *(*aligned_t)(size_t, size_t);
void *malloc(size_t n) { REAL(malloc_t, "malloc"); ++count; return real(n); }
void *realloc(void *p, size_t n) { REAL(realloc_t, "realloc"); ++count; return real(p, n); }
void *aligned_alloc(size_t a, size_t n) { REAL(aligned_t, "aligned_alloc"); ++count; return real(a, n); }
"""


def models_for_steps():
    """Small enough to step on the calling thread, and large enough for the threads of predict."""
    yield "small", chain(layers.LSTM(8, return_sequences=True), layers.GRU(4), layers.Dense(2)), 1
    yield "convolution", chain(layers.Conv1D(4, 3, padding="causal"), layers.GlobalAveragePooling1D()), 3
    yield "large", chain(layers.LSTM(128, return_sequences=True), layers.LSTM(128), layers.Dense(2)), 64


def count_allocations() -> dict[str, int]:
    allocations = ctypes.CDLL(None).allocations
    allocations.restype = ctypes.c_long
    counts = {}
    for name, model, rows in models_for_steps():
        stream = model.stream(rows)
        x = np.ones((rows, 5), np.float32)
        out = np.empty_like(stream.step(x))
        for _ in range(3):
            stream.step(x, out)
        before = allocations()
        for _ in range(1000):
            stream.step(x, out)
        counts[name] = allocations() - before
    return counts


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("cc") is None, reason="counts by LD_PRELOAD"
)
def test_a_step_allocates_nothing_after_the_first(tmp_path):
    source, library = tmp_path / "counter.c", tmp_path / "counter.so"
    source.write_text(COUNTER)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    counts = json.loads(in_subprocess("count", LD_PRELOAD=str(library), OMP_NUM_THREADS="1"))
    assert counts == {"small": 0, "convolution": 0, "large": 0}


def resident_kilobytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def soak(steps: int) -> int:
    """Steps, blocks, clients that come and go, states that move; how many kilobytes the process grew."""
    model = chain(layers.Conv1D(4, 3, padding="causal"), layers.LSTM(8, return_sequences=True), layers.GRU(4))
    stream, pool = model.stream(), model.stream_pool(4)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 16, 5)).astype(np.float32)
    clients = [pool.open() for _ in range(3)]
    start = 0
    for i in range(steps):
        if i == steps // 10:
            start = resident_kilobytes()
        stream.step(x[:, i % 16])
        if i % 100 == 0:
            stream.run(x)
            pool.close(clients.pop(0))
            clients.append(pool.open(stream.get_state()))
            pool.step(clients, x[0, :3])
            stream = stream.copy()
    return resident_kilobytes() - start


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_many_steps_do_not_grow_the_process():
    assert int(in_subprocess("soak", "100000")) < 1024


if __name__ == "__main__":
    if sys.argv[1] == "play":
        print(json.dumps({name: play(name) for name in sorted(MODELS)}))
    elif sys.argv[1] == "count":
        print(json.dumps(count_allocations()))
    elif sys.argv[1] == "soak":
        print(soak(int(sys.argv[2])))
