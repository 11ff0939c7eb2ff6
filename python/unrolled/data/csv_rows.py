# SPDX-License-Identifier: MIT
"""Rows of numbers from CSV, by the one rule of every command that reads it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import BinaryIO

from unrolled.errors import printable

# How long a line may be: what one needs in memory is a few times that, whatever the source holds.
LINE_BYTES = 16 << 20
# Fields of a line whose number of columns is not known: each is an object of Python.
COLUMNS = 1_000_000

RULE = """\
CSV:
  One row a line, in UTF-8: numbers separated by commas, a point before decimals, the same count in every line.
  The first line may be the columns' names: as many as there are columns, and none of them a number.
  A blank line ends a sequence; several count as one, and those at the start or end as none.
  Ids (of an Embedding) are integers: 3 or 3.0, not 3.5. nan and inf are numbers, an empty field is none.
  Everything else is refused, with its line and column. A line has at most 16 MiB.
"""

_SEPARATORS = {";": "semicolons", "\t": "tabs"}
_DATE = re.compile(r"\d+[-/.:]\d+[-/.:T ]\d+|\d+:\d+")


class CSVError(ValueError):
    """A line does not follow the rule; the message names the source, the line and the column."""


def read_lines(source: BinaryIO, name: str) -> Iterator[bytes]:
    """The lines of a file or pipe as they come.

    Raises
    ------
    CSVError
        A line of more than ``LINE_BYTES``; no more than that is read.
    """
    number = 0
    while line := source.readline(LINE_BYTES + 1):
        number += 1
        if len(line) > LINE_BYTES:
            raise CSVError(f"{name}, line {number}: longer than {LINE_BYTES >> 20} MiB")
        yield line


class RowParser:
    """Line after line into numbers.

    Parameters
    ----------
    source : str
        What messages call the file.
    columns : int, optional
        How many numbers a line has; as many as the first where absent.
    integers : bool
        Whether the numbers are ids.
    separator : str
        Between numbers: one ASCII character.

    Examples
    --------
    >>> parser = RowParser("x.csv")
    >>> [parser.parse(line) for line in (b"speed,load", b"1,2", b"")]
    [None, [1.0, 2.0], []]
    >>> parser.parse(b"3,n/a")
    Traceback (most recent call last):
        ...
    unrolled.data.csv_rows.CSVError: x.csv, line 4, column 'load': expected a number, got 'n/a'
    """

    def __init__(
        self, source: str, columns: int | None = None, *, integers: bool = False, separator: str = ","
    ) -> None:
        self.source = source
        self.columns = columns
        self.line = 0
        self._names: list[str] | None = None
        self._integers = integers
        self._separator = separator.encode()
        self._is_first = True
        # Where the number of columns comes from, for messages.
        self._origin = ", one for each feature" if columns is not None else ""

    def parse(self, line: bytes) -> list[float] | None:
        """The numbers of the next line: none of a blank line, None for the columns' names.

        Raises
        ------
        CSVError
            It is neither.
        """
        self.line += 1
        if self.line == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        line = line.strip(b" \r\n" if self._separator == b"\t" else None)
        if not line:
            return []
        is_first, self._is_first = self._is_first, False
        count = line.count(self._separator) + 1
        # Counted before anything is made of it: a line of commas would take 50 times its length.
        if self.columns is None and count > COLUMNS:
            raise self._error(f"{count} fields (at most {COLUMNS})")
        if self.columns is not None and count != self.columns and not (is_first and b'"' in line):
            raise self._error(self._wrong_count(line, count))
        fields = line.split(self._separator)
        try:
            numbers = [float(field) for field in fields]
        except ValueError:
            if is_first and self._take_names(line):
                return None
            raise self._wrong_field(fields) from None
        if b"_" in line:  # Python reads 1_000, which nobody else does
            raise self._wrong_field(fields)
        if self.columns is None:
            self.columns, self._origin = count, f", as in line {self.line}"
        if self._integers:
            self._check_integers(numbers, fields)
        return numbers

    def _take_names(self, line: bytes) -> bool:
        """Whether a line is the columns' names; they are kept."""
        text = line.decode("utf-8", "backslashreplace")
        if line.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise self._error("expected UTF-8, got UTF-16: save the file as UTF-8")
        parts = re.split(f"[,;\t{re.escape(self._separator.decode())}]", text)
        if any(_is_number(part.encode()) for part in parts):
            return False
        try:
            names = next(csv.reader([text], delimiter=self._separator.decode(), skipinitialspace=True))
        except csv.Error:
            return False
        if self.columns is not None and len(names) != self.columns:
            raise self._error(self._wrong_count(line, len(names)))
        self._names, self.columns = names, len(names)
        self._origin = f", as line {self.line} has names"
        return True

    def _check_integers(self, numbers: list[float], fields: list[bytes]) -> None:
        for index, number in enumerate(numbers):
            if not (number.is_integer() and -(2**31) <= number < 2**31):
                raise self._error(f"expected an integer id, got {_shown(fields[index])}", index)

    def _wrong_count(self, line: bytes, count: int) -> str:
        hint = _hint(line, self._separator)
        return f"expected {self.columns} numbers{self._origin}, got {count}{hint}"

    def _wrong_field(self, fields: list[bytes]) -> CSVError:
        index = next(index for index, field in enumerate(fields) if not _is_number(field))
        field = fields[index].strip()
        what = "nothing" if not field else repr(_shown(field))
        return self._error(f"expected a number, got {what}{_hint(field, self._separator)}", index)

    def _error(self, message: str, column: int | None = None) -> CSVError:
        place = f"{self.source}, line {self.line}"
        if column is not None:
            named = self._names is not None and column < len(self._names) and self._names[column]
            shown = printable(self._names[column], 60) if named and self._names else ""
            place += f", column {shown!r}" if shown else f", column {column + 1}"
        return CSVError(f"{place}: {message}")


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return b"_" not in field


def _shown(field: bytes) -> str:
    return printable(field[:100].decode("utf-8", "backslashreplace"), 60)


def _hint(text: bytes, used: bytes) -> str:
    """What to do about a field, or a line, that is no number."""
    shown = text[:1000].decode("utf-8", "backslashreplace")
    for separator, name in _SEPARATORS.items():
        if separator in shown and separator.encode() != used:
            return f"; the file separates its columns by {name}: replace them by commas, or name the separator (predict --separator)"
    if _DATE.search(shown):
        return "; leave out columns of dates and times"
    return ""
