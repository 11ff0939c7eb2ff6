# SPDX-License-Identifier: MIT
"""One worker: an event loop with the servers of all protocols, from its start until it has drained."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvicorn

import unrolled
from unrolled.serving.app import make_app
from unrolled.serving.connections import give_up_stalled, limited_http
from unrolled.serving.options import Options
from unrolled.serving.security import Gate
from unrolled.serving.served import ServedModel
from unrolled.serving.service import Service

_log = logging.getLogger("unrolled.serving")

# After a signal, how long connections are still accepted: the system may hold some that were made before it.
ACCEPT_SECONDS = 0.3


@dataclass
class Place:
    """What a worker got from the process that started it.

    Parameters
    ----------
    index : int
        Which worker it is.
    listening : socket
        Bound for HTTP.
    grpc_port : int, optional
        For gRPC.
    hop : socket, optional
        The bound Unix socket for calls of other workers.
    paths : list of str
        The Unix sockets of all workers.
    life : int, optional
        The end of a pipe that is closed when all workers have drained, or when the parent is gone.
    drained : int, optional
        The end of a pipe that takes a byte when this worker has drained.
    """

    index: int
    listening: Any
    grpc_port: int | None = None
    hop: Any = None
    paths: list[str] = field(default_factory=list)
    life: int | None = None
    drained: int | None = None


class Server(uvicorn.Server):
    """uvicorn's server; a signal drains it, and the process then ends as if nothing had happened."""

    def __init__(self, config: uvicorn.Config, service: Service, index: int) -> None:
        super().__init__(config)
        self._service = service
        self._index = index
        service.connections = self.server_state.connections

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, self.drain)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self.drain))
        yield

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        _log.info("worker started", extra={"worker": self._index})

    def drain(self) -> None:
        """Say that the service is not ready, take what has been sent already, finish that, and stop."""
        if not self._service.is_draining:
            self._service.is_draining = True
            asyncio.get_running_loop().call_later(ACCEPT_SECONDS, self._stop)

    def _stop(self) -> None:
        self.should_exit = True


def run_worker(models: Sequence[ServedModel], options: Options, gate: Gate, place: Place) -> None:
    """Serve until a signal comes and all requests are answered."""
    unrolled.set_num_threads(options.threads)
    runner: Any = asyncio.run
    if sys.platform != "win32":
        import uvloop

        runner = uvloop.run
    runner(_serve(models, options, gate, place))


async def _serve(models: Sequence[ServedModel], options: Options, gate: Gate, place: Place) -> None:
    service = Service(models, options, place.index, place.paths)
    config = uvicorn.Config(
        make_app(service, gate),
        http=limited_http(options),
        ws="websockets-sansio",
        ws_max_size=options.max_body_bytes,
        ws_per_message_deflate=False,  # a small frame can unpack to a giant one
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=2048,
        timeout_keep_alive=int(options.idle_timeout),
        timeout_graceful_shutdown=int(options.drain_timeout),
    )
    server = Server(config, service, place.index)
    await service.start(place.hop)
    watching = asyncio.create_task(give_up_stalled(service.connections, options.write_timeout))
    grpc_server = None
    if place.grpc_port is not None:
        from unrolled.serving.grpc_server import start_grpc

        grpc_server = await start_grpc(service, gate, options, place.grpc_port)
    if place.life is not None:
        asyncio.get_running_loop().add_reader(place.life, server.drain)  # the parent is gone
    await server.serve(sockets=[place.listening])
    if grpc_server is not None:
        await grpc_server.stop(options.drain_timeout)
    if place.life is not None and place.drained is not None:
        await _wait_for_others(place.life, place.drained, options.drain_timeout)
    watching.cancel()
    await service.close()
    _log.info("worker drained", extra={"worker": place.index})


async def _wait_for_others(life: int, drained: int, seconds: float) -> None:
    """Go on answering calls of other workers until all of them have drained."""
    loop = asyncio.get_running_loop()
    loop.remove_reader(life)
    is_over = asyncio.Event()
    loop.add_reader(life, is_over.set)
    os.write(drained, b".")
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(is_over.wait(), seconds)
    loop.remove_reader(life)
