# SPDX-License-Identifier: MIT
"""``unrolled check``: what a file holds, and everything in it that is not supported."""

from __future__ import annotations

import argparse
import json
import math
from typing import TYPE_CHECKING, Any

from unrolled.cli.common import BAD_MODEL, BAD_USAGE, OK, Commands, add_command, lacks_weights, say
from unrolled.errors import ModelFileError, printable

if TYPE_CHECKING:
    from unrolled.cli.inspection import Report


def add(commands: Commands) -> None:
    """Add the command."""
    command = add_command(
        commands,
        "check",
        run,
        "say which Keras wrote a file, what it uses, and everything in it that is not supported",
    )
    command.add_argument("--json", action="store_true", help="print the report as one JSON object")
    command.add_argument(
        "--oracle",
        action="store_true",
        help="also run the file in Keras on masked, variable-length and batched inputs; exit code 2 where Keras is "
        "not installed or does not run it",
    )


def run(options: argparse.Namespace) -> int:
    """Print the report."""
    from unrolled.cli.inspection import inspect_file

    try:
        report = inspect_file(options.file, options.weights)
    except ModelFileError as error:
        if not options.json:
            raise
        _print_json({"file": options.file, "supported": False, "error": str(error)})
        return BAD_MODEL
    found, oracle = _ask_oracle(options, report)
    if options.json:
        _print_json(_as_json(options.file, report) | found)
    else:
        say(_as_text(report) + oracle)
    if report.problems:
        return BAD_MODEL
    # Asked for, and not answered: a script must not take it for a pass.
    return BAD_USAGE if "error" in found.get("oracle", {}) else OK


def _ask_oracle(options: argparse.Namespace, report: Report) -> tuple[dict[str, Any], str]:
    """What Keras gives, for JSON and as text; nothing where it was not asked for."""
    if not options.oracle or report.model is None:
        return {}, ""
    from unrolled.cli.oracle import OracleError, compare

    try:
        result = compare(options.file, options.weights, report.model)
    except OracleError as error:
        return {"oracle": {"error": str(error)}}, f"\noracle      NOT COMPARED: {error}"
    lines = [f"oracle      {result.keras}: largest differences of any output"]
    for case in result.comparisons:
        length = f", {case.timesteps} timesteps" if case.timesteps else ""
        padding = "" if case.padding == "none" else f", {case.padding} padding"
        lines.append(
            f"  batch of {case.batch}{length}{padding}: {case.difference:.1e} of outputs up to {case.scale:.2g}"
        )
    found = {"keras": result.keras, "comparisons": [vars(case) for case in result.comparisons]}
    return {"oracle": found}, "\n" + "\n".join(lines)


def _print_json(report: dict[str, Any]) -> None:
    print(json.dumps(_json_value(report), indent=2, allow_nan=False))


def _json_value(value: Any) -> Any:
    """What JSON of every reader can say: no lone surrogates, numbers that are finite."""
    if isinstance(value, dict):
        return {_json_value(str(key)): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _as_json(path: str, report: Report) -> dict[str, Any]:
    model = report.model
    return {
        "file": path,
        "supported": model is not None,
        "format": report.format,
        "keras_version": report.keras_version,
        "model": None
        if model is None
        else {
            "name": model.name,
            "class_name": model.class_name,
            "parameters": model.count_params(),
            "inputs": [
                {"name": tensor.name, "shape": tensor.shape, "dtype": tensor.dtype} for tensor in model.inputs
            ],
            "output_shape": model.output_shape,
        },
        "layers": [vars(layer) for layer in report.layers],
        "differences_from_keras_3": report.differences,
        "problems": [vars(problem) for problem in report.problems],
    }


def _as_text(report: Report) -> str:
    lines = []
    if report.format is not None:
        lines.append(f"format      {report.format}, written by {_writer(report.keras_version)}")
    if (model := report.model) is not None:
        lines.append(f"model       {model.class_name} {printable(model.name)!r}, "
                     f"{model.count_params():,} parameters")  # fmt: skip
        for tensor in model.inputs:
            lines.append(f"input       {printable(tensor.name)!r} {tensor.shape} {printable(tensor.dtype)}")
        lines.append(f"output      {model.output_shape}")
    if report.layers:
        lines += ["", f"{len(report.layers)} layers, with the options that are not Keras's defaults:"]
        lines += [_layer_line(layer.name, layer.class_name, layer.inside, layer.options)
                  for layer in report.layers]  # fmt: skip
    if report.differences:
        lines += [
            "",
            "Today's Keras (3.15) would compute this model differently; unrolled keeps to the writer:",
        ]
        lines += [f"  - {printable(difference, 500)}" for difference in report.differences]
    lines.append("")
    if report.problems:
        count = len(report.problems)
        lines.append(f"NOT SUPPORTED, {count} problem{'s' if count != 1 else ''}:")
        lines += [f"  - {problem}" for problem in report.problems]
    elif model is not None and lacks_weights(model):
        lines.append("Supported: everything in the file, which holds no weights.")
    else:
        lines.append("Supported: everything in the file; the weights fit.")
    return "\n".join(lines)


def _writer(version: str | None) -> str:
    """Who wrote a file, of the version as the file has it."""
    version = version or ""
    script = version.removeprefix("tfjs-layers ")
    return f"{'Keras' if script == version else 'TensorFlow.js'} {printable(script)}"


def _layer_line(name: str, class_name: str, inside: str | None, options: dict[str, Any]) -> str:
    holder = f" in {printable(inside)}" if inside is not None else ""
    text = ", ".join(f"{printable(key)}={printable(value, 60)}" for key, value in options.items())
    return f"  {printable(name)}{holder}: {printable(class_name)}({text})"
