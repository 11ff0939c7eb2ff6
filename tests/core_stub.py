# SPDX-License-Identifier: MIT
"""The part of ``_core.pyi`` for operations, from their records: ``python -m tests.core_stub`` writes it."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import unrolled
from unrolled import _core

STUB = Path(unrolled.__file__).parent / "_core.pyi"
BEGIN = "    # Operations, written by `python -m tests.core_stub` from their records in cpp/ops.\n"
END = "    # End of the operations.\n"
LINE_LENGTH = 110
TYPES = {
    "operand": "int",
    "operands": "Sequence[int]",
    "bool": "bool",
    "int": "int",
    "float": "float",
    "string": "str",
    "dtype": "str",
    "ints": "Sequence[int]",
    "shapes": "Sequence[Sequence[int]]",
    "activation": "Activation",
    "array": "NDArray[Any]",
    "plan": "Plan",
    "parts": "Sequence[Direction]",
}


def parameter_of(record: dict[str, Any]) -> str:
    text = f"{record['name']}: {TYPES[record['kind']]}" + (" | None" if record["allows_none"] else "")
    if "default" not in record:
        return text
    default = record["default"]
    return f"{text} = {tuple(default) if isinstance(default, list) else default!r}"


def method_of(record: dict[str, Any]) -> str:
    """The lines of an operation, as the formatter would leave them."""
    parameters = ["self"]
    for item in record["parameters"]:
        if item["by_name"] and "*" not in parameters:
            parameters.append("*")
        parameters.append(parameter_of(item))
    end = f") -> {'list[int]' if record['gives_list'] else 'int'}:"
    head = f"    def {record['name']}("
    line = head + ", ".join(parameters) + end
    if len(line) > LINE_LENGTH:
        line = "\n".join([head, *(f"        {parameter}," for parameter in parameters), f"    {end}"])
    doc = textwrap.wrap(f'"""{record["doc"]}"""', LINE_LENGTH - 8)
    if len(doc) > 1:
        doc = [*textwrap.wrap(f'"""{record["doc"]}', LINE_LENGTH - 8), '"""']
    return "\n".join([line, *(f"        {part}" for part in doc)]) + "\n"


def generated() -> str:
    return "\n".join(method_of(record) for record in _core.operations())


def split(text: str) -> tuple[str, str, str]:
    """What is before, in and after the part for operations."""
    before, rest = text.split(BEGIN)
    inside, after = rest.split(END)
    return before, inside, after


def main() -> None:
    before, _, after = split(STUB.read_text(encoding="utf-8"))
    STUB.write_text(f"{before}{BEGIN}{generated()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
