# SPDX-License-Identifier: MIT
"""The errors that building and loading a model raise, and the problems they list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


def printable(text: object, limit: int = 200) -> str:
    """Escape control characters of text that came from a file and cut it to ``limit`` characters."""
    cleaned = "".join(
        character if character.isprintable() else repr(character)[1:-1]
        for character in str(text)[: limit + 1]
    )
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 3] + "..."


@dataclass(frozen=True)
class Problem:
    """One thing in a model file that unrolled does not support.

    Parameters
    ----------
    layer : str
        The layer's name in the file.
    class_name : str
        Its Keras class.
    key : str
        The config key, or "" where the class itself is the problem.
    found : str
        What the file holds.
    supported : str
        What would be supported, and what to do.
    """

    layer: str
    class_name: str
    key: str
    found: str
    supported: str

    def __str__(self) -> str:
        where = f"layer {printable(self.layer)!r} ({printable(self.class_name)})"
        key = f", {printable(self.key)}" if self.key else ""
        return f"{where}{key}: found {printable(self.found)}; {self.supported}"


class ConfigError(ValueError):
    """A config value that a layer cannot honour.

    Parameters
    ----------
    key : str
        The config key.
    found : object
        Its value.
    supported : str
        What would do, and what to do about it.
    """

    def __init__(self, key: str, found: object, supported: str) -> None:
        self.key = key
        self.found = repr(found)
        self.supported = supported
        super().__init__(f"{key}={printable(self.found)}: {supported}")


class UnsupportedModelError(ValueError):
    """The file is sound, but needs something that unrolled does not support.

    Attributes
    ----------
    problems : tuple of Problem
        Everything unsupported in the file, not only the first thing.

    Parameters
    ----------
    problems : sequence of Problem
        See above.
    headline : str
        What the message says of them; "{things}" is their count.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        headline: str = "the model needs {things} that unrolled does not support",
    ) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = [headline.format(things=f"{count} thing{'s' if count != 1 else ''}") + ":"]
        lines += [f"  - {problem}" for problem in self.problems[:50]]
        if count > 50:
            lines.append(f"  ... and {count - 50} more")
        super().__init__("\n".join(lines))


class ModelFileError(ValueError):
    """The file is broken, hostile or no Keras model; the message says which part."""


class StreamError(ValueError):
    """A model cannot run as a live stream; the message names the layer and says why."""
