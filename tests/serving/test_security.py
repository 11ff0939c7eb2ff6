# SPDX-License-Identifier: MIT
"""Who may ask: keys, pages of other sites, rates; addresses that need a key."""

from __future__ import annotations

import numpy as np
import pytest

from tests.serving.running import running, save, tensor
from unrolled.serving import Options
from unrolled.serving.protocol import ServingError, check_model_name

KEY, OTHER = "0123456789abcdefXYZ", "another-key-of-good-length"
BODY = {"inputs": [tensor("x", np.zeros((1, 1, 4)))]}


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    pytest.importorskip("uvicorn")
    folder = tmp_path_factory.mktemp("models")
    (folder / "keys").write_text(f"# of the team\n{KEY}\n\n{OTHER}\n")
    pytest.importorskip("grpc")
    options = ["--host", "0.0.0.0", "--api-key-file", folder / "keys", "--grpc-port", 0]
    with running(*save(folder, "lstm"), *options) as started:
        yield started


@pytest.mark.parametrize("key", [KEY, OTHER])
def test_a_request_with_a_key_passes(service, key):
    assert service.ask("/v2/models/lstm/infer", BODY, headers=bearer(key))[0] == 200
    assert service.ask("/metrics", headers=bearer(key))[0] == 200


@pytest.mark.parametrize(
    "headers", [{}, bearer(""), bearer("wrong"), bearer(KEY[:-1]), bearer(KEY + "x"), {"Authorization": KEY},
                {"Authorization": f"Basic {KEY}"}, bearer("Ä" * 20)]
)  # fmt: skip
@pytest.mark.parametrize(
    "path", ["/v2", "/v2/models/lstm", "/v2/models/lstm/infer", "/metrics", "/v2/repository/index",
             "/v2/models/lstm/sequences/1/state", "//", "/v2/health/../models/lstm"]
)  # fmt: skip
def test_a_request_without_a_key_is_refused(service, path, headers):
    headers = {name: value.encode("latin-1", "replace").decode("latin-1") for name, value in headers.items()}
    status, answer = service.ask(path, headers=headers)
    assert status == 401
    assert "key" in answer["error"]


def test_health_and_the_page_need_no_key(service):
    for path in ("/v2/health/live", "/v2/health/ready", "/", "/page/page.js"):
        assert service.ask(path)[0] == 200


def test_a_stream_brings_its_key_as_a_header_or_a_subprotocol(service):
    client = pytest.importorskip("websockets.sync.client")
    from websockets.exceptions import InvalidStatus

    url = f"ws://127.0.0.1:{service.port}/v2/models/lstm/stream"
    with client.connect(url, proxy=None, additional_headers=bearer(KEY)) as socket:
        socket.send(bytes(16))
        assert len(socket.recv()) == 12
    with client.connect(url, proxy=None, subprotocols=["unrolled.stream", f"unrolled.key.{KEY}"]) as socket:
        assert socket.subprotocol == "unrolled.stream"
    for more in ({}, {"subprotocols": ["unrolled.stream", "unrolled.key.wrong"]}):
        with pytest.raises(InvalidStatus) as caught:
            client.connect(url, proxy=None, **more)
        assert caught.value.response.status_code == 401


def test_grpc_needs_the_key_too(service):
    triton = pytest.importorskip("tritonclient.grpc")
    from tritonclient.utils import InferenceServerException

    x = triton.InferInput("x", [1, 1, 4], "FP32")
    x.set_data_from_numpy(np.zeros((1, 1, 4), np.float32))
    with triton.InferenceServerClient(f"127.0.0.1:{service.grpc_port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.infer("lstm", [x], headers={"authorization": f"Bearer {KEY}"}).as_numpy(
            "output"
        ).shape == (1, 3)
        for headers in (None, {"authorization": "Bearer wrong"}):
            with pytest.raises(InferenceServerException, match="API key"):
                client.infer("lstm", [x], headers=headers)
            with pytest.raises(InferenceServerException, match="API key"):
                client.get_model_metadata("lstm", headers=headers)


def test_pages_of_other_sites_are_refused_where_there_is_no_key(tmp_path):
    pytest.importorskip("uvicorn")
    with running(*save(tmp_path, "lstm")) as service:
        local = f"127.0.0.1:{service.port}"
        for headers, status in [
            ({"Host": local}, 200),
            ({"Host": f"localhost:{service.port}"}, 200),
            ({"Host": local, "Origin": f"http://{local}"}, 200),
            ({"Host": "evil.example"}, 403),
            ({"Host": f"evil.example:{service.port}"}, 403),
            ({"Host": "127.0.0.1.evil.example"}, 403),
            ({"Host": "[::1"}, 403),
            ({"Host": local, "Origin": "http://evil.example"}, 403),
            ({"Host": local, "Origin": "null"}, 403),
            ({"Host": local, "Origin": "http://localhost:1"}, 403),
        ]:
            assert service.ask("/v2/models/lstm/infer", BODY, headers=headers)[0] == status, headers


def test_a_client_that_asks_too_often_is_told_to_wait(tmp_path):
    pytest.importorskip("uvicorn")
    with running(*save(tmp_path, "lstm"), "--rate-limit", 5) as service:
        statuses = [service.ask("/v2/models/lstm/infer", BODY)[0] for _ in range(12)]
        assert statuses[:5] == [200] * 5
        assert 429 in statuses
        assert service.ask("/v2/health/live")[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "a.example", ""])
def test_an_address_that_others_reach_needs_a_key(host):
    with pytest.raises(ValueError, match="api-key-file"):
        Options(host=host)
    assert Options(host=host, api_key_file="keys").host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_none(host):
    assert Options(host=host).is_loopback


@pytest.mark.parametrize(
    "option", [{"port": -1}, {"port": 70000}, {"workers": 0}, {"threads": 0}, {"max_rows": 0}, {"rate_limit": 0.0},
               {"sequence_idle": 0.0}, {"request_timeout": float("nan")}]
)  # fmt: skip
def test_options_out_of_range_are_refused(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        Options(**option)


@pytest.mark.parametrize("content", ["", "\n# nothing\n", "short", "a key with spaces in it"])
def test_a_file_without_good_keys_is_refused(tmp_path, content):
    from unrolled.serving.security import Gate

    (tmp_path / "keys").write_text(content)
    with pytest.raises(ValueError, match="key"):
        Gate(Options(api_key_file=str(tmp_path / "keys")))


@pytest.mark.parametrize("name", ["", "a/b", "a b", "ä", ".hidden", "-x", "a" * 101, 'a"'])
def test_names_of_models_fit_a_url(name):
    with pytest.raises(ValueError, match="NAME=FILE"):
        check_model_name(name)


def test_rates_are_counted_for_each_client_alone():
    from unrolled.serving.security import Gate

    gate = Gate(Options(rate_limit=2.0))
    for client in ("a", "b"):
        gate.admit({}, client)
        gate.admit({}, client)
        with pytest.raises(ServingError) as caught:
            gate.admit({}, client)
        assert caught.value.status == 429
