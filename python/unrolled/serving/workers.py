# SPDX-License-Identifier: MIT
"""The service as a whole: models loaded and packed once, sockets bound, workers forked and watched."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import unrolled
from unrolled.models import Model
from unrolled.serving import logs
from unrolled.serving.options import Options
from unrolled.serving.security import Gate
from unrolled.serving.served import ServedModel
from unrolled.serving.worker import Place, run_worker

_log = logging.getLogger("unrolled.serving")

# A worker that dies sooner than this after its start, so often in a row, will not live at all.
SHORT_LIFE_SECONDS, MOST_SHORT_LIVES = 2.0, 5


def run(models: Mapping[str, Model], options: Options) -> int:
    """See ``unrolled.serving.serve``."""
    logs.configure(options.log_level)
    gate = Gate(options)
    # One thread until the fork: threads do not survive it.
    unrolled.set_num_threads(1 if options.workers > 1 else options.threads)
    served = [ServedModel(name, model, options) for name, model in models.items()]
    _allow_open_files(options.max_connections)
    listening = [bind(options.host, options.port)]
    port = listening[0].getsockname()[1]
    reserved = None
    grpc_port = None
    if options.grpc_port is not None:
        # Held, so that the port stays ours while workers come and go; gRPC binds beside it.
        reserved = bind(options.host, options.grpc_port)
        grpc_port = reserved.getsockname()[1]
    # On Linux the system shares connections out between sockets of one port. Elsewhere all use one.
    while len(listening) < options.workers:
        listening.append(bind(options.host, port) if sys.platform == "linux" else listening[0])
    _log.info(
        "serving",
        extra={
            "host": options.host,
            "port": port,
            "grpc_port": grpc_port,
            "workers": options.workers,
            "threads": options.threads,
            "models": [{"name": each.name, "sequences": each.is_causal} for each in served],
            "api_keys": gate.needs_key,
        },
    )
    try:
        if options.workers == 1:
            run_worker(served, options, gate, Place(0, listening[0], grpc_port))
            return 0
        return _Parent(served, options, gate, listening, grpc_port).run()
    finally:
        for each in {*listening, reserved} - {None}:
            each.close()
        _log.info("stopped")


def bind(host: str, port: int) -> Any:
    """A socket bound to an address, not yet listening; others may bind to it beside.

    Raises
    ------
    OSError
        The address is taken, or is none of this machine.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if port != 0:
            _refuse_taken(family, kind, protocol, address)
        if hasattr(socket, "SO_REUSEPORT"):
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


class _Parent:
    """Forks the workers, replaces those that die, passes signals on."""

    def __init__(
        self,
        models: Sequence[ServedModel],
        options: Options,
        gate: Gate,
        listening: Sequence[Any],
        grpc_port: int | None,
    ) -> None:
        self._models = models
        self._options = options
        self._gate = gate
        self._grpc_port = grpc_port
        self._listening = listening
        self._folder = tempfile.mkdtemp(prefix="unrolled-serve-")  # only this user may enter
        self._paths = [str(Path(self._folder) / f"{index}") for index in range(options.workers)]
        self._hops = [_bind_unix(path) for path in self._paths]
        self._life = os.pipe()
        self._drained = os.pipe()
        self._workers: dict[int, tuple[int, float]] = {}  # process id: index, when it started
        self._short_lives = 0
        self._is_stopping = False

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        # The collector would write into the pages of everything that lives, and so copy them in each worker.
        gc.collect()
        gc.freeze()
        try:
            for index in range(self._options.workers):
                self._start(index)
            code = self._watch()
            self._wait_until_drained()
            return code
        finally:
            for hop in self._hops:
                hop.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, index: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        process = os.fork()
        if process == 0:
            self._be_worker(index)
        self._workers[process] = (index, time.monotonic())

    def _be_worker(self, index: int) -> NoReturn:
        code = 1
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            os.close(self._life[1])
            os.close(self._drained[0])
            for other, each in enumerate([*self._listening, *self._hops]):
                if other % self._options.workers != index and each is not self._listening[index]:
                    each.close()
            place = Place(index, self._listening[index], self._grpc_port, self._hops[index], self._paths,
                          self._life[0], self._drained[1])  # fmt: skip
            run_worker(self._models, self._options, self._gate, place)
            code = 0
        except BaseException:
            _log.exception("worker failed")
        finally:
            logging.shutdown()
            os._exit(code)

    def _watch(self) -> int:
        """Replace workers that die, until a signal says stop."""
        while not self._is_stopping:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 1
            if process == 0:
                time.sleep(0.05)
                continue
            index, started = self._workers.pop(process)
            if self._is_stopping:
                break
            is_short = time.monotonic() - started < SHORT_LIFE_SECONDS
            self._short_lives = self._short_lives + 1 if is_short else 0
            _log.error(
                "worker died: its sequences are lost",
                extra={"worker": index, "exit_code": os.waitstatus_to_exitcode(status)},
            )
            if self._short_lives >= MOST_SHORT_LIVES:
                _log.error("workers die as soon as they start")
                self._on_signal(signal.SIGTERM, None)
                return 1
            self._start(index)
        return 0

    def _on_signal(self, number: int, frame: object) -> None:
        self._is_stopping = True
        for process in list(self._workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)

    def _wait_until_drained(self) -> None:
        """Let every worker finish its requests, which may need the others; then let all of them go."""
        deadline = time.monotonic() + self._options.drain_timeout + 5
        count = 0
        os.set_blocking(self._drained[0], False)
        while count < len(self._workers) and time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                count += len(os.read(self._drained[0], 64))
            self._reap()
            time.sleep(0.02)
        os.close(self._life[1])
        while self._workers and time.monotonic() < deadline + 5:
            self._reap()
            time.sleep(0.02)
        for process in self._workers:
            _log.error("worker did not stop in time", extra={"process": process})
            os.kill(process, signal.SIGKILL)

    def _reap(self) -> None:
        for process in list(self._workers):
            if os.waitpid(process, os.WNOHANG)[0]:
                del self._workers[process]


def _bind_unix(path: str) -> Any:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound.bind(path)
    bound.listen(128)
    return bound


def _refuse_taken(family: int, kind: int, protocol: int, address: Any) -> None:
    """Without this, a second service of the same user could share the port of the first one."""
    with socket.socket(family, kind, protocol) as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def _allow_open_files(connections: int) -> None:
    """As many connections as the options allow, where the system lets us."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 256
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
