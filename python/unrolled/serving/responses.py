# SPDX-License-Identifier: MIT
"""Answers that every route gives: JSON, and errors as the protocol writes them."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from unrolled.serving.protocol import ServingError


def as_json(content: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(json.dumps(content, separators=(",", ":")), status, media_type="application/json")


def error_response(error: ServingError) -> Response:
    """An error as the protocol writes it."""
    response = as_json({"error": error.message}, error.status)
    if error.status == 413:
        response.headers["connection"] = "close"  # the rest of the body is not read
    if error.status in (429, 503):
        response.headers["retry-after"] = "1"
    return response
