# SPDX-License-Identifier: MIT
"""A service of its own process for tests, started by the command as a user starts it, and models for it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np

import unrolled
from unrolled import Input, Model, Sequential, layers

START_SECONDS = 60


class Running:
    """A service that listens on ports of its own choice."""

    def __init__(self, arguments, workers):
        command = [sys.executable, "-m", "unrolled", "serve", "--port", "0", *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": str(Path(unrolled.__file__).parents[1])}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self._wait(lambda: len(self.logged("worker started")) >= workers)
        except BaseException:
            self.stop(signal.SIGKILL)
            raise
        (said,) = self.logged("serving")
        self.port, self.grpc_port = said["port"], said["grpc_port"]
        self.url = f"http://127.0.0.1:{self.port}"

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)

    def _wait(self, condition):
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            assert self.process.poll() is None, "".join(self.lines)
            assert time.monotonic() < deadline, "".join(self.lines)
            time.sleep(0.02)

    def logged(self, message):
        """The log's entries of this message."""
        entries = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return [entry for entry in entries if entry["message"] == message]

    def wait_for_log(self, message, count=1):
        self._wait(lambda: len(self.logged(message)) >= count)

    def ask(self, path, body=None, method=None, headers=None):
        """Status and content of an answer; JSON where it is. ``json_length``: where its bytes begin."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                status, content, kind = response.status, response.read(), response.headers["content-type"]
                self.json_length = response.headers["inference-header-content-length"]
        except urllib.error.HTTPError as error:
            with error:
                status, content, kind = error.code, error.read(), error.headers["content-type"]
        return status, json.loads(content) if kind == "application/json" else content

    def metric(self, name):
        """Sum over all labels of a metric."""
        lines = self.ask("/metrics")[1].decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split()[0] == name)

    def stop(self, number=signal.SIGTERM):
        """The exit code after a signal."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(START_SECONDS)
        self._reader.join(5)
        self.process.stderr.close()
        return code


@contextlib.contextmanager
def running(*arguments, workers=1):
    """A service, stopped at the end."""
    service = Running([*arguments, "--workers", workers], workers)
    try:
        yield service
    finally:
        service.stop()


def lstm():
    unrolled.utils.set_random_seed(1)
    return Sequential([Input((None, 4), name="x"), layers.LSTM(9), layers.Dense(3)], name="lstm")


def words():
    unrolled.utils.set_random_seed(2)
    stack = [Input((None,), name="ids"), layers.Embedding(11, 4), layers.GRU(5, return_sequences=True)]
    return Sequential(stack, name="words")


def several():
    unrolled.utils.set_random_seed(3)
    a, b = Input((None, 3), name="a"), Input((None, 2), name="b")
    h = layers.LSTM(4, return_sequences=True)(a)
    g = layers.GRU(4)(layers.Concatenate()([h, b]))
    return Model([a, b], [layers.Dense(2)(h), g], name="several")


def backwards():
    unrolled.utils.set_random_seed(4)
    return Sequential([Input((5, 2), name="x"), layers.Bidirectional(layers.GRU(3))], name="backwards")


MODELS = {"lstm": lstm, "words": words, "several": several, "backwards": backwards}


def save(folder, *names):
    """Model files, as the command takes them."""
    files = []
    for name in names:
        path = Path(folder) / f"{name}.keras"
        MODELS[name]().save(path)
        files.append(path)
    return files


def tensor(name, array, datatype="FP32"):
    """A tensor in JSON."""
    array = np.asarray(array)
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.tolist()}


def outputs_of(answer):
    """The arrays of an answer in JSON."""
    return {
        each["name"]: np.array(each["data"], np.float32).reshape(each["shape"]) for each in answer["outputs"]
    }
