# SPDX-License-Identifier: MIT
"""What unrolled is timed against, one file a peer, all behind the interface ``Peer``.

A peer lives alone in a child process (``bench/worker.py``): its thread pool, its backend choice and its
crash are its own. Nothing here imports a peer's library before ``version`` or ``prepare`` is called.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Protocol

import numpy as np

from bench.workloads import Workload

# In the order of the tables; unrolled first.
NAMES = (
    "unrolled",
    "keras_predict",
    "keras_function",
    "keras_openvino",
    "torch",
    "onnxruntime",
    "openvino",
)

Run = Callable[[np.ndarray], np.ndarray]


class Peer(Protocol):
    """A module of this package.

    Attributes
    ----------
    TITLE : str
        How it is called, for the legend.
    MODULES : tuple of str
        What must be importable.
    """

    TITLE: str
    MODULES: tuple[str, ...]

    def environment(self, threads: int) -> dict[str, str]:
        """Variables that must be set before the library is imported."""

    def version(self) -> str:
        """Versions of the libraries."""

    def prepare(self, workload: Workload, weights: list[np.ndarray], batch: int, threads: int) -> Run:
        """The model, ready to be called on ``[batch, timesteps, features]`` of float32.

        The call is the lightest that the public API offers; array in, array out.

        A peer may also have ``prepare_step``, with the same parameters: one timestep ``[batch, features]``
        of a model that keeps its states from call to call. unrolled has ``prepare_pool`` besides.
        """


def load(name: str) -> Peer:
    """The peer of this name.

    Raises
    ------
    ValueError
        There is none; the message lists the names.
    """
    if name not in NAMES:
        raise ValueError(f"no peer {name!r}; the peers are {', '.join(NAMES)}")
    module: Peer = importlib.import_module(f"bench.peers.{name}")  # type: ignore[assignment]
    return module


def missing(peer: Peer) -> list[str]:
    """The modules that ``peer`` needs and that are not installed."""
    return [name for name in peer.MODULES if importlib.util.find_spec(name) is None]
