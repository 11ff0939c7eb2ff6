# SPDX-License-Identifier: MIT
"""What a service can be told, with the limits that make it safe."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How a service listens and what it allows; see docs/serving.md for each.

    Sizes are bytes, times are seconds. The number of sequences is that of each worker.

    Raises
    ------
    ValueError
        A value is out of range, or the service would be open to other machines without a key.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = None
    workers: int = 1
    threads: int = 1
    api_key_file: str | None = None
    max_body_bytes: int = 16 << 20
    max_json_bytes: int = 2 << 20
    max_header_bytes: int = 32 << 10
    max_rows: int = 8192
    max_timesteps: int = 1 << 18
    max_connections: int = 4096
    max_sequences: int = 10_000
    max_waiting: int = 4096
    sequence_idle: float = 300.0
    request_timeout: float = 30.0
    write_timeout: float = 30.0
    idle_timeout: float = 75.0
    drain_timeout: float = 30.0
    rate_limit: float | None = None
    log_level: str = "info"
    access_log: bool = False

    def __post_init__(self) -> None:
        for name, lowest in (("port", 0), ("grpc_port", 0), ("workers", 1), ("threads", 1)):
            value = getattr(self, name)
            if value is not None and not lowest <= value <= 65535:
                raise ValueError(f"{name}: expected a number from {lowest} to 65535, got {value}")
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if name.startswith("max_") and value < 1:
                raise ValueError(f"{name}: expected a positive number, got {value}")
            if name.endswith(("_timeout", "_idle", "rate_limit")) and value is not None and not value > 0:
                raise ValueError(f"{name}: expected a positive number, got {value}")
        if not self.is_loopback and self.api_key_file is None:
            raise ValueError(
                f"host {self.host!r}: other machines can reach it: give --api-key-file, or listen on 127.0.0.1"
            )
        if self.workers > 1 and not hasattr(os, "fork"):
            raise ValueError("workers: this system cannot share a model between processes; use 1")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
