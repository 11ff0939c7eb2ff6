# SPDX-License-Identifier: MIT
"""One peer in a process of its own, commanded over pipes, and the commanding side ``Worker``.

Peers are timed in turns within one run. Each has its own process, because Keras chooses its backend once a
process and because thread pools in one process disturb each other; a worker that is not timed waits on its
pipe and costs nothing.

The child reads one JSON object a line and answers each with one:
``prepare`` (builds a model, writes its output to a file), ``time`` (nanoseconds of calls).
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import select
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from bench import paths, peers
from bench.workloads import ALL, Workload, stored_weights

# At most so many calls are reported for one slice of time: enough for a p99.9, not much to send.
MOST_CALLS = 50_000
# Timesteps of the check of a peer that is stepped.
CHECKED_STEPS = 4
# A peer that has not answered after this is given up; tracing a large model takes a minute.
PATIENCE_SECONDS = 300.0


class WorkerError(RuntimeError):
    """The worker failed, died or did not answer."""


class Worker:
    """A peer's child process.

    Parameters
    ----------
    peer : str
        One of ``peers.NAMES``.
    threads : int
    package : Path, optional
        The folder that holds the package ``unrolled``, for ``PYTHONPATH``; by default this checkout's where
        it has been built, else the installed one.
    label : str, optional
        Names the log file.
    """

    def __init__(self, peer: str, threads: int, *, package: Path | None = None, label: str = "") -> None:
        self.peer = peer
        environment = os.environ | peers.load(peer).environment(threads)
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(package or built_package() or ""), environment.get("PYTHONPATH")])
        )
        paths.LOGS.mkdir(parents=True, exist_ok=True)
        self.log = paths.LOGS / f"{label or peer}.log"
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.worker", peer, str(threads)],
                cwd=paths.ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            self.version: str = self._receive()["version"]
        except WorkerError:
            self.stop()
            raise

    def prepare(self, workload: Workload, batch: int, mode: str = "call") -> np.ndarray:
        """Build the model; its output for ``workload.inputs(batch)``.

        ``mode``: "call", or how it is stepped: "step", "pool". The input is then one timestep of
        ``stepped(workload)``, and the output that of all its timesteps.

        Raises
        ------
        WorkerError
            With the peer's own words.
        """
        path = paths.OUTPUT / f"output-{os.getpid()}-{self._process.pid}.npy"
        try:
            self._ask(do="prepare", workload=workload.name, batch=batch, mode=mode, output=str(path))
            return np.load(path)
        finally:
            path.unlink(missing_ok=True)

    def time(self, seconds: float, least_calls: int = 3) -> np.ndarray:
        """Seconds of each call of the prepared model, back to back for about ``seconds``."""
        return np.array(self._ask(do="time", seconds=seconds, least_calls=least_calls)["nanoseconds"]) * 1e-9

    def stop(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _ask(self, **command: Any) -> dict[str, Any]:
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise WorkerError(f"{self.peer} has died; see {self.log}") from error
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                self._process.kill()
                raise WorkerError(f"{self.peer} gave no answer in {PATIENCE_SECONDS:.0f} s; see {self.log}")
            piece = os.read(self._process.stdout.fileno(), 1 << 16)
            if not piece:
                raise WorkerError(f"{self.peer} has died; see {self.log}")
            line += piece
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer


def built_package() -> Path | None:
    """This checkout's ``python`` folder, if the extension has been built into it."""
    folder = paths.ROOT / "python"
    return folder if any(folder.glob("unrolled/_core*.so")) else None


# ------------------------------------------------------------ the child's side


@dataclasses.dataclass
class Prepared:
    run: peers.Run
    x: np.ndarray


def serve(name: str, threads: int) -> None:
    # What a library prints goes to the log; answers go where standard output was.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    prepared: Prepared | None = None

    def answer(**content: Any) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        peer = peers.load(name)
        answer(version=peer.version())
    except Exception as error:
        traceback.print_exc()
        answer(error=f"{type(error).__name__}: {error}")
        return
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if command["do"] == "prepare":
                prepared = None
                gc.collect()
                prepared, output = prepare(
                    peer, ALL[command["workload"]], command["batch"], command["mode"], threads
                )
                np.save(command["output"], output)
                answer()
            else:
                if prepared is None:
                    raise RuntimeError("nothing prepared")
                answer(nanoseconds=timed(prepared, command["seconds"], command["least_calls"]))
        except Exception as error:
            traceback.print_exc()
            answer(error=f"{type(error).__name__}: {error}")


def prepare(
    peer: peers.Peer, workload: Workload, batch: int, mode: str, threads: int
) -> tuple[Prepared, np.ndarray]:
    """What is timed, and the output to be checked."""
    weights = stored_weights(workload, paths.MODELS)
    if mode == "call":
        prepared = Prepared(peer.prepare(workload, weights, batch, threads), workload.inputs(batch))
        return prepared, np.asarray(prepared.run(prepared.x))
    make = getattr(peer, f"prepare_{mode}", None)
    if make is None:
        raise NotImplementedError(f"no mode {mode!r}")
    run = make(workload, weights, batch, threads)
    steps = np.ascontiguousarray(stepped(workload).inputs(batch).swapaxes(0, 1))
    # Some peers hand out views that the next step overwrites.
    outputs = [np.array(run(x)) for x in steps]
    return Prepared(run, steps[0]), np.stack(outputs, axis=1)


def stepped(workload: Workload) -> Workload:
    """The same layers over the timesteps that a stepped peer is checked on."""
    return dataclasses.replace(workload, timesteps=CHECKED_STEPS)


def timed(prepared: Prepared, seconds: float, least_calls: int) -> list[int]:
    """Nanoseconds of each call, after a tenth of the time spent on calls that do not count."""
    run, x = prepared.run, prepared.x
    clock = time.perf_counter_ns
    calls: list[int] = []
    gc.disable()
    try:
        warm_until = clock() + int(seconds * 1e8)
        run(x)
        while clock() < warm_until:
            run(x)
        end = clock() + int(seconds * 1e9)
        before = clock()
        while before < end or len(calls) < least_calls:
            run(x)
            after = clock()
            calls.append(after - before)
            before = clock()
    finally:
        gc.enable()
    return calls[:: -(-len(calls) // MOST_CALLS)]


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
