# SPDX-License-Identifier: MIT
"""The protocol over HTTP, asked by a real client and by hand."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.serving.running import MODELS, outputs_of, running, save, tensor

pytest.importorskip("uvicorn")
LIMITS = ["--max-body-bytes", 200_000, "--max-json-bytes", 60_000, "--max-rows", 64, "--max-timesteps", 4000]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    files = save(tmp_path_factory.mktemp("models"), *MODELS)
    with running(*files, *LIMITS, "--request-timeout", 2, "--max-header-bytes", 8000) as started:
        yield started


def infer(service, model, *tensors, **more):
    return service.ask(f"/v2/models/{model}/infer", {"inputs": list(tensors)} | more)


def x_of(model, rows=2, timesteps=5, seed=0):
    return (
        np.random.default_rng(seed)
        .standard_normal((rows, timesteps, model.inputs[0].shape[-1]))
        .astype(np.float32)
    )


def test_json_gives_the_bits_of_predict(service):
    model = MODELS["lstm"]()
    x = x_of(model)
    status, answer = infer(service, "lstm", tensor("x", x), id="mine")
    assert status == 200
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("lstm", "1", "mine")
    np.testing.assert_array_equal(outputs_of(answer)["output"], model.predict(x))


@pytest.mark.parametrize("dtype", ["FP64", "FP16", "INT32", "UINT8", "INT64"])
def test_any_numbers_that_predict_takes_are_taken(service, dtype):
    model = MODELS["lstm"]()
    x = np.arange(8).reshape(1, 2, 4)
    status, answer = infer(service, "lstm", tensor("x", x, dtype))
    assert status == 200
    np.testing.assert_array_equal(outputs_of(answer)["output"], model.predict(x.astype(np.float32)))


def test_several_inputs_and_outputs_go_by_name(service):
    model = MODELS["several"]()
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 3, 3), np.float32), rng.random((2, 3, 2), np.float32)
    expected = model.predict([a, b])
    status, answer = infer(service, "several", tensor("b", b), tensor("a", a))
    assert status == 200
    found = outputs_of(answer)
    assert list(found) == ["output_0", "output_1"]
    for got, want in zip(found.values(), expected, strict=True):
        np.testing.assert_array_equal(got, want)
    _, answer = infer(service, "several", tensor("a", a), tensor("b", b), outputs=[{"name": "output_1"}])
    assert list(outputs_of(answer)) == ["output_1"]


def test_metadata_health_and_index(service):
    assert service.ask("/v2/health/live")[0] == service.ask("/v2/health/ready")[0] == 200
    assert service.ask("/v2/models/words/ready") == (200, {"name": "words", "ready": True})
    assert service.ask("/v2/models/words/versions/1/ready")[0] == 200
    assert service.ask("/v2")[1]["name"] == "unrolled"
    described = service.ask("/v2/models/words")[1]
    assert described["inputs"] == [{"name": "ids", "datatype": "INT32", "shape": [-1, -1]}]
    assert described["outputs"] == [{"name": "output", "datatype": "FP32", "shape": [-1, -1, 5]}]
    assert described["parameters"] == {"sequences": True}
    assert not service.ask("/v2/models/backwards")[1]["parameters"]["sequences"]
    assert [each["name"] for each in service.ask("/v2/repository/index", {})[1]] == list(MODELS)


@pytest.mark.parametrize(
    ("model", "tensors", "part"),
    [
        ("nothing", [tensor("x", [[[0.0] * 4]])], "no model"),
        ("lstm", [tensor("y", [[[0.0] * 4]])], "expected the inputs"),
        ("lstm", [], "expected the inputs"),
        ("lstm", [tensor("x", [[0.0] * 4])], "expected shape"),
        ("lstm", [tensor("x", [[[0.0] * 3]])], "expected shape"),
        ("lstm", [tensor("x", np.zeros((65, 1, 4)))], "at most 64"),
        ("lstm", [tensor("x", np.zeros((5, 900, 1)))], "expected shape"),
        ("backwards", [tensor("x", np.zeros((1, 4, 2)))], "expected shape"),
        ("words", [tensor("ids", [[11]], "INT32")], "11"),
        ("words", [tensor("ids", [[-1]], "INT32")], "-1"),
        ("words", [tensor("ids", [[2**40]], "INT64")], "int32"),
        ("several", [tensor("a", np.zeros((1, 2, 3))), tensor("b", np.zeros((2, 2, 2)))], "batch sizes"),
    ],
)
def test_what_does_not_fit_the_model_is_an_error_that_says_why(service, model, tensors, part):
    status, answer = infer(service, model, *tensors)
    assert status in (400, 404, 413)
    assert part in answer["error"]


def test_an_id_that_is_no_number_is_an_error(service):
    body = {
        "inputs": [
            {"name": "ids", "datatype": "FP32", "shape": [1, 1], "parameters": {"binary_data_size": 4}}
        ]
    }
    text = json.dumps(body).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    for value in (np.nan, np.inf, -np.inf, 1e30):
        data = text + np.array([value], np.float32).tobytes()
        status, answer = service.ask("/v2/models/words/infer", data, headers=headers)
        assert status == 400
        assert "id" in answer["error"]
    assert not service.logged("a round of 1 requests failed")


def test_unknown_outputs_versions_methods_and_paths_are_errors(service):
    x = tensor("x", np.zeros((1, 1, 4)))
    assert infer(service, "lstm", x, outputs=[{"name": "z"}])[0] == 400
    assert service.ask("/v2/models/lstm/versions/2/infer", {"inputs": [x]})[0] == 404
    assert service.ask("/v2/models/lstm/infer")[0] == 405
    assert service.ask("/v2/nothing") == (404, {"error": "Not Found"})
    for action in ("load", "unload"):
        status, answer = service.ask(f"/v2/repository/models/lstm/{action}", {})
        assert status == 403
        assert "command line" in answer["error"]


def test_a_compressed_body_is_refused(service):
    assert service.ask("/v2/models/lstm/infer", b"x", headers={"Content-Encoding": "gzip"})[0] == 415


def test_requests_of_many_clients_at_once_each_get_their_own_bits(service):
    model = MODELS["lstm"]()
    xs = [x_of(model, rows=1 + seed % 3, timesteps=1 + seed % 4, seed=seed) for seed in range(60)]
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda x: infer(service, "lstm", tensor("x", x)), xs))
    for x, (status, answer) in zip(xs, answers, strict=True):
        assert status == 200
        np.testing.assert_array_equal(outputs_of(answer)["output"], model.predict(x))


def test_a_bad_id_beside_good_requests_is_the_only_error(service):
    model = MODELS["words"]()
    ids = [np.array([[seed % 11, 3]]) if seed % 5 else np.array([[99, 3]]) for seed in range(50)]
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda x: infer(service, "words", tensor("ids", x, "INT32")), ids))
    for x, (status, answer) in zip(ids, answers, strict=True):
        if x[0, 0] == 99:
            assert status == 400
        else:
            np.testing.assert_array_equal(outputs_of(answer)["output"], model.predict(x))


def test_the_metrics_count_requests_rows_and_errors(service):
    rows, errors = service.metric("unrolled_rows_total"), service.metric("unrolled_requests_total")
    infer(service, "lstm", tensor("x", np.zeros((7, 1, 4))))
    infer(service, "lstm", tensor("x", np.zeros((7, 1, 3))))
    infer(service, 'no"such%0Amodel', tensor("x", np.zeros((7, 1, 3))))
    assert service.metric("unrolled_rows_total") == rows + 7
    assert service.metric("unrolled_requests_total") == errors + 3
    text = service.ask("/metrics")[1].decode()
    assert 'unrolled_request_seconds_bucket{model="lstm",protocol="rest",le="+Inf"}' in text
    assert "such" not in text


# ----------------------------------------------------- a real client of others


@pytest.fixture(scope="module")
def client(service):
    http = pytest.importorskip("tritonclient.http")
    with http.InferenceServerClient(f"127.0.0.1:{service.port}") as made:
        yield made


@pytest.mark.parametrize("is_binary_in", [True, False])
@pytest.mark.parametrize("is_binary_out", [True, False])
def test_tritonclient_infers(client, is_binary_in, is_binary_out):
    from tritonclient.http import InferInput, InferRequestedOutput

    model = MODELS["lstm"]()
    x = x_of(model, rows=3)
    given = InferInput("x", list(x.shape), "FP32")
    given.set_data_from_numpy(x, binary_data=is_binary_in)
    outputs = [InferRequestedOutput("output", binary_data=is_binary_out)]
    np.testing.assert_array_equal(
        client.infer("lstm", [given], outputs=outputs).as_numpy("output"), model.predict(x)
    )
    np.testing.assert_array_equal(client.infer("lstm", [given]).as_numpy("output"), model.predict(x))


def test_tritonclient_reads_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("lstm")
    assert not client.is_model_ready("nothing")
    assert client.get_model_metadata("lstm")["inputs"][0]["shape"] == [-1, -1, 4]
    assert {each["name"] for each in client.get_model_repository_index()} == set(MODELS)


def test_tritonclient_gets_errors_as_errors(client):
    from tritonclient.http import InferInput
    from tritonclient.utils import InferenceServerException

    given = InferInput("x", [1, 1, 3], "FP32")
    given.set_data_from_numpy(np.zeros((1, 1, 3), np.float32))
    with pytest.raises(InferenceServerException, match="expected shape"):
        client.infer("lstm", [given])


# ---------------------------------------------------------------- hostile bytes


def raw(service, data, seconds=10):
    """What comes back until the service closes the connection."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=seconds) as connection:
        received = b""
        try:
            connection.sendall(data)
            while part := connection.recv(65536):
                received += part
        except (ConnectionResetError, BrokenPipeError):
            pass
        return received


HEAD = b"POST /v2/models/lstm/infer HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"\x16\x03\x01" + bytes(200), b"400"),
        (HEAD + b"A: " + b"a" * 9000 + b"\r\n\r\n", b"400"),
        (HEAD + b"A: " + b"a" * 900_000, b"400"),
        (HEAD + b"Content-Length: 99999999999\r\n\r\n", b"413"),
        (HEAD + b"Content-Length: 300000\r\n\r\n" + bytes(300_000), b"413"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + bytes(65536) + b"\r\n") * 8, b"413"),
        (HEAD + b"Content-Length: -1\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde", b"400"),
    ],
)
def test_giant_and_broken_requests_are_answered_and_hung_up(service, data, status):
    received = raw(service, data)
    # A reset can overtake the answer where the service stops reading.
    assert not received or received.split(b" ")[1] == status
    assert service.ask("/v2/health/live")[0] == 200


@pytest.mark.parametrize("sent", [b"", b"POST /v2", HEAD, HEAD + b"Content-Length: 100\r\n\r\nabc"])
def test_a_request_that_never_ends_is_given_up(service, sent):
    assert raw(service, sent, seconds=20) == b""


def test_a_client_that_goes_away_in_the_middle_disturbs_nobody(service):
    body = json.dumps({"inputs": [tensor("x", np.zeros((1, 2, 4)))]}).encode()
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    for cut in (10, len(head), len(head) + 20, len(head) + len(body)):
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall((head + body)[:cut])
    assert infer(service, "lstm", tensor("x", np.zeros((1, 2, 4))))[0] == 200


def test_a_client_that_does_not_read_is_given_up(tmp_path):
    with (
        running(*save(tmp_path, "lstm"), "--write-timeout", 1) as service,
        socket.create_connection(("127.0.0.1", service.port)) as connection,
    ):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /page/uplot.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400)
        assert service.metric("unrolled_connections") == 2
        deadline = time.monotonic() + 30
        while service.metric("unrolled_connections") > 1 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert service.metric("unrolled_connections") == 1  # that which asks


def test_too_many_connections_are_refused_and_the_others_go_on(tmp_path):
    with running(*save(tmp_path, "lstm"), "--max-connections", 5, "--request-timeout", 2) as service:
        idle = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(5)]
        try:
            assert service.ask("/v2/health/live")[0] == 503
            for connection in idle:  # given up, since they ask nothing
                connection.settimeout(20)
                assert connection.recv(1) == b""
            assert service.ask("/v2/health/live")[0] == 200
        finally:
            for connection in idle:
                connection.close()


def test_idle_connections_do_not_keep_others_out(service):
    idle = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(2000)]
    try:
        done = threading.Event()
        threading.Thread(
            target=lambda: [infer(service, "lstm", tensor("x", np.zeros((1, 2, 4)))) and done.set()],
            daemon=True,
        ).start()
        assert done.wait(20)
    finally:
        for connection in idle:
            connection.close()
