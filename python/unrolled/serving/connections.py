# SPDX-License-Identifier: MIT
"""Connections that cannot hold the service up: limits and deadlines that uvicorn does not have."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from unrolled.serving.options import Options

_TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _Joined:
    """A transport that sends the head of an answer together with the beginning of its body.

    uvicorn writes them one after the other, and each write is a call of the system: a third of what the
    service does for a small request.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        if (
            data.endswith(b"\r\n\r\n")
            and data.startswith(b"HTTP/1.1 ")
            and not data.startswith(b"HTTP/1.1 1")
        ):
            self._head = data
        else:
            self._transport.write(self._head + data)
            self._head = b""

    def flush(self) -> None:
        """Send a head that has no body."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()


def limited_http(options: Options) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol of one connection, with a service's limits.

    A request must be complete within its time from its first byte, or from the start of the connection; its
    head has a limit of bytes; too many connections are refused.
    """

    class LimitedHttp(HttpToolsProtocol):
        _deadline: asyncio.TimerHandle | None = None
        _head_bytes = 0  # received while the head is not complete
        _named_bytes = 0  # of its headers
        _joined: _Joined
        _is_in_head = True
        _is_last = False
        _is_incomplete = True

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > options.max_connections:
                transport.write(_TOO_MANY)
                transport.close()
            else:
                self._deadline = self.loop.call_later(options.request_timeout, self._give_up)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            if self._is_in_head:
                self._head_bytes += len(data)
                self._is_incomplete = True
            super().data_received(data)
            if self._is_in_head and self._head_bytes > options.max_header_bytes:
                self.send_400_response("The request's head is too long.")
            if self._is_incomplete and self._deadline is None:
                self._deadline = self.loop.call_later(options.request_timeout, self._give_up)
            elif not self._is_incomplete:
                self._clear_deadline()

        def on_header(self, name: bytes, value: bytes) -> None:
            self._named_bytes += len(name) + len(value) + 4
            if self._named_bytes > options.max_header_bytes:
                raise ValueError("the head is too long")  # which the parser takes for a broken request
            super().on_header(name, value)

        def on_message_begin(self) -> None:
            self._named_bytes = 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._is_in_head = False
            before = self.cycle
            super().on_headers_complete()
            if self.cycle is before:  # an upgrade to WebSocket
                return
            self._joined = _Joined(self.transport)
            self.cycle.transport = self._joined  # type: ignore[assignment]  # what a cycle uses of it
            if self._is_last:
                self.cycle.keep_alive = False

        def on_response_complete(self) -> None:
            self._joined.flush()
            super().on_response_complete()

        def shutdown(self) -> None:
            # A request of which the head is still on its way is answered too; uvicorn would hang up.
            if self._is_in_head and self._head_bytes:
                self._is_last = True
            else:
                super().shutdown()

        def on_message_complete(self) -> None:
            self._is_in_head = True
            self._head_bytes = 0
            self._is_incomplete = False
            super().on_message_complete()

        def handle_websocket_upgrade(self) -> None:
            self._is_incomplete = False
            self._clear_deadline()
            super().handle_websocket_upgrade()

        def connection_lost(self, exc: Exception | None) -> None:
            self._clear_deadline()
            super().connection_lost(exc)

        def _give_up(self) -> None:
            self._deadline = None
            self.transport.abort()

        def _clear_deadline(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return LimitedHttp


async def give_up_stalled(connections: set[Any], seconds: float) -> None:
    """Run for ever: abort connections whose client has not read for so long what was sent to it.

    Parameters
    ----------
    connections : set
        uvicorn's protocols, of HTTP and WebSocket.
    seconds : float
        How long a client may read nothing.
    """
    # Of connections with unsent bytes: how many there were, and since when they have not become fewer.
    stalled: dict[Any, tuple[int, float]] = {}
    while True:
        await asyncio.sleep(seconds / 4)
        now = time.monotonic()
        seen: dict[Any, tuple[int, float]] = {}
        for connection in list(connections):
            unsent = connection.transport.get_write_buffer_size()
            if not unsent:
                continue
            before, since = stalled.get(connection, (unsent + 1, now))
            seen[connection] = (unsent, since if unsent >= before else now)
            if now - seen[connection][1] >= seconds:
                connection.transport.abort()
        stalled = seen
