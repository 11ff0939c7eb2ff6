# SPDX-License-Identifier: MIT
"""The protocol over HTTP: a Starlette application around a service."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from unrolled.serving import metrics, page
from unrolled.serving.codec import (
    Encoding,
    decode_request,
    decode_tensors,
    encode_response,
    split_body,
)
from unrolled.serving.protocol import InferResponse, ServingError, sequence_id
from unrolled.serving.responses import as_json, error_response
from unrolled.serving.security import Gate
from unrolled.serving.service import Service
from unrolled.serving.websocket import stream_route

_log = logging.getLogger("unrolled.serving")
_LENGTH = "Inference-Header-Content-Length"
# What anyone may ask: whether the service lives, and the page, which holds no data.
_OPEN_PATHS = {"/v2/health/live", "/v2/health/ready", "/", *page.PATHS}

Handler = Callable[[Request], Awaitable[Response]]


def make_app(service: Service, gate: Gate) -> ASGIApp:
    """The application of one worker."""
    routes = Routes(service)
    app = Starlette(
        routes=routes.all(),
        exception_handlers={ServingError: _answer_error, HTTPException: _answer_http_error},
    )
    return Guard(app, gate, service)


class Guard:
    """Admits requests by the gate before anything else looks at them."""

    def __init__(self, app: ASGIApp, gate: Gate, service: Service) -> None:
        self._app = app
        self._gate = gate
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            if path not in _OPEN_PATHS:
                self._gate.admit(headers, (scope.get("client") or ("",))[0])
        except ServingError as error:
            self._service.metrics.request("", "rest", str(error.status), 0.0)
            # Of a WebSocket this is the answer to its handshake.
            await error_response(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class Routes:
    """The handlers, one a route."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._options = service.options

    def all(self) -> list[BaseRoute]:
        """Every route, those first that are asked most."""
        state = "/v2/models/{model}/sequences/{sequence}"
        found: list[BaseRoute] = [Route("/v2/models/{model}/infer", self.infer, methods=["POST"])]
        found += [
            Route("/v2/models/{model}/versions/{version}/infer", self.infer, methods=["POST"]),
            WebSocketRoute("/v2/models/{model}/stream", stream_route(self._service)),
            Route("/v2/health/live", self.live),
            Route("/v2/health/ready", self.ready),
            Route("/v2/models/{model}/ready", self.model_ready),
            Route("/v2/models/{model}/versions/{version}/ready", self.model_ready),
            Route("/v2/models/{model}", self.model),
            Route("/v2/models/{model}/versions/{version}", self.model),
            Route("/v2", self.server),
            Route("/v2/repository/index", self.index, methods=["GET", "POST"]),
            Route("/v2/repository/models/{model}/{action}", self.refuse, methods=["POST"]),
            Route(f"{state}/state", self.export_state),
            Route(f"{state}/state", self.import_state, methods=["PUT"]),
            Route(state, self.close_sequence, methods=["DELETE"]),
            Route("/metrics", self.metrics),
            *page.routes(),
        ]
        return found

    # ---------------------------------------------------------------- inference

    async def infer(self, request: Request) -> Response:
        """Run a model."""
        started = time.perf_counter()
        name = request.path_params["model"]
        code = "500"
        try:
            check_version(request)
            body = await self._body(request)
            given, encoding = decode_request(
                name, body, request.headers.get(_LENGTH), self._options.max_json_bytes
            )
            response = encoded(await self._service.infer(given), encoding)
            code = "200"
            return response
        except ServingError as error:
            code = str(error.status)
            return error_response(error)
        finally:
            known = name if name in self._service.models else ""
            self._service.metrics.request(known, "rest", code, time.perf_counter() - started)
            if self._options.access_log:
                _log.info("request", extra={"model": name, "protocol": "rest", "code": code,
                                            "seconds": time.perf_counter() - started})  # fmt: skip

    async def _body(self, request: Request) -> bytes:
        """The body, as long as it stays within the limit."""
        limit = self._options.max_body_bytes
        if request.headers.get("content-encoding", "identity") != "identity":
            raise ServingError(415, "compressed requests are not taken: send the body as it is")
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or int(length[:20]) > limit:
            raise ServingError(413, f"a body of {length:.20} bytes, at most {limit}")
        parts, size = [], 0
        try:
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise ServingError(413, f"a body of more than {limit} bytes")
                parts.append(part)
        except ClientDisconnect:
            raise ServingError(400, "the client went away") from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # ------------------------------------------------------- health and metadata

    async def live(self, request: Request) -> Response:
        """Whether the process runs."""
        return as_json({"live": True})

    async def ready(self, request: Request) -> Response:
        """Whether requests are taken: not while the service drains."""
        is_ready = not self._service.is_draining
        return as_json({"ready": is_ready}, 200 if is_ready else 503)

    async def model_ready(self, request: Request) -> Response:
        """Whether this model takes requests."""
        name = self._service.model(request.path_params["model"]).name
        check_version(request)
        is_ready = not self._service.is_draining
        return as_json({"name": name, "ready": is_ready}, 200 if is_ready else 503)

    async def server(self, request: Request) -> Response:
        """Name, version and extensions."""
        return as_json(self._service.describe_server())

    async def model(self, request: Request) -> Response:
        """Inputs and outputs of a model."""
        check_version(request)
        return as_json(self._service.model(request.path_params["model"]).metadata())

    async def index(self, request: Request) -> Response:
        """The models."""
        state = "UNAVAILABLE" if self._service.is_draining else "READY"
        return as_json([{"name": name, "version": "1", "state": state} for name in self._service.models])

    async def refuse(self, request: Request) -> Response:
        """No model is loaded or unloaded over the network."""
        raise ServingError(403, "models are named on the command line; none is loaded over the network")

    async def metrics(self, request: Request) -> Response:
        """Everything counted, of all workers."""
        text = metrics.render(await self._service.samples())
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    # ---------------------------------------------------------------- sequences

    async def export_state(self, request: Request) -> Response:
        """A copy of a sequence's state, as the outputs of an answer; ?binary=true for bytes."""
        model, id = self._sequence(request)
        arrays = await self._service.export_state(model, id)
        encoding = Encoding(default=request.query_params.get("binary", "").lower() == "true")
        return encoded(InferResponse(model, arrays, parameters={"sequence_id": id}), encoding)

    async def import_state(self, request: Request) -> Response:
        """A sequence that goes on from a state that ``export_state`` gave."""
        model, id = self._sequence(request)
        body = await self._body(request)
        message, blob = split_body(body, request.headers.get(_LENGTH), self._options.max_json_bytes)
        arrays = decode_tensors(message.get("outputs", message.get("inputs")), blob, "state")
        await self._service.import_state(model, id, arrays)
        return as_json({"model_name": model, "sequence_id": id})

    async def close_sequence(self, request: Request) -> Response:
        """The end of a sequence."""
        model, id = self._sequence(request)
        await self._service.close_sequence(model, id)
        return as_json({"model_name": model, "sequence_id": id})

    def _sequence(self, request: Request) -> tuple[str, str]:
        id = sequence_id(request.path_params["sequence"])
        if id is None or id == "0":
            raise ServingError(400, "sequence_id: 0 and '' name no sequence")
        return request.path_params["model"], id


def check_version(request: Request) -> None:
    """Raise ``ServingError`` where the path asks for a version that is not served."""
    version = request.path_params.get("version", "1")
    if version != "1":
        raise ServingError(404, f"version {version!r:.60}: every model has version '1' alone")


def encoded(response: InferResponse, encoding: Encoding) -> Response:
    """An answer, with its tensors where the client wants them."""
    body, length = encode_response(response, encoding)
    if length is None:
        return Response(body, media_type="application/json")
    return Response(body, media_type="application/octet-stream", headers={_LENGTH: str(length)})


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServingError)
    return error_response(error)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return as_json({"error": error.detail}, error.status_code)
