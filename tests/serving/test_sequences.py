# SPDX-License-Identifier: MIT
"""Sequences: a state for each client, with the bits of predict, whoever is beside it."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.serving.running import MODELS, outputs_of, running, save, tensor

pytest.importorskip("uvicorn")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    files = save(tmp_path_factory.mktemp("models"), *MODELS)
    with running(*files) as started:
        yield started


def step(service, model, id, *tensors, start=False, end=False):
    parameters = {"sequence_id": id, "sequence_start": start, "sequence_end": end}
    body = {"inputs": list(tensors), "parameters": parameters}
    return service.ask(f"/v2/models/{model}/infer", body)


def x_of(rows, timesteps, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, timesteps, 4)).astype(np.float32)


@pytest.mark.parametrize("id", [1, 2**64 - 1, "a client"])
def test_each_timestep_has_the_bits_of_predict_so_far(service, id):
    model, x = MODELS["lstm"](), x_of(1, 6)
    for t in range(6):
        status, answer = step(service, "lstm", id, tensor("x", x[:, t]), start=t == 0, end=t == 5)
        assert status == 200
        assert answer["parameters"]["sequence_id"] == id
        np.testing.assert_array_equal(outputs_of(answer)["output"], model.predict(x[:, : t + 1]))
    assert step(service, "lstm", id, tensor("x", x[:, 0]))[0] == 404


def test_blocks_of_timesteps_are_as_steps(service):
    model, x = MODELS["several"](), None
    rng = np.random.default_rng(0)
    a, b = rng.random((1, 9, 3), np.float32), rng.random((1, 9, 2), np.float32)
    expected, last = model.predict([a, b])
    start = 0
    for length in (1, 4, 1, 3):
        end = start + length
        given = [tensor("a", a[:, start:end]), tensor("b", b[:, start:end])]
        status, answer = step(service, "several", "blocks", *given, start=start == 0, end=end == 9)
        assert status == 200, answer
        found = outputs_of(answer)
        np.testing.assert_array_equal(found["output_0"], expected[:, start:end])
        start = end
    np.testing.assert_array_equal(found["output_1"], last)
    assert x is None


def test_a_step_without_a_time_axis_is_answered_without_one(service):
    ids = np.array([[3, 7, 1]])
    expected = MODELS["words"]().predict(ids)
    for t in range(3):
        _, answer = step(service, "words", 9, tensor("ids", ids[:, t], "INT32"), start=t == 0)
        np.testing.assert_array_equal(outputs_of(answer)["output"], expected[:, t])


def test_clients_beside_each_other_keep_their_own_states(service):
    model, x = MODELS["lstm"](), x_of(40, 8, seed=3)

    def play(row):
        for t in range(8):
            _, answer = step(
                service, "lstm", f"row {row}", tensor("x", x[row : row + 1, t]), start=t == 0, end=t == 7
            )
        return outputs_of(answer)["output"][0]

    with ThreadPoolExecutor(20) as threads:
        np.testing.assert_array_equal(list(threads.map(play, range(40))), model.predict(x))


def test_a_refused_timestep_leaves_the_sequence_where_it_was(service):
    model, ids = MODELS["words"](), np.array([[3, 7, 1, 2, 5]])
    step(service, "words", "s", tensor("ids", ids[:, 0], "INT32"), start=True)
    for bad in ([[11]], [[1, 2, 11]], [[-1]], [[1], [2]], []):
        assert step(service, "words", "s", tensor("ids", bad, "INT32"))[0] == 400
    # Also where it would have ended, or begun anew.
    assert step(service, "words", "s", tensor("ids", [[11]], "INT32"), end=True)[0] == 400
    assert step(service, "words", "s", tensor("ids", [[11]], "INT32"), start=True)[0] == 400
    _, answer = step(service, "words", "s", tensor("ids", ids[:, 1:], "INT32"), end=True)
    np.testing.assert_array_equal(outputs_of(answer)["output"], model.predict(ids)[:, 1:])


def test_a_sequence_that_failed_to_start_does_not_exist(service):
    before = service.metric("unrolled_sequences")
    assert step(service, "words", "never", tensor("ids", [[11]], "INT32"), start=True)[0] == 400
    assert step(service, "words", "never", tensor("ids", [[1]], "INT32"))[0] == 404
    assert service.metric("unrolled_sequences") == before


def test_start_begins_anew(service):
    x = x_of(1, 1)
    first = step(service, "lstm", "again", tensor("x", x), start=True)
    step(service, "lstm", "again", tensor("x", x))
    assert step(service, "lstm", "again", tensor("x", x), start=True, end=True) == first


def test_a_sequence_needs_a_causal_model_one_row_and_a_timestep(service):
    status, answer = step(service, "backwards", 4, tensor("x", np.zeros((1, 2))), start=True)
    assert status == 400
    assert "Bidirectional" in answer["error"]
    for shape in ((2, 4), (1, 0, 4), (1, 5), (4,), (1, 1, 1, 4)):
        assert step(service, "lstm", 4, tensor("x", np.zeros(shape)), start=True)[0] == 400


@pytest.mark.parametrize("is_binary", [False, True])
def test_a_state_moves_to_another_sequence(service, is_binary):
    model, x = MODELS["lstm"](), x_of(1, 6)
    step(service, "lstm", "from", tensor("x", x[:, :3]), start=True)
    path = "/v2/models/lstm/sequences"
    status, state = service.ask(f"{path}/from/state" + ("?binary=true" if is_binary else ""))
    assert status == 200
    assert (service.json_length is not None) == is_binary
    headers = {"Inference-Header-Content-Length": service.json_length} if is_binary else {}
    assert service.ask(f"{path}/to/state", state, method="PUT", headers=headers)[0] == 200
    for id in ("from", "to"):
        _, answer = step(service, "lstm", id, tensor("x", x[:, 3:]))
        np.testing.assert_array_equal(outputs_of(answer)["output"], model.predict(x))
        assert service.ask(f"{path}/{id}", method="DELETE")[0] == 200
        assert service.ask(f"{path}/{id}", method="DELETE")[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        {"outputs": []},
        {"outputs": [tensor("lstm/0", np.zeros((1, 9)))]},
        {"outputs": [tensor("lstm", np.zeros((1, 9)))]},
        {"outputs": [tensor("lstm/1", np.zeros((1, 9)))]},
        {"outputs": 3},
        {},
    ],
)
def test_a_state_that_does_not_fit_is_refused(service, body):
    status, answer = service.ask("/v2/models/lstm/sequences/new/state", body, method="PUT")
    assert status == 400
    assert answer["error"]
    assert service.ask("/v2/models/lstm/sequences/new/state")[0] == 404


def test_the_real_client_steps_a_sequence(service):
    http = pytest.importorskip("tritonclient.http")
    model, x = MODELS["lstm"](), x_of(1, 5)
    with http.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        for id in (77, "seventy-seven"):
            for t in range(5):
                given = http.InferInput("x", [1, 4], "FP32")
                given.set_data_from_numpy(np.ascontiguousarray(x[:, t]), binary_data=bool(t % 2))
                answer = client.infer(
                    "lstm", [given], sequence_id=id, sequence_start=t == 0, sequence_end=t == 4
                )
                np.testing.assert_array_equal(answer.as_numpy("output"), model.predict(x[:, : t + 1]))


def test_idle_sequences_expire_and_a_full_house_says_so(tmp_path):
    with running(*save(tmp_path, "lstm"), "--max-sequences", 3, "--sequence-idle", 1) as service:
        x = tensor("x", np.zeros((1, 4)))
        for id in (1, 2, 3):
            assert step(service, "lstm", id, x, start=True)[0] == 200
        status, answer = step(service, "lstm", 4, x, start=True)
        assert status == 503
        assert "3 sequences" in answer["error"]
        assert step(service, "lstm", 1, x, start=True)[0] == 200
        deadline = time.monotonic() + 20
        while service.metric("unrolled_sequences") and time.monotonic() < deadline:
            time.sleep(0.1)
        assert service.metric("unrolled_sequences") == 0
        assert service.metric("unrolled_sequences_expired_total") == 3
        assert step(service, "lstm", 1, x)[0] == 404
        assert step(service, "lstm", 4, x, start=True)[0] == 200


def test_an_output_larger_than_memory_allows_is_refused_before_it_is_computed(monkeypatch):
    from unrolled.serving import Options, served
    from unrolled.serving.protocol import ServingError

    monkeypatch.setattr(served, "MOST_OUTPUT_ELEMENTS", 99)
    words = served.ServedModel("words", MODELS["words"](), Options())
    words.take({"ids": np.zeros((2, 9), np.int32)})  # 90 elements
    for refuse in (words.take, words.take_steps):
        with pytest.raises(ServingError) as caught:
            refuse({"ids": np.zeros((1, 20), np.int32)})
        assert caught.value.status == 413


def test_a_model_with_stateful_layers_takes_sequences_only():
    from unrolled import Input, Sequential, layers
    from unrolled.serving import Options
    from unrolled.serving.protocol import ServingError
    from unrolled.serving.served import ServedModel

    model = Sequential([Input(batch_shape=(1, 1, 2)), layers.GRU(3, stateful=True)])
    served = ServedModel("stateful", model, Options())
    name = served.input_names[0]
    with pytest.raises(ServingError, match="sequence_id"):
        served.take({name: np.zeros((1, 1, 2), np.float32)})
    arrays, has_time = served.take_steps({name: np.zeros((1, 2), np.float32)})
    assert not has_time
    assert arrays[0].shape == (1, 1, 2)


# ---------------------------------------------------- within the process: rounds


def test_what_waits_goes_together_and_bits_stay():
    from unrolled.serving import Options
    from unrolled.serving.protocol import InferRequest, SequenceControl
    from unrolled.serving.served import ServedModel
    from unrolled.serving.service import Service

    model = MODELS["lstm"]()
    x = x_of(64, 3)

    async def play():
        service = Service([ServedModel("lstm", model, Options())], Options())
        await service.start()
        try:
            results = []
            for t in range(3):
                answers = await asyncio.gather(
                    *(
                        service.infer(
                            InferRequest(
                                "lstm", {"x": x[i : i + 1, t]}, sequence=SequenceControl(str(i), t == 0)
                            )
                        )
                        for i in range(64)
                    )
                )
                results.append(np.concatenate([answer.outputs["output"] for answer in answers]))
            whole = await asyncio.gather(
                *(service.infer(InferRequest("lstm", {"x": x[i : i + 1]})) for i in range(64))
            )
            samples = {name: value for name, _, value in service.own_samples()}
            return results, [answer.outputs["output"] for answer in whole], samples
        finally:
            await service.close()

    steps, whole, samples = asyncio.run(play())
    for t in range(3):
        np.testing.assert_array_equal(steps[t], model.predict(x[:, : t + 1]))
    np.testing.assert_array_equal(np.concatenate(whole), model.predict(x))
    # The first of each round starts at once, alone; the 63 others wait for it and go together.
    assert sum(samples["unrolled_batch_rows"][:-1]) == 8


def test_more_than_may_wait_are_refused():
    from unrolled.serving import Options
    from unrolled.serving.protocol import InferRequest, ServingError
    from unrolled.serving.served import ServedModel
    from unrolled.serving.service import Service

    options = Options(max_waiting=5)
    x = x_of(1, 3)

    async def play():
        service = Service([ServedModel("lstm", MODELS["lstm"](), options)], options)
        await service.start()
        try:
            requests = [service.infer(InferRequest("lstm", {"x": x})) for _ in range(20)]
            return await asyncio.gather(*requests, return_exceptions=True)
        finally:
            await service.close()

    answers = asyncio.run(play())
    refused = [answer for answer in answers if isinstance(answer, ServingError)]
    assert len(refused) == 14
    assert {error.status for error in refused} == {503}
