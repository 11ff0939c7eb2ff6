# SPDX-License-Identifier: MIT
"""``model.summary()``: the table of keras 3.15 ``utils/summary_utils.py``, character for character."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from unrolled.errors import printable

if TYPE_CHECKING:
    from unrolled.engine.variables import Variable
    from unrolled.layers.base import Layer
    from unrolled.layers.symbolic import Node
    from unrolled.models.base import BaseModel


def summary_text(
    model: BaseModel, *, line_length: int | None, expand_nested: bool, show_trainable: bool
) -> str:
    """The summary of ``model``, lines ended by newlines.

    Parameters
    ----------
    model : Model
        What to describe.
    line_length : int, optional
        Characters a line; Keras's default for the terminal where absent.
    expand_nested, show_trainable : bool
        As in Keras.

    Returns
    -------
    str
    """
    nodes = model.graph_nodes()
    is_chain = nodes is None or _is_chain(nodes)
    header = ["Layer (type)", "Output Shape", "Param #"]
    positions = [0.45, 0.80, 1.0]
    default_length = 88
    if not is_chain:
        header.append("Connected to")
        positions = [0.3, 0.56, 0.74, 1.0]
        default_length = 108
    right_aligned = {"Param #"}
    if show_trainable:
        default_length += 12
        positions = [*(position * 0.90 for position in positions), 1.0]
        header.append("Trainable")
    line_length = line_length or min(default_length, shutil.get_terminal_size().columns - 4)
    widths = _column_widths(positions, line_length)

    def rows(layer: Layer, level: int) -> list[list[str]]:
        prefix = "   " * level + "└ " if level else ""
        fields = [
            f"{prefix}{printable(layer.name)} ({layer.class_name})",
            _output_shape(layer),
            f"{layer.count_params():,}" if layer.built else "0 (unbuilt)",
        ]
        if not is_chain:
            fields.append(_connections(layer, nodes or []) if level == 0 else "-")
        if show_trainable:
            fields.append(("Y" if layer.trainable else "N") if layer.weights else "-")
        found = [fields]
        if expand_nested:
            for inner in getattr(layer, "layers", ()):
                found += rows(inner, level + 1)
        return found

    body = [row for layer in model.summary_layers() for row in rows(layer, 0)]
    lines = [f'Model: "{printable(model.name)}"']
    lines += _table(header, body, widths, [name in right_aligned for name in header], header.index("Trainable")
                    if show_trainable else None)  # fmt: skip
    trainable, frozen = model.trainable_weights, model.non_trainable_weights
    for label, weights in (
        ("Total", [*trainable, *frozen]),
        ("Trainable", trainable),
        ("Non-trainable", frozen),
    ):
        lines.append(f" {label} params: {_count(weights):,} ({_readable_size(4 * _count(weights))})")
    return "\n".join(lines) + "\n"


def _count(weights: Sequence[Variable]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def _readable_size(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} PB"


def _is_chain(nodes: Sequence[Node]) -> bool:
    """Keras's "sequential-like": every depth has one node with at most one input, no layer is shared."""
    depth: dict[int, int] = {}
    for node in reversed(nodes):
        depth.setdefault(id(node), 0)
        for parent in node.parents:
            if parent.node is not None:
                depth[id(parent.node)] = max(depth.get(id(parent.node), 0), depth[id(node)] + 1)
    one_a_depth = len(set(depth.values())) == len(nodes)
    layers = {id(node.layer) for node in nodes}
    return one_a_depth and len(layers) == len(nodes) and all(len(node.parents) <= 1 for node in nodes)


def _output_shape(layer: Layer) -> str:
    shapes = layer.output_shape
    return "?" if shapes is None else _shape_text(shapes)


def _shape_text(shapes: Any) -> str:
    if isinstance(shapes, tuple):
        return f"({', '.join(str(size) for size in shapes)})"
    if isinstance(shapes, dict):
        return "{" + ", ".join(f"{printable(key)}: {_shape_text(shapes[key])}" for key in shapes) + "}"
    texts = [_shape_text(shape) for shape in shapes]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _connections(layer: Layer, nodes: Sequence[Node]) -> str:
    relevant = {id(node) for node in nodes}
    found = []
    for node in layer.nodes:
        if id(node) not in relevant:
            continue
        for tensor in node.parents:
            if tensor.node is not None:
                producer = tensor.node.layer
                found.append(
                    f"{printable(producer.name)}[{producer.nodes.index(tensor.node)}][{tensor.index}]"
                )
    return ", ".join(found) or "-"


def _column_widths(positions: Sequence[float], line_length: int) -> list[int]:
    """Widths of the cells with their padding, as rich fits Keras's columns into ``line_length``."""
    widths: list[int] = []
    used = 0
    for position in positions:
        width = int(position * line_length) - used
        if width < 4:
            raise ValueError(f"line_length {line_length} is too small to print a summary")
        widths.append(width + 2)
        used += width
    excess = sum(widths) + len(widths) + 1 - line_length
    fitted = []
    for index, width in enumerate(widths):
        share = min(width, round(excess / (len(widths) - index)))
        fitted.append(width - share)
        excess -= share
    return fitted


def _table(
    header: list[str], body: list[list[str]], widths: list[int], right: list[bool], center: int | None
) -> list[str]:
    def rule(left: str, fill: str, middle: str, end: str) -> str:
        return left + middle.join(fill * width for width in widths) + end

    def text_rows(cells: list[str], bar: str) -> list[str]:
        wrapped = [_wrap(cell, width - 2) for cell, width in zip(cells, widths, strict=True)]
        height = max(map(len, wrapped))
        lines = []
        for index in range(height):
            parts = []
            for column, (cell_lines, width) in enumerate(zip(wrapped, widths, strict=True)):
                text = cell_lines[index] if index < len(cell_lines) else ""
                if right[column]:
                    text = text.rjust(width - 2)
                elif column == center:
                    text = text.center(width - 2)
                parts.append(f" {text.ljust(width - 2)} ")
            lines.append(bar + bar.join(parts) + bar)
        return lines

    lines = [rule("┏", "━", "┳", "┓"), *text_rows(header, "┃"), rule("┡", "━", "╇", "┩")]
    for index, cells in enumerate(body):
        if index:
            lines.append(rule("├", "─", "┼", "┤"))
        lines += text_rows(cells, "│")
    return [*lines, rule("└", "─", "┴", "┘")]


def _wrap(text: str, width: int) -> list[str]:
    """Break at spaces; a word that is longer than a line is cut with an ellipsis."""
    lines: list[str] = []
    line = ""
    leading = len(text) - len(text.lstrip(" "))
    words = text.lstrip(" ").split(" ")
    if leading:
        words[0] = " " * leading + words[0]
    for number, word in enumerate(words):
        if number and len(line) + 1 + len(word) <= width:
            line += " " + word
        elif number:
            lines.append(line)
            line = word
        else:
            line = word
    lines.append(line)
    return [line if len(line) <= width else line[: width - 1] + "…" for line in lines]
