# SPDX-License-Identifier: MIT
"""Live streams on WebSockets: a frame in, a frame out."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.serving.running import MODELS, running, save

pytest.importorskip("uvicorn")
client = pytest.importorskip("websockets.sync.client")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    files = save(tmp_path_factory.mktemp("models"), *MODELS)
    with running(*files, "--max-body-bytes", 100_000) as started:
        yield started


def connect(service, model, **more):
    return client.connect(f"ws://127.0.0.1:{service.port}/v2/models/{model}/stream", proxy=None, **more)


def numbers(frame):
    assert isinstance(frame, bytes), frame
    return np.frombuffer(frame, "<f4")


def test_frames_have_the_bits_of_predict(service):
    model = MODELS["lstm"]()
    x = np.random.default_rng(0).standard_normal((1, 9, 4)).astype("<f4")
    with connect(service, "lstm") as socket:
        for t in range(5):
            socket.send(x[0, t].tobytes())
            np.testing.assert_array_equal(numbers(socket.recv()), model.predict(x[:, : t + 1])[0])
        socket.send(x[0, 5:].tobytes())  # several timesteps in one frame
        np.testing.assert_array_equal(numbers(socket.recv()), model.predict(x)[0])


def test_several_inputs_and_outputs_follow_one_another_in_a_frame(service):
    rng = np.random.default_rng(0)
    a, b = rng.random((1, 4, 3), np.float32), rng.random((1, 4, 2), np.float32)
    expected, last = MODELS["several"]().predict([a, b])
    with connect(service, "several") as socket:
        socket.send(a.tobytes() + b.tobytes())
        np.testing.assert_array_equal(
            numbers(socket.recv()), np.concatenate([expected.ravel(), last.ravel()])
        )


def test_a_bad_frame_is_answered_and_the_stream_goes_on(service):
    ids = np.array([[3, 7, 1]], "<i4")
    expected = MODELS["words"]().predict(ids)[0]
    with connect(service, "words") as socket:
        for t in range(3):
            for bad in (b"", b"123", np.array([11], "<i4").tobytes(), np.array([1, 2, -5], "<i4").tobytes(), "{", "[]",
                        '{"command": "stop"}', '{"command": ["reset"]}', "x" * 2000, "[" * 900):  # fmt: skip
                socket.send(bad)
                assert json.loads(socket.recv())["error"]
            socket.send(ids[0, t].tobytes())
            np.testing.assert_array_equal(numbers(socket.recv()), expected[t])


def test_a_stream_tells_its_state_and_starts_anew(service):
    model = MODELS["lstm"]()
    x = np.ones((1, 1, 4), "<f4")
    with connect(service, "lstm") as socket:
        socket.send('{"command": "state"}')
        assert json.loads(socket.recv()) == {"command": "state", "outputs": []}
        for _ in range(2):
            socket.send(x.tobytes())
            first = numbers(socket.recv())
            np.testing.assert_array_equal(first, model.predict(x)[0])
            socket.send('{"command": "state"}')
            tensors = {each["name"]: each["data"] for each in json.loads(socket.recv())["outputs"]}
            assert tensors["timesteps_seen/0"] == [1]
            assert len(tensors["lstm/0" if "lstm/0" in tensors else next(iter(tensors))]) == 9
            socket.send('{"command": "reset"}')
            assert json.loads(socket.recv())["command"] == "reset"


def test_many_streams_at_once_keep_their_own_states_and_close(service):
    model = MODELS["lstm"]()
    x = np.random.default_rng(1).standard_normal((30, 10, 4)).astype("<f4")

    def play(row):
        with connect(service, "lstm") as socket:
            for t in range(10):
                socket.send(x[row, t].tobytes())
                answer = numbers(socket.recv())
            return answer

    with ThreadPoolExecutor(15) as threads:
        np.testing.assert_array_equal(list(threads.map(play, range(30))), model.predict(x))
    for _ in range(100):
        if service.metric("unrolled_sequences") == 0:
            break
    assert service.metric("unrolled_sequences") == 0


@pytest.mark.parametrize("model", ["backwards", "nothing"])
def test_a_model_without_streams_refuses_the_handshake(service, model):
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus) as caught:
        connect(service, model)
    assert caught.value.response.status_code in (400, 404)
    assert b"error" in caught.value.response.body


def test_a_frame_larger_than_allowed_ends_its_own_stream_only(service):
    from websockets.exceptions import ConnectionClosed

    with connect(service, "lstm") as other, connect(service, "lstm") as socket:
        socket.send(bytes(200_000))
        with pytest.raises(ConnectionClosed):
            socket.recv()
        other.send(bytes(16))
        assert len(numbers(other.recv())) == 3


def test_a_page_of_another_site_cannot_open_a_stream(service):
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus) as caught:
        connect(service, "lstm", origin="http://evil.example")
    assert caught.value.response.status_code == 403


def test_idle_streams_are_closed(tmp_path):
    from websockets.exceptions import ConnectionClosed

    with (
        running(*save(tmp_path, "lstm"), "--sequence-idle", 1) as service,
        connect(service, "lstm") as socket,
    ):
        socket.send(bytes(16))
        socket.recv()
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=20)


def test_a_stream_is_told_when_the_service_stops(tmp_path):
    from websockets.exceptions import ConnectionClosed

    with running(*save(tmp_path, "lstm")) as service, connect(service, "lstm") as socket:
        socket.send(bytes(16))
        socket.recv()
        assert service.stop() == 0
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(timeout=20)
        assert caught.value.rcvd.code == 1012
