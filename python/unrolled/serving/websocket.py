# SPDX-License-Identifier: MIT
"""A live stream on a WebSocket: a frame in, a frame out.

A binary frame holds one timestep, or several, of each input one after another, little-endian, without a batch
axis; the answer holds the outputs in the same way. A text frame is a command, answered by a text frame:
``{"command": "reset"}`` starts anew, ``{"command": "state"}`` gives the state. What cannot be taken is
answered by ``{"error": ...}``, and the stream is as before.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from unrolled.serving.codec import Encoding, encode_tensors, parse_json, to_bytes
from unrolled.serving.protocol import Arrays, ServingError
from unrolled.serving.responses import error_response
from unrolled.serving.security import KEY_SUBPROTOCOL
from unrolled.serving.served import ServedModel
from unrolled.serving.service import Service

SUBPROTOCOL = "unrolled.stream"
GOING_AWAY = 1001


def stream_route(service: Service) -> Callable[[WebSocket], Awaitable[None]]:
    """The handler of ``/v2/models/NAME/stream``."""

    async def handle(socket: WebSocket) -> None:
        try:
            served = service.causal(socket.path_params["model"])
        except ServingError as error:
            await socket.send_denial_response(error_response(error))
            return
        offered = socket.scope.get("subprotocols", [])
        # The key came as a subprotocol too; it is not sent back.
        known = [protocol for protocol in offered if not protocol.startswith(KEY_SUBPROTOCOL)]
        await socket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in known else None)
        await _Conversation(service, served, socket).run()

    return handle


class _Conversation:
    def __init__(self, service: Service, served: ServedModel, socket: WebSocket) -> None:
        self._service = service
        self._served = served
        self._socket = socket
        self._id = service.new_stream()
        self._is_open = False
        self._idle = service.options.sequence_idle
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None
        self._dtypes = [np.dtype(dtype).newbyteorder("<") for dtype in served.dtypes]
        self._sizes = [
            math.prod(shape) * dtype.itemsize
            for shape, dtype in zip(served.step_shapes, self._dtypes, strict=True)
        ]

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self._last = loop.time()
        self._check_idle()
        try:
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._answer(message)
                self._last = loop.time()
        except (WebSocketDisconnect, RuntimeError):
            return  # gone while it was being answered
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._is_open:
                with contextlib.suppress(ServingError):  # it had been idle, and is forgotten already
                    await self._service.close_stream(self._served.name, self._id)

    def _check_idle(self) -> None:
        loop = asyncio.get_running_loop()
        left = self._last + self._idle - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._check_idle)
        else:
            self._timer = None
            self._closing = loop.create_task(self._socket.close(GOING_AWAY, "idle"))

    async def _answer(self, message: Any) -> None:
        started = time.perf_counter()
        code = "200"
        try:
            if message.get("bytes") is not None:
                await self._socket.send_bytes(await self._step(message["bytes"]))
            else:
                await self._socket.send_text(await self._command(message["text"]))
        except ServingError as error:
            code = str(error.status)
            await self._socket.send_text(json.dumps({"error": error.message}))
        self._service.metrics.request(self._served.name, "websocket", code, time.perf_counter() - started)

    async def _step(self, frame: bytes) -> bytes:
        whole = sum(self._sizes)
        timesteps, rest = divmod(len(frame), whole)
        if rest or not timesteps:
            raise ServingError(400, f"a frame of {len(frame)} bytes: a timestep takes {whole} bytes")
        inputs: Arrays = {}
        start = 0
        for name, shape, dtype, size in zip(
            self._served.input_names, self._served.step_shapes, self._dtypes, self._sizes, strict=True
        ):
            part = frame[start : start + size * timesteps]
            array = np.frombuffer(part, dtype).reshape(1, timesteps, *shape)
            inputs[name] = array.astype(dtype.newbyteorder("="), copy=False)
            start += size * timesteps
        outputs = await self._service.step_stream(
            self._served.name, self._id, inputs, start=not self._is_open
        )
        self._is_open = True
        return b"".join(to_bytes(array) for array in outputs)

    async def _command(self, text: str) -> str:
        if len(text) > 1000:
            raise ServingError(413, "a text frame of more than 1,000 characters; timesteps are binary frames")
        command = parse_json(text).get("command")
        if command not in ("reset", "state"):
            raise ServingError(400, 'expected {"command": "reset"} or {"command": "state"}')
        if not self._is_open:
            return json.dumps({"command": command, "outputs": []})
        if command == "reset":
            self._is_open = False
            await self._service.close_stream(self._served.name, self._id)
            return json.dumps({"command": command, "outputs": []})
        state = await self._service.stream_state(self._served.name, self._id)
        tensors, _ = encode_tensors(state, Encoding())
        return json.dumps({"command": command, "outputs": tensors}, separators=(",", ":"))
