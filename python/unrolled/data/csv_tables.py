# SPDX-License-Identifier: MIT
"""CSV as tables: named columns, text among them, any separator; read in blocks, from any line start on.

The rule is that of ``csv_rows`` but for what tables have: a row is a sample, fields may be quoted, and columns
that are not used may hold anything.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from unrolled.data.csv_rows import COLUMNS, LINE_BYTES, CSVError
from unrolled.errors import printable

# How much text is parsed at once: NumPy's parser takes about ten times that.
BLOCK_BYTES = 1 << 20


class CSVTable:
    """A CSV file, compressed where its name ends in ``.gz``; its first line has been read.

    Parameters
    ----------
    path : path-like
    separator : str
        One character.

    Attributes
    ----------
    names : list of str
        The columns' names; "1", "2", ... where the first line is no line of names.

    Raises
    ------
    CSVError
        The file is empty, is not UTF-8, or its first line is no line of fields.
    ValueError
        The separator is not one character.
    """

    def __init__(self, path: str | Path, separator: str = ",") -> None:
        if len(separator.encode()) != 1 or separator in '"\r\n':
            raise ValueError(f"separator: expected one ASCII character, got {separator!r}")
        self.path = Path(path)
        self.separator = separator
        self.is_compressed = self.path.suffix.lower() == ".gz"
        first = b""
        with self._open() as file:
            start = 0
            while not first.strip():
                line = file.readline(LINE_BYTES + 1)
                if not line:
                    raise CSVError(f"{path}: holds no rows")
                if len(line) > LINE_BYTES:
                    raise CSVError(f"{path}, line 1: longer than {LINE_BYTES >> 20} MiB")
                start, first = start + len(first), line
        fields = self._fields(self._decoded(first, 1), 1)
        if len(fields) > COLUMNS:
            raise CSVError(f"{path}, line 1: {len(fields)} fields (at most {COLUMNS})")
        self.has_names = not any(_is_number(field) for field in fields)
        if self.has_names:
            self.names = [field.strip() for field in fields]
        else:
            self.names = [str(number) for number in range(1, len(fields) + 1)]
        # What `blocks` has read of the file, compressed as it is, for progress.
        self.bytes_read = 0
        # Where the rows begin, in bytes.
        self.start = start + len(first) if self.has_names else start

    def blocks(self, start: int, stop: int | None = None) -> Iterator[list[str]]:
        """The lines that begin in ``[start, stop)`` of the file's bytes, some at a time, without blank ones.

        Parameters
        ----------
        start, stop : int
            A line that begins before ``start`` belongs to whoever reads the bytes before. In a compressed
            file ``start`` is that of the rows and ``stop`` None.

        Raises
        ------
        CSVError
            A line is too long or not UTF-8.
        """
        with self._open() as file:
            position = start
            if start > self.start:
                file.seek(start - 1)
                position = start - 1 + len(file.readline())  # the rest of the line before, or its line end
            else:
                file.seek(start)
            while stop is None or position < stop:
                # Compressed files know no sizes; the last lines of a part may go beyond it.
                data = file.read(BLOCK_BYTES if stop is None else min(BLOCK_BYTES, stop - position))
                if not data:
                    return
                if not data.endswith(b"\n"):
                    data += file.readline(LINE_BYTES + 1)
                if len(data) > LINE_BYTES + BLOCK_BYTES:
                    raise CSVError(f"{self.path}: a line is longer than {LINE_BYTES >> 20} MiB")
                text = self._decoded(data, position)
                position += len(data)
                self.bytes_read = file.fileobj.tell() if self.is_compressed else position - start  # type: ignore[attr-defined]
                lines = [line for line in text.split("\n") if line and not line.isspace()]
                if lines:
                    yield lines

    def numbers(self, lines: Sequence[str], columns: Sequence[int]) -> NDArray[np.float64]:
        """The numbers of some columns, ``(lines, columns)``.

        Raises
        ------
        CSVError
            A line has another count of fields, or a field is no number; the message names line and column.
        """
        self._check_counts(lines)
        try:
            return np.loadtxt(
                lines, delimiter=self.separator, usecols=columns, ndmin=2, comments=None, quotechar='"'
            )
        except ValueError:
            raise self._wrong_field(lines, columns) from None

    def texts(self, lines: Sequence[str], columns: Sequence[int]) -> list[list[str]]:
        """For each of some columns its fields as they are, unquoted."""
        rows = list(csv.reader(lines, delimiter=self.separator))
        return [[row[column] for row in rows] for column in columns]

    def _check_counts(self, lines: Sequence[str]) -> None:
        separators = len(self.names) - 1
        for line in lines:
            if '"' in line:
                if len(self._fields(line)) == separators + 1:
                    continue
            elif line.count(self.separator) == separators:
                continue
            raise self._error(line, None, self._wrong_count(line))

    def _wrong_count(self, line: str) -> str:
        count = len(self._fields(line))
        origin = "as the first line has names" if self.has_names else "as in the first line"
        return f"expected {len(self.names)} fields, {origin}, got {count}"

    def _wrong_field(self, lines: Sequence[str], columns: Sequence[int]) -> CSVError:
        for line in lines:
            fields = self._fields(line)
            for column in columns:
                field = fields[column].strip()
                if not _is_number(field):
                    what = f"got {printable(field, 60)!r}" if field else "got nothing"
                    return self._error(line, column, f"expected a number, {what}")
        return CSVError(f"{self.path}: a field that NumPy cannot read as a number")

    def _error(self, line: str, column: int | None, message: str) -> CSVError:
        """Names the line; its number is counted now, since nobody counts lines before something is wrong."""
        number = self._number_of(line)
        place = f"{self.path}, line {number}" if number else str(self.path)
        if column is not None:
            place += f", column {printable(self.names[column], 60)!r}"
        return CSVError(f"{place}: {message}")

    def _number_of(self, wanted: str) -> int | None:
        encoded = wanted.encode()
        with self._open() as file:
            for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES + 1), b""), 1):
                if line.rstrip(b"\n").removeprefix(b"\xef\xbb\xbf") == encoded:
                    return number
        return None

    def _fields(self, line: str, number: int = 0) -> list[str]:
        rows = list(csv.reader([line], delimiter=self.separator, strict=False))
        if len(rows) != 1 or line.count('"') % 2:
            place = f"{self.path}, line {number}" if number else f"{self.path}"
            raise CSVError(
                f"{place}: a quoted field goes on in the next line ({printable(line, 60)!r}): a row is a line here"
            )
        return rows[0]

    def _decoded(self, data: bytes, position: int) -> str:
        try:
            return data.removeprefix(b"\xef\xbb\xbf").decode() if position <= 1 else data.decode()
        except UnicodeDecodeError:
            raise CSVError(f"{self.path}: expected UTF-8; save the file as UTF-8") from None

    def _open(self) -> BinaryIO:
        if self.is_compressed:
            return cast(BinaryIO, gzip.open(self.path, "rb"))
        return open(self.path, "rb")


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field
