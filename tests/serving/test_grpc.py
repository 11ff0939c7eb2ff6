# SPDX-License-Identifier: MIT
"""The protocol over gRPC, asked by a real client; its messages are those of the protocol."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.serving.running import MODELS, running, save

pytest.importorskip("uvicorn")
pytest.importorskip("grpc")
triton = pytest.importorskip("tritonclient.grpc")
utils = pytest.importorskip("tritonclient.utils")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    files = save(tmp_path_factory.mktemp("models"), *MODELS)
    with running(*files, "--grpc-port", 0, "--max-body-bytes", 100_000) as started:
        yield started


@pytest.fixture(scope="module")
def client(service):
    with triton.InferenceServerClient(f"127.0.0.1:{service.grpc_port}") as made:
        yield made


def given(name, array, datatype="FP32"):
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(np.ascontiguousarray(array))
    return tensor


def x_of(rows, timesteps, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, timesteps, 4)).astype(np.float32)


def test_the_client_gets_the_bits_of_predict(client):
    x = x_of(3, 5)
    answer = client.infer("lstm", [given("x", x)], request_id="mine")
    np.testing.assert_array_equal(answer.as_numpy("output"), MODELS["lstm"]().predict(x))
    assert answer.get_response().id == "mine"


def test_several_inputs_and_a_choice_of_outputs(client):
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 3, 3), np.float32), rng.random((2, 3, 2), np.float32)
    expected = MODELS["several"]().predict([a, b])
    answer = client.infer(
        "several", [given("b", b), given("a", a)], outputs=[triton.InferRequestedOutput("output_1")]
    )
    np.testing.assert_array_equal(answer.as_numpy("output_1"), expected[1])
    assert answer.as_numpy("output_0") is None


def test_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("lstm")
    assert not client.is_model_ready("nothing")
    assert client.get_server_metadata().name == "unrolled"
    assert list(client.get_model_metadata("lstm").inputs[0].shape) == [-1, -1, 4]
    assert [each.name for each in client.get_model_repository_index().models] == list(MODELS)


@pytest.mark.parametrize("id", [5, "five"])
def test_a_sequence_has_the_bits_of_predict(client, id):
    model, x = MODELS["lstm"](), x_of(1, 5)
    for t in range(5):
        answer = client.infer(
            "lstm", [given("x", x[:, t])], sequence_id=id, sequence_start=t == 0, sequence_end=t == 4
        )
        np.testing.assert_array_equal(answer.as_numpy("output"), model.predict(x[:, : t + 1]))


def test_a_sequence_goes_on_by_http_where_it_began_by_grpc(service, client):
    model, x = MODELS["lstm"](), x_of(1, 2)
    client.infer("lstm", [given("x", x[:, 0])], sequence_id=8, sequence_start=True)
    body = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": x[0, 1].tolist()}],
        "parameters": {"sequence_id": 8, "sequence_end": True},
    }
    status, answer = service.ask("/v2/models/lstm/infer", body)
    assert status == 200
    np.testing.assert_array_equal(np.float32(answer["outputs"][0]["data"]), model.predict(x)[0])


@pytest.mark.parametrize(
    ("model", "array", "more", "part"),
    [
        ("nothing", np.zeros((1, 1, 4), np.float32), {}, "no model"),
        ("lstm", np.zeros((1, 1, 3), np.float32), {}, "expected shape"),
        ("lstm", np.zeros((1, 4), np.float32), {"sequence_id": 999}, "sequence_start"),
        ("lstm", np.zeros((1, 1, 4), np.float32), {"model_version": "2"}, "version"),
        (
            "backwards",
            np.zeros((1, 2), np.float32),
            {"sequence_id": 1, "sequence_start": True},
            "Bidirectional",
        ),
    ],
)
def test_errors_say_why(client, model, array, more, part):
    with pytest.raises(utils.InferenceServerException, match=part):
        client.infer(model, [given("x", array)], **more)


def test_a_message_larger_than_allowed_is_refused_and_disturbs_nobody(client):
    with pytest.raises(utils.InferenceServerException, match="larger than max"):
        client.infer("lstm", [given("x", np.zeros((1, 20_000, 4), np.float32))])
    assert client.is_server_live()


def test_elements_in_typed_fields_are_taken(service):
    import grpc
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    x = x_of(1, 2)
    request = service_pb2.ModelInferRequest(model_name="lstm")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=x.shape)
    tensor.contents.fp32_contents.extend(x.ravel().tolist())
    with grpc.insecure_channel(f"127.0.0.1:{service.grpc_port}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(request)
        got = np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(1, 3)
        np.testing.assert_array_equal(got, MODELS["lstm"]().predict(x))
        for broken in ("shape", "length", "datatype", "raw"):
            bad = service_pb2.ModelInferRequest()
            bad.CopyFrom(request)
            if broken == "shape":
                bad.inputs[0].shape[0] = -1
            elif broken == "length":
                bad.inputs[0].contents.fp32_contents.append(0.0)
            elif broken == "datatype":
                bad.inputs[0].datatype = "BYTES"
            else:
                bad.raw_input_contents.append(b"123")
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(bad)
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_stream_of_requests_goes_on_after_an_error(service):
    import queue

    model, x = MODELS["lstm"](), x_of(1, 4)
    answers = queue.Queue()
    with triton.InferenceServerClient(f"127.0.0.1:{service.grpc_port}") as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for t in range(4):
            client.async_stream_infer("lstm", [given("x", x[:, t])], sequence_id=31, sequence_start=t == 0)
            result, error = answers.get(timeout=20)
            assert error is None
            np.testing.assert_array_equal(result.as_numpy("output"), model.predict(x[:, : t + 1]))
            client.async_stream_infer("lstm", [given("x", np.zeros((1, 3), np.float32))], sequence_id=31)
            result, error = answers.get(timeout=20)
            assert "expected shape" in str(error)
        client.stop_stream()


def test_clients_at_once_each_get_their_own_bits(client):
    model, x = MODELS["lstm"](), x_of(40, 6)
    with ThreadPoolExecutor(16) as threads:
        rows = list(
            threads.map(
                lambda i: client.infer("lstm", [given("x", x[i : i + 1])]).as_numpy("output"), range(40)
            )
        )
    np.testing.assert_array_equal(np.concatenate(rows), model.predict(x))


def test_the_messages_are_those_of_the_protocol():
    from tritonclient.grpc import service_pb2

    from unrolled.serving.messages import message_classes

    def described(message):
        fields = {
            field.name: (
                field.number,
                field.type,
                field.is_repeated if hasattr(field, "is_repeated") else field.label,
                field.containing_oneof and field.containing_oneof.name,
                field.message_type and field.message_type.full_name,
            )
            for field in message.fields
        }
        return fields, {nested.name: described(nested) for nested in message.nested_types}

    for name, made in message_classes().items():
        assert described(made.DESCRIPTOR) == described(service_pb2.DESCRIPTOR.message_types_by_name[name])
