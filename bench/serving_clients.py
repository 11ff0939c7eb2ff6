# SPDX-License-Identifier: MIT
"""Clients of a load test, as thin as they can be, and what they ask, well or badly."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Request:
    """Bytes to send and the array that must come back."""

    data: bytes
    expected: np.ndarray
    right: bytes | None = None  # the first answer that was right

    @classmethod
    def infer(cls, model: str, x: np.ndarray, y: np.ndarray, kind: str) -> Request:
        """A plain request: "json", "binary" or "grpc"."""
        if kind == "grpc":
            return cls(grpc_request(model, x), y)
        return cls(http_request(model, x, {}, kind == "binary"), y)

    @classmethod
    def step(cls, model: str, id: str, x: np.ndarray, y: np.ndarray, start: bool, end: bool) -> Request:
        """A timestep of a sequence."""
        parameters = {"sequence_id": id, "sequence_start": start, "sequence_end": end}
        return cls(http_request(model, x, parameters, True), y)

    def check(self, answer: Any) -> None:
        """Raise ``ValueError`` unless the answer has the expected bits."""
        if isinstance(answer, np.ndarray):
            if not np.array_equal(answer, self.expected):
                raise ValueError("wrong bits by gRPC")
            return
        head, body = answer
        if body == self.right:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise ValueError(f"{head[:60]!r} {body[:200]!r}")
        length = _header(head, b"inference-header-content-length")
        if length is None:
            data = json.loads(body)["outputs"][0]["data"]
            found = np.array(data, np.float32)
        else:
            found = np.frombuffer(body[length:], "<f4")
        if not np.array_equal(found.ravel(), self.expected.ravel()):
            raise ValueError("wrong bits")
        self.right = body


def http_request(model: str, x: np.ndarray, parameters: dict[str, Any], is_binary: bool) -> bytes:
    tensor: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": list(x.shape)}
    more = b""
    if is_binary:
        tensor["parameters"] = {"binary_data_size": x.nbytes}
        parameters = parameters | {"binary_data_output": True}
        more = x.tobytes()
    else:
        tensor["data"] = x.ravel().tolist()
    message: dict[str, Any] = {"inputs": [tensor]}
    if parameters:
        message["parameters"] = parameters
    text = json.dumps(message).encode()
    length = f"Inference-Header-Content-Length: {len(text)}\r\n" if is_binary else ""
    head = (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"{length}Content-Length: {len(text) + len(more)}\r\n\r\n"
    )
    return head.encode() + text + more


def _header(head: bytes, name: bytes) -> int | None:
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return int(value)
    return None


class HttpClient(asyncio.Protocol):
    """One kept connection, one request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._received = bytearray()
        self._waiting: asyncio.Future[tuple[bytes, bytes]] | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._received.clear()
        self._is_open = True
        self._transport, _ = await loop.create_connection(lambda: self, "127.0.0.1", self._port)

    async def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end])
        size = end + 4 + (_header(head, b"content-length") or 0)
        if len(self._received) >= size and self._waiting is not None:
            body = bytes(self._received[end + 4 : size])
            del self._received[:size]
            waiting, self._waiting = self._waiting, None
            if not waiting.done():
                waiting.set_result((head, body))

    def connection_lost(self, error: Exception | None) -> None:
        self._is_open = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError("hung up"))

    async def ask(self, request: Request) -> tuple[bytes, bytes]:
        """Head and body of the answer."""
        return await self._send(request.data)

    async def _send(self, data: bytes) -> tuple[bytes, bytes]:
        if not self._is_open:
            raise ConnectionResetError("hung up")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return await self._waiting

    async def ask_badly(self, bad: Bad) -> bool:
        """Send a bad request; whether it was answered as it should be, with an error or by hanging up."""
        try:
            if bad.is_cut:
                self._transport.write(bad.data)
                await self._again()
                return True
            head, _ = await self._send(bad.data)
        except OSError:
            await self._again()
            return bad.may_hang_up
        if bad.may_hang_up:
            await self._again()
        return head.split()[1] in (b"400", b"403", b"404", b"413", b"415")

    async def _again(self) -> None:
        lost = HttpClient(self._port)  # what the old connection still has to say is said to this one
        self._transport.set_protocol(lost)
        self._transport.close()
        await self.open()


@dataclass(frozen=True)
class Bad:
    """A bad request: answered by an error, or the connection goes."""

    data: bytes
    may_hang_up: bool = False
    is_cut: bool = False


def _post(body: bytes, path: str = "/v2/models/small/infer", more: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_X = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, 4], "data": '
BAD = [
    Bad(_post(b"garbage")),
    Bad(_post(b'{"inputs": ' + b"[" * 50_000)),
    Bad(_post(_X + b"[1, 2, 3]}]}")),
    Bad(_post(_X + b"[NaN, 1, 2, 3]}]}")),
    Bad(_post(_X + b'["a", null, {}, []]}]}')),
    Bad(_post(_X + b'[1, 2, 3, 4]}], "parameters": {"sequence_id": NaN}}')),
    Bad(_post(_X + b'[1, 2, 3, 4]}], "parameters": {"sequence_id": "unknown"}}')),
    Bad(_post(_X + b"[1, 2, 3, 4]}]}", "/v2/models/nothing/infer")),
    Bad(_post(_X + b"[1, 2, 3, 4]}]}", more="Inference-Header-Content-Length: 999999\r\n")),
    Bad(_post(b"", "/v2/repository/models/small/load")),
    Bad(_post(b"{}", more="Origin: http://evil.example\r\n")),
    Bad(
        b"POST /v2/models/small/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n\r\n",
        True,
    ),
    Bad(b"\x16\x03\x01 no HTTP at all\r\n\r\n", True),
    Bad(
        b"POST /v2/models/small/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nA: " + b"a" * 100_000 + b"\r\n\r\n", True
    ),
    Bad(_post(_X + b"[1, 2, 3, 4]}]}")[:-20], is_cut=True),
]


class GrpcClient:
    """One channel, one call at a time."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def open(self) -> None:
        import grpc

        options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{self._port}", options=options)
        self._call = self._channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=None,
            response_deserializer=_messages()["ModelInferResponse"].FromString,
        )

    async def close(self) -> None:
        await self._channel.close()

    async def ask(self, request: Request) -> np.ndarray:
        answer = await self._call(request.data)
        output = answer.outputs[0]
        return np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(tuple(output.shape))


_made: dict[str, Any] = {}


def _messages() -> dict[str, Any]:
    from unrolled.serving.messages import message_classes

    if not _made:
        _made.update(message_classes())
    return _made


def grpc_request(model: str, x: np.ndarray) -> bytes:
    message = _messages()["ModelInferRequest"](model_name=model, raw_input_contents=[x.tobytes()])
    message.inputs.add(name="x", datatype="FP32", shape=x.shape)
    data: bytes = message.SerializeToString()
    return data
