# SPDX-License-Identifier: MIT
"""Several workers: one port, one copy of the weights, every sequence where its state is; the end is clean."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import unrolled
from tests.serving.running import MODELS, outputs_of, running, save, tensor
from unrolled import Input, Sequential, layers

pytest.importorskip("uvicorn")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running(*save(tmp_path_factory.mktemp("models"), *MODELS), workers=3) as started:
        yield started


def step(service, id, x, start=False, end=False):
    """One timestep, on a connection of its own: any worker may get it."""
    parameters = {"sequence_id": id, "sequence_start": start, "sequence_end": end}
    body = {"inputs": [tensor("x", x)], "parameters": parameters}
    return service.ask("/v2/models/lstm/infer", body)


def test_sequences_find_their_worker_from_any_connection(service):
    model = MODELS["lstm"]()
    x = np.random.default_rng(0).standard_normal((30, 6, 4)).astype(np.float32)

    def play(row):
        for t in range(6):
            status, answer = step(service, row + 1, x[row : row + 1, t], t == 0, t == 5)
            assert status == 200, answer
        return outputs_of(answer)["output"][0]

    with ThreadPoolExecutor(12) as threads:
        np.testing.assert_array_equal(list(threads.map(play, range(30))), model.predict(x))


def test_a_kept_connection_serves_sequences_of_all_workers(service):
    http = pytest.importorskip("tritonclient.http")
    model = MODELS["lstm"]()
    x = np.random.default_rng(1).standard_normal((10, 4, 4)).astype(np.float32)
    clients = [http.InferenceServerClient(f"127.0.0.1:{service.port}") for _ in range(4)]
    last = np.zeros((10, 3), np.float32)
    for t in range(4):
        for row in range(10):  # the connections change from timestep to timestep
            given = http.InferInput("x", [1, 4], "FP32")
            given.set_data_from_numpy(x[row : row + 1, t])
            answer = clients[(row + t) % 4].infer(
                "lstm", [given], sequence_id=f"row {row}", sequence_start=t == 0, sequence_end=t == 3
            )
            last[row] = answer.as_numpy("output")[0]
    for client in clients:
        client.close()
    np.testing.assert_array_equal(last, model.predict(x))


def test_errors_states_and_ends_pass_between_workers_too(service):
    model = MODELS["lstm"]()
    x = np.random.default_rng(2).standard_normal((1, 6, 4)).astype(np.float32)
    path = "/v2/models/lstm/sequences"
    for id in range(200, 212):
        assert step(service, id, x[:, 0])[0] == 404
        assert step(service, id, x[:, :3], start=True)[0] == 200
        assert step(service, id, np.zeros((1, 3)))[0] == 400
        status, state = service.ask(f"{path}/{id}/state")
        assert status == 200
        assert service.ask(f"{path}/moved-{id}/state", state, method="PUT")[0] == 200
        assert service.ask(f"{path}/broken/state", {"outputs": []}, method="PUT")[0] == 400
        for name in (str(id), f"moved-{id}"):
            _, answer = step(service, name, x[:, 3:])
            np.testing.assert_array_equal(outputs_of(answer)["output"], model.predict(x))
            assert service.ask(f"{path}/{name}", method="DELETE")[0] == 200
            assert service.ask(f"{path}/{name}/state")[0] == 404


def test_the_metrics_are_those_of_all_workers(service):
    before = service.metric("unrolled_requests_total")
    for _ in range(20):
        service.ask("/v2/models/lstm/infer", {"inputs": [tensor("x", np.zeros((1, 1, 4)))]})
    assert service.metric("unrolled_requests_total") == before + 20
    assert service.metric("unrolled_workers") == 3


def test_a_worker_that_dies_is_replaced_and_the_others_go_on(tmp_path):
    with running(*save(tmp_path, "lstm"), workers=2) as service:
        x = np.zeros((1, 4))
        for id in range(1, 20):
            assert step(service, id, x, start=True)[0] == 200
        os.kill(service.logged("worker started")[0]["pid"], signal.SIGKILL)
        service.wait_for_log("worker started", 3)
        assert service.logged("worker died: its sequences are lost")[0]["exit_code"] == -signal.SIGKILL
        statuses = {step(service, id, x)[0] for id in range(1, 20)}
        assert statuses == {200, 404}  # kept by the other worker, or lost
        assert all(step(service, id, x, start=True)[0] == 200 for id in range(1, 20))
        assert service.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_with_0(tmp_path, workers, number):
    unrolled.utils.set_random_seed(0)
    slow = Sequential([Input((None, 2), name="x"), layers.LSTM(512, return_sequences=True), layers.GRU(512)])
    slow.save(tmp_path / "slow.keras")
    x = np.random.default_rng(0).standard_normal((1, 400, 2)).astype(np.float32)
    with running(tmp_path / "slow.keras", workers=workers) as service:
        with ThreadPoolExecutor(4) as threads:
            asked = [
                threads.submit(service.ask, "/v2/models/slow/infer", {"inputs": [tensor("x", x)]})
                for _ in range(4)
            ]
            while service.process.poll() is None and not any(each.done() for each in asked):
                time.sleep(0.01)  # from here on requests wait, or are being computed
            code = service.stop(number)
            answers = [each.result() for each in asked]
        assert code == 0
        expected = slow.predict(x)
        for status, answer in answers:
            assert status == 200
            np.testing.assert_array_equal(outputs_of(answer)["output"], expected)
        assert len(service.logged("worker drained")) == workers
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", service.port), timeout=5)


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="Linux tells what memory is shared")
def test_workers_share_the_packed_weights(tmp_path):
    unrolled.utils.set_random_seed(0)
    wide = Sequential([Input((None, 512), name="x"), layers.LSTM(1024), layers.Dense(8)])  # 25 MB of weights
    wide.save(tmp_path / "wide.keras")
    weights = 4 * wide.count_params()
    with running(tmp_path / "wide.keras", workers=3) as service:
        for _ in range(15):  # every worker has computed
            service.ask("/v2/models/wide/infer", {"inputs": [tensor("x", np.zeros((1, 1, 512)))]})
        private = []
        for entry in service.logged("worker started"):
            with open(f"/proc/{entry['pid']}/smaps_rollup") as file:
                fields = dict(line.split(":") for line in file.read().splitlines()[1:])
            private.append(1024 * int(fields["Private_Dirty"].split()[0]))
    assert max(private) < weights


def test_a_port_that_is_taken_is_an_error(tmp_path, service):
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "unrolled", "serve", *save(tmp_path, "lstm"), "--port", str(service.port)],
        capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(unrolled.__file__))},
    )  # fmt: skip
    assert done.returncode == 2
    assert "in use" in done.stderr


def test_workers_end_when_the_parent_is_killed(tmp_path):
    with running(*save(tmp_path, "lstm"), workers=2) as service:
        workers = [entry["pid"] for entry in service.logged("worker started")]
        service.process.send_signal(signal.SIGKILL)
        service.process.wait(10)
        deadline = time.monotonic() + 60
        while any(_lives(worker) for worker in workers) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(_lives(worker) for worker in workers)


def _lives(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
