# SPDX-License-Identifier: MIT
"""Play many clients of ``server.py`` at once and check every answer against ``predict``.

``python examples/streaming/load_test.py [--clients N] [--timesteps N]`` starts a server of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import numpy as np
from server import MODEL, start

import unrolled


async def play(port: int, x: np.ndarray, seconds: list[float]) -> np.ndarray:
    """One client: send each timestep of ``x`` when the one before has been answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    outputs = []
    for frame in x:
        started = time.perf_counter()
        writer.write(frame.tobytes())
        outputs.append(np.frombuffer(await reader.readexactly(4), "<f4"))
        seconds.append(time.perf_counter() - started)
    writer.close()
    return np.concatenate(outputs)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--timesteps", type=int, default=100)
    options = parser.parse_args()
    model = unrolled.load_model(MODEL)
    server, listening, stepping = await start(model, 0)
    port = listening.sockets[0].getsockname()[1]
    x = np.random.default_rng(0).random((options.clients, options.timesteps, 1), np.float32)
    seconds: list[float] = []
    started = time.perf_counter()
    outputs = await asyncio.gather(*(play(port, row, seconds) for row in x))
    total = time.perf_counter() - started
    stepping.cancel()
    listening.close()
    same = np.array_equal(np.stack(outputs)[..., None], model.predict(x))
    count = len(seconds)
    print(f"{options.clients} clients, {count} timesteps in {server.steps} steps of the pool, "
          f"{count / total:,.0f} a second, p99 {1000 * np.quantile(seconds, 0.99):.1f} ms; "
          f"the same as predict: {same}")  # fmt: skip
    if not same:
        raise SystemExit(1)


if __name__ == "__main__":
    asyncio.run(main())
