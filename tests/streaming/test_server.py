# SPDX-License-Identifier: MIT
"""The example server: what one client sends wrong ends nothing for the others."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tests.streaming.causal_models import make

SERVER = Path(__file__).resolve().parents[2] / "examples" / "streaming" / "server.py"


def load_server():
    spec = importlib.util.spec_from_file_location("example_server", SERVER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("gru", np.ones(5), np.array([1, np.nan, 1, 1, 1])),
        ("gru", np.ones(5), np.array([1, np.inf, 1, 1, 1])),
        ("embedding", np.array(3), np.array(11)),
        ("embedding", np.array(3), np.array(-1)),
    ],
)
def test_a_wrong_timestep_ends_one_connection_only(name, good, bad):
    model = make(name)
    steps = 6
    wanted = model.predict(np.broadcast_to(good, (1, steps, *good.shape)).copy())[0]

    async def client(port, frames):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers = []
        for frame in frames:
            writer.write(np.asarray(frame, "<f4").tobytes())
            answers.append(await reader.readexactly(4 * wanted.shape[-1]))
            await asyncio.sleep(0)
        writer.close()
        return np.stack([np.frombuffer(answer, "<f4") for answer in answers])

    async def wrong(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(np.asarray(bad, "<f4").tobytes())
        answer = await reader.read()  # to the end of the connection
        writer.close()
        return answer

    async def play():
        server, listening, stepping = await load_server().start(model, 0)
        port = listening.sockets[0].getsockname()[1]
        try:
            clients = [client(port, [good] * steps) for _ in range(4)]
            results = await asyncio.gather(*clients[:2], *(wrong(port) for _ in range(3)), *clients[2:])
            after = await client(port, [good] * steps)
            assert not stepping.done()
            return [*results[:2], *results[5:], after], results[2:5], len(server.pool)
        finally:
            stepping.cancel()
            listening.close()

    right, errors, _ = asyncio.run(asyncio.wait_for(play(), 60))
    for got in right:
        np.testing.assert_array_equal(got, wanted)
    for error in errors:
        assert error.startswith(b"error: ")
        assert error.endswith(b"\n")
