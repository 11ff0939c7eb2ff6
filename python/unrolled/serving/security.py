# SPDX-License-Identifier: MIT
"""Who may ask: API keys, pages of other sites, and how often."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from unrolled.serving.options import Options
from unrolled.serving.protocol import ServingError

SHORTEST_KEY = 16
# Clients whose rate is remembered; the one that asked longest ago is forgotten first.
MOST_CLIENTS = 10_000
# A WebSocket of a browser carries its key as a subprotocol, because it cannot set headers.
KEY_SUBPROTOCOL = "unrolled.key."


class Gate:
    """Admits requests, or says why not.

    Without a key only this machine can reach the service; then a page of another site, opened in a browser on
    this machine, must not: the names in ``Host`` and ``Origin`` must be those of this machine.

    Parameters
    ----------
    options : Options
        The file of keys and the rate.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It holds no key, or a short one.
    """

    def __init__(self, options: Options) -> None:
        self._keys = read_keys(Path(options.api_key_file)) if options.api_key_file is not None else []
        self._hosts = {"localhost", "127.0.0.1", "::1", options.host}
        self._rate = options.rate_limit
        # Of each client: how much it may still ask at once, and when that was.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    @property
    def needs_key(self) -> bool:
        """Whether requests must bring a key."""
        return bool(self._keys)

    def admit(self, headers: Mapping[str, str], client: str) -> None:
        """Let a request pass.

        Parameters
        ----------
        headers : mapping of str to str
            Lower-case names.
        client : str
            The address that it came from.

        Raises
        ------
        ServingError
            No key or a wrong one (401), another site (403), too often (429).
        """
        if self._keys:
            found = self._matching_key(given_key(headers))
            if found is None:
                raise ServingError(401, "give an API key: the header Authorization: Bearer KEY")
            client = found
        else:
            self.check_site(headers)
        if self._rate is not None:
            self._take_turn(client, self._rate)

    def check_site(self, headers: Mapping[str, str]) -> None:
        """Refuse what a browser sends for a page of another site."""
        host = headers.get("host")
        if host is not None and hostname(host) not in self._hosts:
            raise ServingError(
                403, "the header Host must name this machine: without API keys, requests are local"
            )
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise ServingError(403, "pages of other sites may not use this service")

    def _matching_key(self, key: str | None) -> str | None:
        digest = _digest(key or "")
        # Every key is compared, each in constant time.
        matches = [hmac.compare_digest(digest, known) for known in self._keys]
        return f"key {matches.index(True)}" if any(matches) else None

    def _take_turn(self, client: str, rate: float) -> None:
        now = time.monotonic()
        left, then = self._buckets.get(client, (rate, now))
        left = min(rate, left + (now - then) * rate)
        self._buckets[client] = (left - 1 if left >= 1 else left, now)
        self._buckets.move_to_end(client)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        if left < 1:
            raise ServingError(429, f"more than {rate:g} requests a second")


def read_keys(path: Path) -> list[bytes]:
    """The digests of the keys in a file, one key a line; empty lines and those that begin with # are skipped."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ValueError(f"{path}: holds no key")
    if any(
        len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key for key in keys
    ):
        raise ValueError(f"{path}: expected keys of at least {SHORTEST_KEY} ASCII characters, one a line")
    return [_digest(key) for key in keys]


def given_key(headers: Mapping[str, str]) -> str | None:
    """The key that a request brings."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    for protocol in headers.get("sec-websocket-protocol", "").split(","):
        if protocol.strip().startswith(KEY_SUBPROTOCOL):
            return protocol.strip()[len(KEY_SUBPROTOCOL) :]
    return None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


def hostname(authority: str) -> str:
    """The name in ``name:port`` or ``[address]:port``, in lower case."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0].lower() if "]" in authority else authority
    return authority.partition(":")[0].lower()
