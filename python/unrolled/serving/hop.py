# SPDX-License-Identifier: MIT
"""Calls between workers: a request of a sequence passes to the worker that holds it.

Each worker listens on a Unix socket in a folder that only this user can read. A frame is its length, the
call's number and the length of its JSON (little-endian), then the JSON, then bytes of tensors. Calls of one
connection overlap; answers come in any order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from unrolled.serving.protocol import ServingError

_log = logging.getLogger("unrolled.serving")
_HEAD = struct.Struct("<QQI")

Message = dict[str, Any]
Handler = Callable[[Message, bytes], Awaitable[tuple[Message, bytes]]]


def _frame(number: int, message: Message, blob: bytes) -> bytes:
    text = json.dumps(message, separators=(",", ":")).encode()
    return b"".join([_HEAD.pack(len(text) + len(blob), number, len(text)), text, blob])


async def _read(reader: asyncio.StreamReader) -> tuple[int, Message, bytes]:
    size, number, text = _HEAD.unpack(await reader.readexactly(_HEAD.size))
    body = await reader.readexactly(size)
    return number, json.loads(body[:text]), body[text:]


class Peer:
    """The way to another worker; connects when it is needed, and again after that worker was replaced."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._writer: asyncio.StreamWriter | None = None
        self._calls: dict[int, asyncio.Future[tuple[Message, bytes]]] = {}
        self._number = 0
        self._connecting = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None

    async def call(self, message: Message, blob: bytes = b"") -> tuple[Message, bytes]:
        """What the other worker answers.

        Raises
        ------
        ServingError
            Its error, or it is gone.
        """
        self._number += 1
        number = self._number
        try:
            async with self._connecting:
                if self._writer is None:
                    reader, self._writer = await asyncio.open_unix_connection(self._path)
                    self._reading = asyncio.create_task(self._listen(reader, self._writer))
            answer: asyncio.Future[tuple[Message, bytes]] = asyncio.get_running_loop().create_future()
            self._calls[number] = answer
            self._writer.write(_frame(number, message, blob))
            result, data = await answer
        except OSError:
            raise ServingError(503, "the worker that holds the sequence cannot be reached") from None
        finally:
            self._calls.pop(number, None)
        if "error" in result:
            raise ServingError(result["status"], result["error"])
        return result, data

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                number, message, blob = await _read(reader)
                answer = self._calls.get(number)
                if answer is not None and not answer.done():
                    answer.set_result((message, blob))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self._writer = None
            for answer in self._calls.values():
                if not answer.done():
                    answer.set_exception(ServingError(503, "the worker that held the sequence is gone"))

    async def close(self) -> None:
        """Hang up."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading


class Listener:
    """Answers the calls of the other workers."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, socket: Any) -> None:
        """Listen on a bound Unix socket."""
        self._server = await asyncio.start_unix_server(self._serve, sock=socket)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                number, message, blob = await _read(reader)
                task = asyncio.create_task(self._answer(writer, number, message, blob))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, number: int, message: Message, blob: bytes) -> None:
        try:
            result, data = await self._handle(message, blob)
        except ServingError as error:
            result, data = {"status": error.status, "error": error.message}, b""
        except Exception:
            _log.exception("a call between workers failed")
            result, data = {"status": 500, "error": "internal error"}, b""
        with contextlib.suppress(OSError):
            writer.write(_frame(number, result, data))
            await writer.drain()

    async def close(self) -> None:
        """Answer what is under way, then hang up."""
        if self._server is not None:
            self._server.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        for writer in list(self._writers):
            writer.close()
