# SPDX-License-Identifier: MIT
"""The service of one worker, whatever protocol a request came by."""

from __future__ import annotations

import asyncio
import itertools
import logging
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import unrolled
from unrolled.serving.batching import Prediction, Predictions, Rounds
from unrolled.serving.codec import Encoding, decode_tensors, encode_tensors
from unrolled.serving.hop import Listener, Message, Peer
from unrolled.serving.metrics import CONNECTIONS, QUEUE, SEQUENCES, WORKERS, Family, Metrics, Sample
from unrolled.serving.options import Options
from unrolled.serving.protocol import Arrays, InferRequest, InferResponse, SequenceControl, ServingError
from unrolled.serving.sequences import (
    AnyJob,
    Closed,
    Exported,
    Imported,
    Sequences,
    Step,
    arrays_to_state,
    state_to_arrays,
)
from unrolled.serving.served import ServedModel

_log = logging.getLogger("unrolled.serving")
_BINARY = Encoding(default=True)
SWEEP_SECONDS = 5.0


class Service:
    """Models, their rounds and sequences, and the way to the other workers.

    Made in the event loop that it runs in.

    Parameters
    ----------
    models : sequence of ServedModel
        Warmed up.
    options : Options
        The limits.
    index : int
        Which worker this is.
    paths : sequence of str
        The Unix sockets of all workers; empty where there is one.
    """

    def __init__(
        self, models: Sequence[ServedModel], options: Options, index: int = 0, paths: Sequence[str] = ()
    ) -> None:
        self.options = options
        self.models = {served.name: served for served in models}
        self.metrics = Metrics()
        self.is_draining = False
        self.connections: set[Any] = set()
        self._index = index
        self._peers = [None if number == index else Peer(path) for number, path in enumerate(paths)]
        self._listener = Listener(self._handle_call)
        self._predictions = {
            served.name: Rounds(
                Predictions(served, self.metrics), f"predict {served.name}", options.max_waiting
            )
            for served in models
        }
        self._sequences = {
            served.name: Sequences(served, options, self.metrics) for served in models if served.is_causal
        }
        self._steps: dict[str, Rounds[AnyJob]] = {
            name: Rounds(sequences, f"sequences {name}", options.max_waiting)
            for name, sequences in self._sequences.items()
        }
        self._sweeping: asyncio.Task[None] | None = None
        self._numbers = itertools.count()

    async def start(self, hop_socket: Any = None) -> None:
        """Begin to sweep idle sequences, and to answer other workers on a bound socket."""
        self._sweeping = asyncio.create_task(self._sweep())
        if hop_socket is not None:
            await self._listener.start(hop_socket)

    async def close(self) -> None:
        """After the last request."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        await self._listener.close()
        for peer in self._peers:
            if peer is not None:
                await peer.close()
        for predictions in self._predictions.values():
            predictions.close()
        for steps in self._steps.values():
            steps.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(SWEEP_SECONDS, self.options.sequence_idle))
            for rounds in self._steps.values():
                try:
                    await rounds.result(Closed(None))
                except ServingError as error:
                    _log.warning("idle sequences were not swept: %s", error.message)

    # ----------------------------------------------------------------- requests

    def model(self, name: str) -> ServedModel:
        """The model of this name.

        Raises
        ------
        ServingError
            There is none.
        """
        served = self.models.get(name)
        if served is None:
            raise ServingError(404, f"no model {name!r:.120}; the models are {list(self.models)}")
        return served

    def describe_server(self) -> dict[str, Any]:
        """The protocol's metadata of a server."""
        extensions = [
            "binary_tensor_data",
            "sequence",
            "model_repository",
            "unrolled_stream",
            "unrolled_state",
        ]
        return {"name": "unrolled", "version": unrolled.__version__, "extensions": extensions}

    async def infer(self, request: InferRequest) -> InferResponse:
        """Run a request, here or in the worker that holds its sequence.

        Raises
        ------
        ServingError
            The request does not fit, or nothing can take it now.
        """
        served = self.model(request.model)
        served.check_wanted(request.outputs)
        if request.sequence is None:
            outputs = await self._predictions[served.name].result(Prediction(served.take(request.inputs)))
            return InferResponse(request.model, served.named(outputs, request.outputs), request.id)
        peer = self._holder(request.model, request.sequence.id)
        control = request.sequence
        if peer is None:
            outputs = await self._step(served, control, request.inputs)
        else:
            served.take_steps(request.inputs)  # what does not fit is refused before it travels
            tensors, blobs = encode_tensors(request.inputs, _BINARY)
            message = {"call": "step", "model": served.name, "id": control.id, "start": control.start,
                       "end": control.end, "tensors": tensors}  # fmt: skip
            answer, blob = await peer.call(message, b"".join(blobs))
            outputs = list(decode_tensors(answer["tensors"], memoryview(blob), "answer").values())
        parameters = {"sequence_id": int(control.id) if control.id.isdecimal() else control.id}
        return InferResponse(request.model, served.named(outputs, request.outputs), request.id, parameters)

    async def _step(self, served: ServedModel, control: SequenceControl, inputs: Arrays) -> Any:
        arrays, has_time = served.take_steps(inputs)
        return await self._steps[served.name].result(Step(control, arrays, has_time))

    def _holder(self, model: str, id: str) -> Peer | None:
        """The worker that holds a sequence; None: this one."""
        if not self._peers:
            return None
        return self._peers[zlib.crc32(f"{model}\n{id}".encode()) % len(self._peers)]

    def causal(self, name: str) -> ServedModel:
        """The model of this name, which must take sequences."""
        served = self.model(name)
        if served.why_no_sequences is not None:
            raise ServingError(400, served.why_no_sequences)
        return served

    # ---------------------------------------------------------------- sequences

    async def export_state(self, model: str, id: str) -> Arrays:
        """A copy of a sequence's state."""
        served = self.causal(model)
        peer = self._holder(model, id)
        if peer is None:
            return state_to_arrays(await self._steps[served.name].result(Exported(id)))
        answer, blob = await peer.call({"call": "export", "model": model, "id": id})
        return decode_tensors(answer["tensors"], memoryview(blob), "state")

    async def import_state(self, model: str, id: str, arrays: Arrays) -> None:
        """A sequence that goes on from a state; one of this id is replaced."""
        served = self.causal(model)
        peer = self._holder(model, id)
        if peer is None:
            await self._steps[served.name].result(Imported(id, arrays_to_state(arrays)))
            return
        tensors, blobs = encode_tensors(arrays, _BINARY)
        await peer.call({"call": "import", "model": model, "id": id, "tensors": tensors}, b"".join(blobs))

    async def close_sequence(self, model: str, id: str) -> None:
        """End a sequence."""
        served = self.causal(model)
        peer = self._holder(model, id)
        if peer is None:
            await self._steps[served.name].result(Closed(id))
        else:
            await peer.call({"call": "close", "model": model, "id": id})

    # A stream of a connection stays in the worker that has the connection; its id is no printable text, so
    # that no request can name it.

    def new_stream(self) -> str:
        """An id for the stream of a connection."""
        return f"\0{next(self._numbers)}"

    async def step_stream(self, model: str, id: str, inputs: Arrays, *, start: bool) -> list[Any]:
        """The outputs of the next timesteps of a connection's stream."""
        outputs: list[Any] = await self._step(self.causal(model), SequenceControl(id, start=start), inputs)
        return outputs

    async def stream_state(self, model: str, id: str) -> Arrays:
        """A copy of the state of a connection's stream."""
        return state_to_arrays(await self._steps[model].result(Exported(id)))

    async def close_stream(self, model: str, id: str) -> None:
        """The connection is gone."""
        await self._steps[model].result(Closed(id))

    # ------------------------------------------------------------ other workers

    async def _handle_call(self, message: Message, blob: bytes) -> tuple[Message, bytes]:
        call = message["call"]
        if call == "metrics":
            return {"samples": self.own_samples()}, b""
        rounds = self._steps[message["model"]]
        if call == "close":
            await rounds.result(Closed(message["id"]))
            return {}, b""
        if call == "export":
            arrays = state_to_arrays(await rounds.result(Exported(message["id"])))
        elif call == "import":
            given = decode_tensors(message["tensors"], memoryview(blob), "state")
            await rounds.result(Imported(message["id"], arrays_to_state(given)))
            return {}, b""
        else:
            served = self.models[message["model"]]
            control = SequenceControl(message["id"], message["start"], message["end"])
            inputs = decode_tensors(message["tensors"], memoryview(blob), "inputs")
            outputs = await self._step(served, control, inputs)
            arrays = dict(zip(served.output_names, outputs, strict=True))
        tensors, blobs = encode_tensors(arrays, _BINARY)
        return {"tensors": tensors}, b"".join(blobs)

    def own_samples(self) -> list[Sample]:
        """What this worker counts."""
        gauges: list[tuple[Family, tuple[str, ...], float]] = [
            (CONNECTIONS, (), float(len(self.connections))),
            (WORKERS, (), 1.0),
        ]
        gauges += [(SEQUENCES, (name,), float(len(each))) for name, each in self._sequences.items()]
        queues: Mapping[str, float] = {
            name: rounds.waiting + (self._steps[name].waiting if name in self._steps else 0)
            for name, rounds in self._predictions.items()
        }
        gauges += [(QUEUE, (name,), float(count)) for name, count in queues.items()]
        return self.metrics.samples(gauges)

    async def samples(self) -> list[Sample]:
        """What all workers count; those that do not answer in time are left out."""
        calls = [peer.call({"call": "metrics"}) for peer in self._peers if peer is not None]
        answers = await asyncio.gather(
            *(asyncio.wait_for(call, 2.0) for call in calls), return_exceptions=True
        )
        found = self.own_samples()
        for answer in answers:
            if isinstance(answer, tuple):
                found += answer[0]["samples"]
        return found
