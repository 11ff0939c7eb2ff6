# SPDX-License-Identifier: MIT
"""The command ``unrolled``: look at a model file, predict from the shell, time a model."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ModelFileError, UnsupportedModelError, printable

if TYPE_CHECKING:
    from unrolled.inspection import Report
    from unrolled.layers.symbolic import KerasTensor
    from unrolled.models import Model

OK, BAD_MODEL, BAD_USAGE = 0, 1, 2
_EXIT_CODES = (
    "exit codes: 0 done; 1 the model file is broken or needs what unrolled does not support; "
    "2 a wrong command line, a file that cannot be read or written, or an input that does not fit; "
    "130 interrupted (Ctrl-C)"
)
_LAYOUTS = """\
input files:
  .npy    one array, (batch, ...) as the model's input
  .npz    one array, or one for each input: named as the model's inputs, or saved in their order (arr_0, ...)
  .csv    numbers separated by commas; one line of column names may come first
          input (batch, features): a row is a sample
          input (batch, timesteps, features): a row is a timestep and the columns are its features. The rows
          make one sequence after another, each as long as the model or --timesteps says; where neither says,
          all of them make one. Where the length is known, a row may also be a whole sequence: all features
          of its first timestep, then those of its second, ...
output files:
  .npy, .csv (one output only; rows as above), .npz (keys: "output", or "output_0", "output_1", ...; the
  names of the outputs where the model's outputs are a dict). Without -o, CSV goes to the standard output.
"""


_STREAMS = """\
input, read from the standard input as it comes:
  lines (the default): a line is a timestep, its features numbers separated by commas; one line of column names
  may come first; an empty line starts a new sequence
  --binary: a frame is a timestep, its features float32 in little-endian order (ids of an embedding: int32)
output, written to the standard output at once:
  for each timestep one line, or one frame of float32: what the model predicts for all timesteps so far
"""


class UsageError(Exception):
    """What the user gave does not do; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name; the process's own where absent.

    Returns
    -------
    int
        The exit code: 0 done, 1 a broken or unsupported model, 2 wrong usage, 130 interrupted.
    """
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit as exit_:  # argparse has printed the help or the error
        return int(exit_.code or 0)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        code = run(options)
        sys.stdout.flush()
        return code
    except (UnsupportedModelError, ModelFileError) as error:
        return _fail(str(error), BAD_MODEL)
    except UsageError as error:
        return _fail(str(error), BAD_USAGE)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        what = f"{error.filename}: " if error.filename is not None else ""
        return _fail(f"{what}{error.strerror or error}", BAD_USAGE)
    except MemoryError:
        return _fail("not enough memory; a smaller --batch-size needs less", BAD_USAGE)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def _fail(message: str, code: int) -> int:
    print(f"unrolled: {message}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    import unrolled

    parser = argparse.ArgumentParser(
        prog="unrolled",
        description="Run recurrent networks trained in Keras, without TensorFlow.",
        epilog=_EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"unrolled {unrolled.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Any, summary: str, epilog: str = "") -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"{epilog}{_EXIT_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter if epilog else argparse.HelpFormatter,
        )
        added.set_defaults(run=run)
        added.add_argument("file", metavar="FILE", help="a .keras, .h5 or .json model of any Keras version")
        added.add_argument(
            "--weights", metavar="FILE", help="the weights-only file that belongs to a .json model"
        )
        return added

    summary = command("summary", _summary, "print the table of layers that Keras prints")
    summary.add_argument("--line-length", type=_positive, metavar="N", help="characters a line")
    summary.add_argument("--expand-nested", action="store_true", help="show the layers of nested models")

    check = command(
        "check",
        _check,
        "say which Keras wrote a file, what it uses, and everything in it that is not supported",
    )
    check.add_argument("--json", action="store_true", help="print the report as one JSON object")
    check.add_argument(
        "--oracle",
        action="store_true",
        help="also run the file in Keras, where it is installed, on masked, variable-length and batched inputs",
    )

    convert = command(
        "convert",
        _convert,
        "write a model as a Keras 3 file that gives the same numbers in Keras 3",
        "The file is written only if Keras 3 can express the model; the reasons why not are listed.\n\n",
    )
    convert.add_argument("new", metavar="NEW", help="the .keras file to write; replaced where it exists")
    convert.add_argument(
        "--approximate",
        action="store_true",
        help="write the nearest that Keras 3 has where it cannot express the model, and say so",
    )

    predict = command("predict", _predict, "run a model on the numbers of a file", _LAYOUTS)
    predict.add_argument("input", metavar="INPUT", help="a .npy, .npz or .csv file")
    predict.add_argument("-o", "--output", metavar="OUT", help="a .npy, .npz or .csv file to write")
    predict.add_argument(
        "--batch-size", type=_positive, metavar="N", help="rows computed together at most; never changes numbers"
    )  # fmt: skip
    predict.add_argument(
        "--timesteps", type=_positive, metavar="N", help="timesteps of every sequence in a .csv input"
    )

    stream = command("stream", _stream, "step a model through timesteps as they come", _STREAMS)
    stream.add_argument("--binary", action="store_true", help="frames of float32 instead of lines")

    bench = command(
        "bench",
        _bench,
        "time a model on random inputs, beside Keras and ONNX Runtime where they are installed",
    )
    bench.add_argument("--batch", type=_positive, default=1, metavar="N", help="rows of a call (default: 1)")
    bench.add_argument(
        "--timesteps", type=_positive, metavar="N", help="timesteps where the model leaves them open (default: 100)"
    )  # fmt: skip
    bench.add_argument(
        "--threads", type=_positive, metavar="N", help="for every program (default: the processors)"
    )
    bench.add_argument(
        "--seconds", type=float, default=2.0, metavar="S", help="spent on each program (default: 2)"
    )
    bench.add_argument("--no-peers", action="store_true", help="unrolled alone: Keras never sees the file")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


_positive.__name__ = "positive integer"  # argparse's messages name the type


def _load(options: argparse.Namespace) -> Model:
    from unrolled.models import load_model

    return load_model(options.file, weights=options.weights)


def _lacks_weights(model: Model) -> bool:
    return model.source is not None and model.source.weights is None and model.count_params() > 0


def _load_with_weights(options: argparse.Namespace) -> Model:
    model = _load(options)
    if _lacks_weights(model):
        raise UsageError(f"{options.file}: holds no weights; --weights names the file that has them")
    return model


# -------------------------------------------------------------------- summary


def _summary(options: argparse.Namespace) -> int:
    model = _load(options)
    try:
        model.summary(line_length=options.line_length, expand_nested=options.expand_nested)
    except ValueError as error:
        raise UsageError(f"--line-length: {error}") from error
    return OK


# ---------------------------------------------------------------------- check


def _convert(options: argparse.Namespace) -> int:
    if Path(options.new).suffix != ".keras":
        raise UsageError(f"{options.new}: the new file's name must end in .keras")
    model = _load(options)
    for note in model.save(options.new, approximate=options.approximate):
        print(note)
    if _lacks_weights(model):
        print(
            f"{options.file} holds no weights: those written are fresh; --weights names the file that has them"
        )
    what = f"{model.class_name} {printable(model.name)!r}, {model.count_params():,} parameters"
    print(f"{options.new}: {what}, as a file of Keras 3")
    return OK


def _check(options: argparse.Namespace) -> int:
    from unrolled.inspection import inspect_file

    try:
        report = inspect_file(options.file, options.weights)
    except ModelFileError as error:
        if not options.json:
            raise
        print(json.dumps({"file": options.file, "supported": False, "error": str(error)}, indent=2))
        return BAD_MODEL
    found, oracle = _ask_oracle(options, report)
    if options.json:
        print(json.dumps(_as_json(options.file, report) | found, indent=2))
    else:
        print(_as_text(report) + oracle)
    return BAD_MODEL if report.problems else OK


def _ask_oracle(options: argparse.Namespace, report: Report) -> tuple[dict[str, Any], str]:
    """What Keras gives, for JSON and as text; nothing where it was not asked for."""
    if not options.oracle or report.model is None:
        return {}, ""
    from unrolled.oracle import OracleError, compare

    try:
        result = compare(options.file, options.weights, report.model)
    except OracleError as error:
        return {"oracle": {"error": str(error)}}, f"\noracle      {error}"
    lines = [f"oracle      {result.keras}: largest differences of any output"]
    for case in result.comparisons:
        length = f", {case.timesteps} timesteps" if case.timesteps else ""
        padding = "" if case.padding == "none" else f", {case.padding} padding"
        lines.append(
            f"  batch of {case.batch}{length}{padding}: {case.difference:.1e} of outputs up to {case.scale:.2g}"
        )
    found = {"keras": result.keras, "comparisons": [vars(case) for case in result.comparisons]}
    return {"oracle": found}, "\n" + "\n".join(lines)


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
        lines.append(f"format      {report.format}, written by Keras {printable(report.keras_version)}")
    if (model := report.model) is not None:
        lines.append(f"model       {model.class_name} {printable(model.name)!r}, "
                     f"{model.count_params():,} parameters")  # fmt: skip
        for tensor in model.inputs:
            lines.append(f"input       {printable(tensor.name)!r} {tensor.shape} {tensor.dtype}")
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
    elif model is not None and _lacks_weights(model):
        lines.append("Supported: everything in the file, which holds no weights.")
    else:
        lines.append("Supported: everything in the file; the weights fit.")
    return "\n".join(lines)


def _layer_line(name: str, class_name: str, inside: str | None, options: dict[str, Any]) -> str:
    holder = f" in {printable(inside)}" if inside is not None else ""
    text = ", ".join(f"{printable(key)}={printable(value, 60)}" for key, value in options.items())
    return f"  {printable(name)}{holder}: {printable(class_name)}({text})"


# -------------------------------------------------------------------- predict


def _predict(options: argparse.Namespace) -> int:
    if options.output is not None:
        _check_suffix(options.output, "-o")
    _check_suffix(options.input, "INPUT")
    if options.timesteps is not None and Path(options.input).suffix.lower() != ".csv":
        raise UsageError("--timesteps: goes with a .csv input; arrays have a shape of their own")
    model = _load_with_weights(options)
    inputs = _read_inputs(Path(options.input), model, options.timesteps)
    started = time.perf_counter()
    try:
        result = model.predict(inputs, batch_size=options.batch_size)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{options.input}: {error}") from error
    seconds = time.perf_counter() - started
    outputs = _name_outputs(result)
    if options.output is None:
        np.savetxt(sys.stdout, _as_table(outputs, "the standard output"), fmt="%.9g", delimiter=",")
        return OK
    _write(Path(options.output), outputs)
    shapes = ", ".join(str(array.shape) for array in outputs.values())
    print(f"{options.output}: {shapes} from {model.name!r} in {1000 * seconds:.1f} ms")
    return OK


def _check_suffix(path: str, what: str) -> None:
    if Path(path).suffix.lower() not in (".npy", ".npz", ".csv"):
        raise UsageError(f"{what}: expected a name that ends in .npy, .npz or .csv, got {path!r}")


def _read_inputs(path: Path, model: Model, timesteps: int | None) -> Any:
    """What ``model.predict`` takes, from a file."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            if len(model.inputs) != 1:
                raise UsageError(f"the model has {len(model.inputs)} inputs: give them in an .npz file")
            return _arrange(_read_csv(path), model.inputs[0], timesteps, path)
        with open(path, "rb") as file:
            # Never pickles: an object array is code.
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            return _match_names({key: loaded[key] for key in loaded.files}, model)
    except (OSError, UsageError, MemoryError):
        raise
    except Exception as error:  # NumPy, zipfile and zlib each have classes of their own for broken files
        raise UsageError(f"{path}: {error}") from error


def _match_names(arrays: dict[str, NDArray[Any]], model: Model) -> Any:
    names = [tensor.name for tensor in model.inputs]
    if len(arrays) != len(names):
        raise UsageError(f"expected {len(names)} arrays, one for each input {names}, got {list(arrays)}")
    if len(names) == 1:
        return next(iter(arrays.values()))
    if set(arrays) == {f"arr_{index}" for index in range(len(names))}:
        ordered = [arrays[f"arr_{index}"] for index in range(len(names))]
        structure = model.input_tree()
        return dict(zip(structure, ordered, strict=True)) if isinstance(structure, dict) else ordered
    return arrays  # predict matches the names, or says which it expects


def _read_csv(path: Path) -> NDArray[np.float64]:
    """The numbers of a CSV file, ``(rows, columns)``."""
    with open(path, encoding="utf-8-sig") as file:
        lines = [line for line in file if line.strip()]
    if lines and not _is_numbers(lines[0]):
        del lines[0]
    if not lines:
        raise UsageError(f"{path}: holds no numbers")
    return np.loadtxt(lines, delimiter=",", ndmin=2, comments=None)


def _is_numbers(line: str) -> bool:
    try:
        [float(field) for field in line.split(",")]
    except ValueError:
        return False
    return True


def _arrange(
    table: NDArray[np.float64], tensor: KerasTensor, timesteps: int | None, path: Path
) -> NDArray[np.float64]:
    """The rows of a CSV file in the shape of an input; see ``unrolled predict --help``."""
    shape = list(tensor.shape[1:])
    rows, columns = table.shape
    if timesteps is not None:
        if len(shape) != 2:
            raise UsageError(f"--timesteps: the model's input {tensor.shape} has no features over timesteps")
        if shape[0] not in (None, timesteps):
            raise UsageError(f"--timesteps {timesteps}: the model takes {shape[0]} timesteps")
        shape[0] = timesteps
    if len(shape) == 1 and shape[0] in (None, columns):
        return table
    if len(shape) == 2 and shape[1] in (None, columns):
        length = shape[0] or rows
        if rows % length:
            raise UsageError(f"{path}: {rows} rows are no whole number of sequences of {length} timesteps")
        return table.reshape(rows // length, length, columns)
    if len(shape) > 1 and None not in shape and math.prod(size or 0 for size in shape) == columns:
        return table.reshape(rows, *(size or 0 for size in shape))
    raise UsageError(
        f"{path}: {rows} rows of {columns} columns do not fit the model's input {tensor.shape}; "
        "`unrolled predict --help` describes the layout"
    )


def _name_outputs(result: Any) -> dict[str, NDArray[Any]]:
    from unrolled import tree

    if isinstance(result, np.ndarray):
        return {"output": result}
    if isinstance(result, dict) and all(isinstance(array, np.ndarray) for array in result.values()):
        return result
    return {f"output_{index}": array for index, array in enumerate(tree.leaves(result))}


def _as_table(outputs: dict[str, NDArray[Any]], where: str) -> NDArray[Any]:
    """The one output as rows of numbers: samples, or timesteps of one sequence after another."""
    if len(outputs) != 1:
        raise UsageError(f"the model has {len(outputs)} outputs, which do not fit {where}: use -o with .npz")
    (array,) = outputs.values()
    if array.ndim > 3:
        raise UsageError(f"an output of shape {array.shape} does not fit {where}: use -o with .npy or .npz")
    return array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array[:, None]


def _write(path: Path, outputs: dict[str, NDArray[Any]]) -> None:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        with open(path, "wb") as file:
            np.savez(file, **outputs)  # type: ignore[arg-type]  # keys are the model's names
    elif suffix == ".csv":
        # %.9g gives every float32 back exactly.
        np.savetxt(path, _as_table(outputs, ".csv"), fmt="%.9g", delimiter=",")
    else:
        if len(outputs) != 1:
            raise UsageError(f"the model has {len(outputs)} outputs, which do not fit .npy: use .npz")
        with open(path, "wb") as file:
            np.save(file, next(iter(outputs.values())))


# --------------------------------------------------------------------- stream


def _stream(options: argparse.Namespace) -> int:
    from unrolled.errors import StreamError
    from unrolled.streaming.lines import run_frames, run_lines

    model = _load_with_weights(options)
    run = run_frames if options.binary else run_lines
    try:
        run(model, cast(BufferedReader, sys.stdin.buffer), sys.stdout.buffer)
    except StreamError as error:
        return _fail(str(error), BAD_MODEL)
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error
    return OK


# ---------------------------------------------------------------------- bench


def _bench(options: argparse.Namespace) -> int:
    from unrolled import _core
    from unrolled.benchmark import benchmark

    if options.threads is not None:
        _core.set_num_threads(options.threads)
    result = benchmark(
        options.file,
        weights=options.weights,
        batch=options.batch,
        timesteps=options.timesteps,
        seconds=options.seconds,
        peers=not options.no_peers,
    )
    print(result.text())
    return OK
