# SPDX-License-Identifier: MIT
"""CSV as tables: names, separators, quotes, text beside numbers; read in blocks from any line start on."""

from __future__ import annotations

import gzip
import itertools

import numpy as np
import pytest

from unrolled.data import csv_tables
from unrolled.data.csv_rows import CSVError
from unrolled.data.csv_tables import CSVTable


def write(path, text):
    if path.suffix == ".gz":
        with gzip.open(path, "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
    else:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def lines_of(table, start=None, stop=None):
    return [line for block in table.blocks(table.start if start is None else start, stop) for line in block]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("a,b\n1,2\n3,4\n", ["a", "b"], [[1, 2], [3, 4]]),
        ("1,2\n3,4", ["1", "2"], [[1, 2], [3, 4]]),
        ('"1","2"\r\n"3","4"\r\n', ["1", "2"], [[1, 2], [3, 4]]),
        ('\ufeff"a, b",c\n1,2\n', ["a, b", "c"], [[1, 2]]),
        ("\n\na,b\n\n1,2\n\n", ["a", "b"], [[1, 2]]),
        ("a\n1e3\n-inf\n", ["a"], [[1000], [-np.inf]]),
        ("a,b\n 1 , 2 \n", ["a", "b"], [[1, 2]]),
    ],
)
def test_names_are_told_from_numbers_whether_quoted_or_not(tmp_path, name, text, names, rows):
    table = CSVTable(write(tmp_path / name, text))
    assert table.names == names
    numbers = table.numbers(lines_of(table), range(len(names)))
    np.testing.assert_array_equal(numbers, rows)


def test_every_separator_of_one_character_is_read(tmp_path):
    for separator in ";\t| ":
        table = CSVTable(write(tmp_path / "t.csv", f"a{separator}b\n1{separator}2\n"), separator)
        np.testing.assert_array_equal(table.numbers(lines_of(table), [1, 0]), [[2, 1]])
    for separator in ("", ";;", '"', "\n", "·"):
        with pytest.raises(ValueError, match="separator: expected one ASCII character"):
            CSVTable(tmp_path / "t.csv", separator)


def test_columns_that_are_not_used_may_hold_anything(tmp_path):
    table = CSVTable(write(tmp_path / "t.csv", 'when,x,note\n2024-01-01,1,"a, ""b"""\n2024-01-02,2,\n'))
    lines = lines_of(table)
    np.testing.assert_array_equal(table.numbers(lines, [1]), [[1], [2]])
    assert table.texts(lines, [0, 2]) == [["2024-01-01", "2024-01-02"], ['a, "b"', ""]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n\n3\n", "t.csv, line 4: expected 2 fields, as the first line has names, got 1"),
        ("1,2\n1,2,3\n", "t.csv, line 2: expected 2 fields, as in the first line, got 3"),
        ("a,b\n1,2\n3,x\n", "t.csv, line 3, column 'b': expected a number, got 'x'"),
        ("a,b\n1,2\n,4\n", "t.csv, line 3, column 'a': expected a number, got nothing"),
        ("1,2\n3,x\n", "t.csv, line 2, column '2': expected a number, got 'x'"),
        ('a,b\n1,"2\n3"\n', "t.csv: a quoted field goes on in the next line"),
        ("a,b\n1_0,2\n", "t.csv, line 2, column 'a': expected a number, got '1_0'"),
    ],
)
def test_what_is_wrong_is_named_by_line_and_column(tmp_path, text, message):
    table = CSVTable(write(tmp_path / "t.csv", text))
    with pytest.raises(CSVError) as caught:
        table.numbers(lines_of(table), range(len(table.names)))
    assert message in str(caught.value)


def test_files_that_are_no_csv_are_refused(tmp_path):
    for text, message in [
        ("", "holds no rows"),
        (b"a,b\n\xff,1\n", "expected UTF-8"),
        ('a,"b\n1,2\n', "quoted"),
    ]:
        with pytest.raises(CSVError, match=message):
            lines_of(CSVTable(write(tmp_path / "t.csv", text)))


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_parts_cut_at_any_byte_hold_every_line_once(tmp_path, monkeypatch, block, end):
    monkeypatch.setattr(csv_tables, "BLOCK_BYTES", block)
    rows = [f"{number},{'é' * (number % 4)}" for number in range(23)]
    table = CSVTable(write(tmp_path / "t.csv", end.join(["n,text", *rows]) + end))
    size = (tmp_path / "t.csv").stat().st_size
    assert [line.rstrip("\r") for line in lines_of(table)] == rows
    for step in (1, 5, 17, size):
        cuts = [table.start, *range(table.start + step, size, step), size]
        found = [lines_of(table, begin, end) for begin, end in itertools.pairwise(cuts)]
        assert [line.rstrip("\r") for part in found for line in part] == rows


def test_a_line_that_is_too_long_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_tables, "LINE_BYTES", 1000)
    monkeypatch.setattr(csv_tables, "BLOCK_BYTES", 100)
    table = CSVTable(write(tmp_path / "t.csv", "a\n1\n" + "2" * 5000 + "\n"))
    with pytest.raises(CSVError, match="longer than"):
        lines_of(table)
    with pytest.raises(CSVError, match="line 1: longer than"):
        CSVTable(write(tmp_path / "u.csv", "a" * 5000))
