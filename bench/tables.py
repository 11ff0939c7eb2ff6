# SPDX-License-Identifier: MIT
"""Tables on the terminal: with rich where it is installed, else plain."""

from __future__ import annotations

import shutil
from collections.abc import Sequence


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1) -> None:
    """Print a table; the first ``texts`` columns hold text, the others numbers."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        _plain(title, columns, rows, texts)
        return
    table = Table(header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < texts else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    needed = sum(3 + max(len(column), *(len(row[i]) for row in rows), 0) for i, column in enumerate(columns))
    console = Console(width=max(needed + 1, len(title), shutil.get_terminal_size().columns), highlight=False)
    console.print(title, style="bold")
    console.print(table)


def _plain(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> None:
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    print(title)
    for row in (columns, *rows):
        cells = [
            cell.ljust(width) if index < texts else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    print()


def milliseconds(seconds: float | None) -> str:
    """Three significant digits, in ms."""
    if seconds is None:
        return "-"
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 1 else f"{value:.4f}"


def error(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"
