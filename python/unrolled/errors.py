# SPDX-License-Identifier: MIT
"""The errors that building and loading a model raise, and the problems they list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


def escaped(text: object, keep: str = "") -> str:
    """Text that may have come from a file, as it is shown.

    Control characters (those that turn the direction of writing too) and lone surrogates become escapes of
    Python; what is printable stays.

    Parameters
    ----------
    text : object
        Converted by ``str``.
    keep : str
        Characters that stay: a newline where the layout is our own.

    Examples
    --------
    >>> escaped("red \\x1b[31m")
    'red \\\\x1b[31m'
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        character if character.isprintable() or character in keep else repr(character)[1:-1]
        for character in shown
    )


def printable(text: object, limit: int = 200) -> str:
    """``escaped``, cut to ``limit`` characters: a name or value of a file inside of a message."""
    cleaned = escaped(str(text)[: limit + 1])
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 3] + "..."


# Names are at most 200 characters of a message; this many are enough for a list of them.
_MESSAGE = 4000


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
        return f"{where}{key}: found {printable(self.found)}; {printable(self.supported, 1000)}"


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
        super().__init__(printable(f"{printable(key)}={printable(self.found)}: {supported}", _MESSAGE))

    def __reduce__(self) -> Any:
        return _config_error, (self.key, self.found, self.supported)


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
        self.headline = headline
        count = len(self.problems)
        lines = [headline.format(things=f"{count} thing{'s' if count != 1 else ''}") + ":"]
        lines += [f"  - {problem}" for problem in self.problems[:50]]
        if count > 50:
            lines.append(f"  ... and {count - 50} more")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> Any:
        return type(self), (self.problems, self.headline)


class ModelFileError(ValueError):
    """The file is broken, hostile or no Keras model; the message says which part, in one line."""

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message, _MESSAGE))


class StreamError(ValueError):
    """A model cannot run as a live stream; the message names the layer and says why, in one line."""

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message, _MESSAGE))


def _config_error(key: str, found: str, supported: str) -> ConfigError:
    """A ``ConfigError`` from a pickle."""
    error = ConfigError(key, "", supported)
    error.found = found
    error.args = (printable(f"{printable(key)}={printable(found)}: {supported}", _MESSAGE),)
    return error
