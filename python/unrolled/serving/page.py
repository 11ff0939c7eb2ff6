# SPDX-License-Identifier: MIT
"""The page at ``/``: files that are sent as they are."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

_FILES = {
    "/": ("index.html", "text/html"),
    "/page/page.js": ("page.js", "text/javascript"),
    "/page/page.css": ("page.css", "text/css"),
    "/page/uplot.js": ("uplot.js", "text/javascript"),
    "/page/uplot.css": ("uplot.css", "text/css"),
}
PATHS = frozenset(_FILES)
# The page loads nothing from elsewhere and runs no code but these files.
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def routes() -> list[BaseRoute]:
    """A route for each file."""
    folder = Path(__file__).parent / "static"
    return [
        _route(path, (folder / name).read_bytes(), media_type) for path, (name, media_type) in _FILES.items()
    ]


def _route(path: str, content: bytes, media_type: str) -> Route:
    async def send(request: Request) -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return Route(path, send)
