# SPDX-License-Identifier: MIT
"""A pool behind an asyncio server: every connection is a client with a state of its own.

``python examples/streaming/server.py [MODEL] [--port PORT]``. A client sends one timestep after another as
float32 in little-endian order and gets the output for each. Timesteps of different clients that wait at the
same time become one step of the pool. A timestep that the model does not take (NaN, an id outside of the table)
is answered by a line that begins with "error: ", and the connection ends; the others notice nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import math
from pathlib import Path

import numpy as np

import unrolled

MODEL = Path(__file__).resolve().parents[1] / "mackey_glass" / "mackey_glass.keras"


class Server:
    """Gathers what clients send while the pool is busy, then steps them together.

    Parameters
    ----------
    model : Model
        Causal, of one input and one output.
    """

    def __init__(self, model: unrolled.Model) -> None:
        self.shape = tuple(model.inputs[0].shape[2:])
        self.pool = model.stream_pool()
        self.steps = 0
        self._waiting: list[tuple[int, bytes, asyncio.Future[bytes]]] = []
        self._wake = asyncio.Event()

    async def step_together(self) -> None:
        """Run for ever: step whoever waits."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            waiting, self._waiting = self._waiting, []
            try:
                outputs = await self._step([client for client, _, _ in waiting], [f for _, f, _ in waiting])
            except ValueError:  # nobody has moved: find out whose timestep it was
                outputs = []
                for client, frame, _ in waiting:
                    try:
                        outputs += await self._step([client], [frame])
                    except ValueError as error:
                        outputs.append(error)
            for output, (_, _, answer) in zip(outputs, waiting, strict=True):
                if answer.done():
                    continue
                if isinstance(output, ValueError):
                    answer.set_exception(output)
                else:
                    answer.set_result(output)

    async def _step(self, clients: list[int], frames: list[bytes]) -> list[bytes | ValueError]:
        """The outputs of some clients; ``ValueError`` where a timestep does not do, and none has moved."""
        x = np.frombuffer(b"".join(frames), "<f4").reshape(len(clients), *self.shape)
        if not np.isfinite(x).all():
            # The model would take it, and its state would be NaN from then on.
            raise ValueError("a timestep has values that are not finite")
        # The event loop goes on meanwhile: the pool releases the GIL.
        y = await asyncio.to_thread(self.pool.step, clients, x)
        self.steps += 1
        return [output.tobytes() for output in y]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first timestep to its last."""
        client = self.pool.open()
        size = 4 * math.prod(self.shape)
        try:
            while True:
                frame = await reader.readexactly(size)
                answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
                self._waiting.append((client, frame, answer))
                self._wake.set()
                writer.write(await answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except ValueError as error:
            writer.write(f"error: {error}\n".encode("utf-8", "backslashreplace"))
        finally:
            self.pool.close(client)
            writer.close()


async def start(model: unrolled.Model, port: int) -> tuple[Server, asyncio.Server, asyncio.Task[None]]:
    """The server, listening on this machine only."""
    server = Server(model)
    stepping = asyncio.create_task(server.step_together())
    return server, await asyncio.start_server(server.serve, "127.0.0.1", port), stepping


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=MODEL)
    parser.add_argument("--port", type=int, default=9876)
    options = parser.parse_args()
    _, listening, _ = await start(unrolled.load_model(options.model), options.port)
    print(f"listening on {listening.sockets[0].getsockname()}")
    await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
