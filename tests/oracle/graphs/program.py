# SPDX-License-Identifier: MIT
"""A graph as the Keras code that builds it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tests.recipes import padding_patterns

FLOATS, IDS, MASK, STATE = "floats", "ids", "mask", "state"


@dataclass(frozen=True)
class InputSpec:
    """What an input of the program holds.

    Parameters
    ----------
    name : str
        The variable.
    kind : str
        "floats", "ids", "mask" (bool) or "state".
    shape : tuple of int
        Sizes without the batch axis, those that the model leaves free included.
    padding : float or None
        Padded steps (rows in turn whole, right, left, scattered and, where asked for, fully padded) hold
        this value.
    largest : int
        Ids are below it.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    padding: float | None = None
    largest: int = 2


@dataclass(frozen=True)
class Program:
    """The lines that build ``model``, and what it is fed.

    Parameters
    ----------
    keras : str
        "keras" or "tf_keras".
    seed : int
        Of the weights and inputs; the generator's too.
    """

    keras: str
    seed: int
    lines: tuple[str, ...]
    inputs: tuple[InputSpec, ...]
    structure: str = "single"  # of the inputs: "single", "list" or "dict"
    format: str = "keras"
    batch: int = 5
    calls: int = 1
    fully_masked: bool = False
    tags: frozenset[str] = field(default_factory=frozenset)

    def with_lines(self, lines) -> Program:
        return replace(self, lines=tuple(lines))

    def build(self, keras) -> Any:
        """The model."""
        names = environment(keras)
        for line in self.lines:
            exec(line, names)
        return names["model"]

    def feeds(self, rng) -> list[Any]:
        """The inputs of the successive calls."""
        return [self._feed(rng) for _ in range(self.calls)]

    def _feed(self, rng):
        arrays = {spec.name: self._array(spec, rng) for spec in self.inputs}
        if self.structure == "single":
            return next(iter(arrays.values()))
        return arrays if self.structure == "dict" else list(arrays.values())

    def _array(self, spec, rng):
        shape = (self.batch, *spec.shape)
        mask = padding_patterns(self.batch, spec.shape[0], rng)
        if not self.fully_masked:
            mask[~mask.any(1), 0] = True
        if spec.kind == MASK:
            return mask
        if spec.kind == IDS:
            ids = rng.integers(1, spec.largest, shape)
            if spec.padding is not None:
                ids[~mask] = 0
            return ids.astype("int32")
        x = rng.standard_normal(shape).astype("float32")
        if spec.padding is not None:
            x[~mask] = spec.padding
        return x

    def script(self) -> str:
        """A program that shows what Keras and unrolled make of it."""
        free = {key: getattr(self, key) for key in ("structure", "batch", "calls", "fully_masked")}
        return "\n".join(
            [
                "import numpy as np",
                *(["import tensorflow as tf"] if self.keras == "tf_keras" else []),
                f"import {self.keras} as keras" if self.keras != "keras" else "import keras",
                "import unrolled",
                "from tests.oracle.graphs.program import InputSpec, Program",
                "from tests.recipes import randomize_weights",
                "",
                *self.lines,
                "",
                f"inputs = {self.inputs!r}",
                f"program = Program({self.keras!r}, {self.seed}, (), inputs, {as_arguments(free)})",
                f"rng = np.random.default_rng({self.seed})",
                "randomize_weights(model, rng)",
                f"model.save('/tmp/graph.{self.format}')",
                f"mine = unrolled.load_model('/tmp/graph.{self.format}')",
                "for x in program.feeds(rng):",
                "    print(model(x), mine.predict(x, verbose=0), sep='\\n')",
            ]
        )


def as_arguments(values):
    return ", ".join(f"{key}={value!r}" for key, value in values.items())


def environment(keras):
    names = {"keras": keras, "np": np}
    if keras.__name__ == "tf_keras":
        import tensorflow as tf

        names["tf"] = tf
    return names
