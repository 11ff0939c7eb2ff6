# SPDX-License-Identifier: MIT
"""Sequences of other lengths than one: ``python -m bench.sequences``.

Two tables, unrolled alone. Sequences whose lengths have a long tail, by ``predict_sequences`` and by ``predict``
on the array padded to the longest, whose outputs at the sequences' ends are only right for models that look
back. And blocks of audio, ``stream.run`` on 64 to 512 samples of one feature, in nanoseconds a timestep.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np

from bench import tables

SEQUENCES, FEATURES, UNITS = 1000, 16, 64
LONGEST = 1000
BLOCKS = (64, 128, 256, 512)
AUDIO_UNITS = (8, 16, 20, 32, 40, 64)
ROUNDS = {"quick": 3, "full": 15}


def median_seconds(call: Callable[[], object], rounds: int, calls: int = 1) -> float:
    call()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(calls):
            call()
        seconds.append((time.perf_counter() - started) / calls)
    return float(np.median(seconds))


def sequences(rounds: int) -> None:
    import unrolled
    from unrolled import layers

    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(3.5, 1.0, SEQUENCES).astype(int) + 1, 1, LONGEST)
    x = [rng.standard_normal((length, FEATURES)).astype(np.float32) for length in lengths]
    padded = np.zeros((SEQUENCES, lengths.max(), FEATURES), np.float32)
    for row, item in zip(padded, x, strict=True):
        row[: len(item)] = item
    rows = []
    for title, stack in {
        "LSTM": [layers.LSTM(UNITS), layers.Dense(1)],
        "GRU, sequences": [layers.GRU(UNITS, return_sequences=True), layers.Dense(4)],
        "Bidirectional LSTM": [layers.Bidirectional(layers.LSTM(UNITS))],
    }.items():
        model = unrolled.Sequential([unrolled.Input((None, FEATURES)), *stack])
        own = median_seconds(lambda model=model: model.predict_sequences(x), rounds)
        whole = median_seconds(lambda model=model: model.predict(padded, verbose=0), max(3, rounds // 4))
        rows.append([title, f"{1e3 * own:.0f}", f"{1e3 * whole:.0f}", f"{whole / own:.1f}"])
    title = (
        f"{SEQUENCES} sequences, {lengths.sum():,} timesteps, {padded.shape[1] * SEQUENCES:,} padded, "
        f"{len(set(lengths.tolist()))} lengths: milliseconds"
    )
    tables.show(title, ["", "predict_sequences", "padded predict", "ratio"], rows)


def blocks(rounds: int) -> None:
    import unrolled
    from unrolled import layers

    rows = []
    for kind in (layers.LSTM, layers.GRU):
        for units in AUDIO_UNITS:
            model = unrolled.Sequential([unrolled.Input((None, 1)), kind(units, return_sequences=True)])
            stream = model.stream()
            cells = []
            for size in BLOCKS:
                x = np.random.default_rng(0).standard_normal((1, size, 1)).astype(np.float32)
                seconds = median_seconds(lambda x=x, stream=stream: stream.run(x), rounds, calls=200)
                cells.append(f"{1e9 * seconds / size:.0f}")
            rows.append([f"{kind.__name__} {units}", *cells])
    tables.show(
        "stream.run on blocks of samples, one feature: nanoseconds a timestep, the call from Python included",
        ["", *map(str, BLOCKS)],
        rows,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    import unrolled

    parser = argparse.ArgumentParser(prog="python -m bench.sequences", description=__doc__)
    parser.add_argument("--quick", dest="effort", action="store_const", const="quick", help="a glance")
    parser.add_argument("--table", action="append", choices=["sequences", "blocks"], help="repeatable")
    parser.add_argument("--threads", type=int, help="default: the processors")
    parser.set_defaults(effort="full")
    options = parser.parse_args(arguments)
    if options.threads is not None:
        unrolled.set_num_threads(options.threads)
    wanted = options.table or ["sequences", "blocks"]
    if "sequences" in wanted:
        sequences(ROUNDS[options.effort])
    if "blocks" in wanted:
        blocks(ROUNDS[options.effort])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
