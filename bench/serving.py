# SPDX-License-Identifier: MIT
"""A service under load: ``python -m bench.serving load`` and ``python -m bench.serving soak``.

``load`` counts one-row requests a second and their latencies, beside MLServer where its Python is given; the
model and its engine are the same in both, so that only the servers differ. ``soak`` plays many clients for
minutes, some of whose requests are bad, and fails on a wrong bit, on growth, or on a long tail. The load
generator runs on the same processors as the service. Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

import unrolled
from bench import paths
from bench.serving_clients import BAD, GrpcClient, HttpClient, Request
from unrolled import Input, layers

TIMESTEPS, FEATURES, UNITS = 50, 4, 64
DIFFERENT_REQUESTS = 64
# What a soak allows: the tail beside the median, and the memory at the end beside that after the first tenth.
LONGEST_TAIL, MOST_GROWTH = 6.0, 1.05

MLSERVER_SETTINGS = {"debug": False, "parallel_workers": 0, "host": "127.0.0.1", "access_log": False}
MLSERVER_RUNTIME = """
import numpy as np
import unrolled
from mlserver import MLModel
from mlserver.types import InferenceResponse, ResponseOutput

class Runtime(MLModel):
    async def load(self):
        self.inner = unrolled.load_model(self.settings.parameters.uri)
        return True

    async def predict(self, payload):
        tensor = payload.inputs[0]
        y = self.inner.predict(np.array(tensor.data.root, np.float32).reshape(tensor.shape))
        output = ResponseOutput(name="output", shape=list(y.shape), datatype="FP32", data=y.ravel().tolist())
        return InferenceResponse(model_name=self.name, outputs=[output])
"""


def small_model() -> unrolled.Model:
    unrolled.utils.set_random_seed(0)
    return unrolled.Sequential([Input((None, FEATURES), name="x"), layers.LSTM(UNITS), layers.Dense(3)])


class Served:
    """A server in a process of its own."""

    def __init__(self, command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
        self.log = open(folder / "log.txt", "w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=self.log, cwd=folder, env=os.environ | environment
        )

    def text(self) -> str:
        self.log.flush()
        return Path(self.log.name).read_text()

    def wait(self, said: str, count: int = 1) -> None:
        for _ in range(600):
            if self.text().count(said) >= count:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise SystemExit(f"the server did not start:\n{self.text()[-3000:]}")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def start_unrolled(folder: Path, model: Path, options: argparse.Namespace) -> tuple[Served, int, int]:
    source = str(Path(unrolled.__file__).parents[1])
    command = [sys.executable, "-m", "unrolled", "serve", f"small={model}", "--port", "0", "--grpc-port", "0",
               "--workers", str(options.workers), "--max-connections", "8192"]  # fmt: skip
    if options.threads is not None:
        command += ["--threads", str(options.threads)]
    served = Served(command, folder, {"PYTHONPATH": source})
    served.wait("worker started", options.workers)
    said = next(json.loads(line) for line in served.text().splitlines() if '"serving"' in line)
    return served, said["port"], said["grpc_port"]


def start_mlserver(folder: Path, model: Path, python: str) -> tuple[Served, int]:
    port = 18080
    (folder / "runtime.py").write_text(MLSERVER_RUNTIME)
    ports = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
    (folder / "settings.json").write_text(json.dumps(MLSERVER_SETTINGS | ports))
    settings = {"name": "small", "implementation": "runtime.Runtime", "parameters": {"uri": str(model)}}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    source = str(Path(unrolled.__file__).parents[1])
    command = [str(Path(python).parent / "mlserver"), "start", "."]
    served = Served(command, folder, {"PYTHONPATH": f"{source}:{folder}"})
    served.wait("Uvicorn running on http://127.0.0.1:18080")
    served.wait("Loaded model 'small' successfully")
    return served, port


# ----------------------------------------------------------------------- load


def run_loop(main: Coroutine[Any, Any, Any]) -> Any:
    """As ``asyncio.run``, with less work for the load generator."""
    return uvloop.run(main)


async def closed_loop(clients: Sequence[Any], requests: Sequence[Request], seconds: float) -> list[float]:
    """Each client asks as soon as it was answered; the latencies of all."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def play(number: int, client: Any) -> None:
        turn = number
        while (started := time.perf_counter()) < end:
            request = requests[turn % len(requests)]
            request.check(await client.ask(request))
            latencies.append(time.perf_counter() - started)
            turn += len(clients)

    await asyncio.gather(*(play(number, client) for number, client in enumerate(clients)))
    return latencies


def family(process: int) -> list[int]:
    """A process and all its children."""
    found = [process]
    for current in found:
        found += map(int, Path(f"/proc/{current}/task/{current}/children").read_text().split())
    return found


def processor_seconds(process: int) -> float:
    """Of a process and its children so far."""
    fields = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split() for each in family(process)]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


async def measure(
    kind: str, port: int, count: int, requests: Sequence[Request], seconds: float
) -> list[float]:
    make = GrpcClient if kind == "grpc" else HttpClient
    clients = [make(port) for _ in range(count)]
    for client in clients:
        await client.open()
    try:
        return await closed_loop(clients, requests, seconds)
    finally:
        for client in clients:
            await client.close()


def load(options: argparse.Namespace) -> dict[str, Any]:
    model = small_model()
    x = (
        np.random.default_rng(0)
        .standard_normal((DIFFERENT_REQUESTS, 1, TIMESTEPS, FEATURES))
        .astype(np.float32)
    )
    y = [model.predict(row) for row in x]
    requests_of = {
        kind: [Request.infer("small", a, b, kind) for a, b in zip(x, y, strict=True)]
        for kind in ("binary", "json", "grpc")
    }
    # The first timestep of a sequence: with several workers, most pass from one to another.
    requests_of["sequence"] = [
        Request.step("small", f"row {index}", row[:, 0], model.predict(row[:, :1]), True, False)
        for index, row in enumerate(x)
    ]
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder / "small.keras")
        served = []
        ways = []
        for part in ("unrolled", "mlserver"):
            (folder / part).mkdir()
        own, port, grpc_port = start_unrolled(folder / "unrolled", folder / "small.keras", options)
        served.append(own)
        ways += [("unrolled", kind, port, own) for kind in ("binary", "json", "sequence")]
        ways.append(("unrolled", "grpc", grpc_port, own))
        try:
            if options.mlserver:
                other, port = start_mlserver(folder / "mlserver", folder / "small.keras", options.mlserver)
                served.append(other)
                ways.append(("mlserver", "json", port, other))
            for count in options.clients:
                rounds: dict[str, list[list[float]]] = {}
                costs: dict[str, list[float]] = {}
                for _ in range(options.rounds):  # in turns, so that a busy moment meets all
                    for server, kind, port, its in ways:
                        requests = requests_of[kind]
                        before = processor_seconds(its.process.pid)
                        found = run_loop(measure(kind, port, count, requests, options.seconds))
                        spent = processor_seconds(its.process.pid) - before
                        rounds.setdefault(f"{server} {kind}", []).append(found)
                        costs.setdefault(f"{server} {kind}", []).append(spent / len(found))
                for way, each in rounds.items():
                    rate = float(np.median([len(found) / options.seconds for found in each]))
                    all_ = np.concatenate(each)
                    p50, p99 = 1000 * np.quantile(all_, [0.5, 0.99])
                    cost = 1e6 * float(np.median(costs[way]))
                    results[f"{way} {count}"] = {
                        "requests_per_second": rate, "p50_ms": p50, "p99_ms": p99, "processor_us": cost
                    }  # fmt: skip
                    print(f"{count:3} clients, {way:16} {rate:7,.0f} requests/s, p50 {p50:6.2f} ms, p99 {p99:6.2f} ms, "
                          f"{cost:5.0f} us of processor time a request",
                          flush=True)  # fmt: skip
        finally:
            for each_served in served:
                each_served.stop()
    for count in options.clients:
        theirs = results.get(f"mlserver json {count}")
        if theirs is not None:
            ratios = {
                kind: results[f"unrolled {kind} {count}"]["requests_per_second"]
                / theirs["requests_per_second"]
                for kind in ("binary", "json", "grpc")
            }
            print(
                f"{count:3} clients, times MLServer: " + ", ".join(f"{k} {r:.2f}" for k, r in ratios.items())
            )
    return results


# ----------------------------------------------------------------------- soak


class Soak:
    """Many clients, some of whose requests are bad."""

    def __init__(self, port: int, options: argparse.Namespace) -> None:
        self.port = port
        self.options = options
        self.latencies: list[float] = []
        self.good = self.bad = self.wrong = self.unexpected = 0
        model = small_model()
        rng = np.random.default_rng(1)
        x = rng.standard_normal((DIFFERENT_REQUESTS, 1, TIMESTEPS, FEATURES)).astype(np.float32)
        self.plain = [
            Request.infer("small", row, model.predict(row), kind)
            for index, row in enumerate(x)
            for kind in ("binary" if index % 2 else "json",)
        ]
        steps = 20
        self.steps = [[row[:, t] for t in range(steps)] for row in x]
        self.expected = [[model.predict(row[:, : t + 1]) for t in range(steps)] for row in x]

    async def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        clients = (self._play(number, end) for number in range(self.options.clients))
        await asyncio.gather(*clients)

    async def _play(self, number: int, end: float) -> None:
        rng = np.random.default_rng(number)
        client = HttpClient(self.port)
        await client.open()
        turn = 0
        while time.monotonic() < end:
            turn += 1
            if number % 2:
                await self._good(client, self.plain[(number + turn) % len(self.plain)], rng)
                continue
            which = (number + turn) % len(self.steps)
            outputs = zip(self.steps[which], self.expected[which], strict=True)
            for t, (frame, expected) in enumerate(outputs):
                request = Request.step("small", f"client {number}", frame, expected, t == 0, t == 19)
                await self._good(client, request, rng)
        await client.close()

    async def _good(self, client: HttpClient, request: Request, rng: np.random.Generator) -> None:
        if rng.random() < self.options.bad:
            self.bad += 1
            if not await client.ask_badly(BAD[int(rng.integers(len(BAD)))]):
                self.unexpected += 1
        started = time.perf_counter()
        try:
            answer = await client.ask(request)
        except OSError as error:
            print(f"a good request was hung up: {error!r}", flush=True)
            self.unexpected += 1
            await client.open()
            return
        self.latencies.append(time.perf_counter() - started)
        self.good += 1
        try:
            request.check(answer)
        except ValueError as error:
            print(error, flush=True)
            self.wrong += 1


def memory(process: int) -> int:
    """Resident bytes of a process and its children."""
    pages = sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in family(process))
    return pages * os.sysconf("SC_PAGE_SIZE")


async def watched(soak: Soak, seconds: float, process: int) -> list[int]:
    """Memory, once a second, while the soak runs."""
    found = []
    running = asyncio.create_task(soak.run(seconds))
    while not running.done():
        found.append(memory(process))
        await asyncio.sleep(1.0)
    await running
    return found


def soak(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small_model().save(folder / "small.keras")
        served, port, _ = start_unrolled(folder, folder / "small.keras", options)
        played = Soak(port, options)
        try:
            # Once for a little while, so that everything has been allocated that a steady load needs.
            run_loop(played.run(min(10.0, options.seconds / 5)))
            played.latencies.clear()
            memories = run_loop(watched(played, options.seconds, served.process.pid))
        finally:
            code = served.stop()
    latencies = np.array(played.latencies)
    p50, p99 = np.quantile(latencies, [0.5, 0.99])
    part = max(1, len(memories) // 10)
    first, last = np.median(memories[part : 2 * part]), np.median(memories[-part:])
    result = {
        "good": played.good, "bad": played.bad, "wrong": played.wrong, "unexpected": played.unexpected,
        "requests_per_second": len(latencies) / options.seconds, "p50_ms": 1000 * p50, "p99_ms": 1000 * p99,
        "tail": p99 / p50, "megabytes_first": first / 1e6, "megabytes_last": last / 1e6,
        "growth": last / first, "exit_code": code,
    }  # fmt: skip
    for key, value in result.items():
        print(f"{key:20} {value:,.3f}" if isinstance(value, float) else f"{key:20} {value:,}")
    problems = [
        text
        for text, is_bad in [
            ("wrong bits", played.wrong), ("unexpected answers", played.unexpected), ("exit code", code),
            (f"p99 above {LONGEST_TAIL:g} times the median", p99 > LONGEST_TAIL * p50),
            ("growth", last > MOST_GROWTH * first),
        ]
        if is_bad
    ]  # fmt: skip
    result["problems"] = problems
    print("passed" if not problems else "FAILED: " + ", ".join(problems))
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    loading = commands.add_parser("load", help="requests a second and latencies")
    loading.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    loading.add_argument("--seconds", type=float, default=5.0, help="of one round (default: 5)")
    loading.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    loading.add_argument("--mlserver", metavar="PYTHON", help="the Python of an environment with MLServer")
    loading.set_defaults(run=load)
    soaking = commands.add_parser("soak", help="minutes of many clients and bad requests")
    soaking.add_argument("--clients", type=int, default=64)
    soaking.add_argument("--seconds", type=float, default=600.0, help="(default: 600)")
    soaking.add_argument("--bad", type=float, default=0.05, help="share of bad requests (default: 0.05)")
    soaking.set_defaults(run=soak)
    for command in (loading, soaking):
        command.add_argument("--workers", type=int, default=1)
        command.add_argument("--threads", type=int, help="of each worker (default: the service's own)")
        command.add_argument(
            "--output", type=Path, default=paths.OUTPUT / "results", help="folder for serving-*.json"
        )
    options = parser.parse_args(arguments)
    result = options.run(options)
    options.output.mkdir(parents=True, exist_ok=True)
    name = f"serving-{options.run.__name__}.json"
    (options.output / name).write_text(json.dumps(result, indent=1) + "\n")
    return 1 if result.get("problems") else 0


if __name__ == "__main__":
    raise SystemExit(main())
