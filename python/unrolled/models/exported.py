# SPDX-License-Identifier: MIT
"""Models from plan files: they predict and stream as the originals do, and have no layers."""

from __future__ import annotations

import os
from os import PathLike
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard

from unrolled import _core
from unrolled.engine import tree
from unrolled.engine.lowering import CarriedState, CompiledPlan, Lowering
from unrolled.errors import ModelFileError, StreamError, escaped, printable
from unrolled.layers.base import Layer
from unrolled.layers.symbolic import KerasTensor
from unrolled.models.model import Model

if TYPE_CHECKING:
    from unrolled.streaming.compiled import CompiledStream


def is_plan_file(path: object) -> TypeGuard[str | PathLike[str]]:
    """Whether a file begins as plan files do; False where there is none, or no file can be read."""
    try:
        if not isinstance(path, str | PathLike) or not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            return file.read(len(_core.PLAN_FILE_MAGIC)) == _core.PLAN_FILE_MAGIC
    except OSError:
        return False


def open_plan_file(path: str | PathLike[str], *, verify: bool = False) -> ExportedModel:
    """Open what ``Model.export`` wrote.

    Parameters
    ----------
    path : path-like
        It is mapped, not read: replace such a file, do not overwrite it while it is open.
    verify : bool
        Whether the checksum of the weights is verified too, which reads all of them.

    Raises
    ------
    ModelFileError
        The file is broken, or of a later version.
    FileNotFoundError
        There is no such file.
    """
    part = printable(os.path.basename(path))
    try:
        return ExportedModel(_core.PlanFile.open(path, verify=verify))
    except ModelFileError as error:
        raise ModelFileError(f"{part}: {error}") from None
    except ValueError as error:
        raise ModelFileError(f"{part}: {error}") from error


class ExportedModel(Model):
    """A model from a plan file: what runs, without the layers.

    Made by ``unrolled.load_model`` from what ``Model.export`` wrote. It predicts, streams and generates with
    the bits of the model that was exported. It cannot be changed, or saved for Keras.

    Parameters
    ----------
    file : PlanFile
        The open file.

    Raises
    ------
    ModelFileError
        What the file says of its inputs, outputs or states does not fit its plans.

    Examples
    --------
    >>> import numpy as np, tempfile, unrolled
    >>> model = unrolled.Sequential([unrolled.layers.GRU(3, input_shape=(None, 2))])
    >>> x = np.ones((1, 5, 2), np.float32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.export(f"{folder}/model.unrolled")
    ...     exported = unrolled.load_model(f"{folder}/model.unrolled")
    ...     np.array_equal(exported.predict(x), model.predict(x))
    True
    """

    def __init__(self, file: _core.PlanFile) -> None:
        super().__init__(name=_text(file.name))
        self._file = file
        description = _parse(file.description)
        tensors = [
            KerasTensor(tuple(shape), dtype, index=index, name=_text(name))
            for index, (name, dtype, shape) in enumerate(file.inputs)
        ]
        self._input_tree = _tree(description.get("inputs"), tensors)
        outputs = [
            KerasTensor(tuple(shape), dtype, index=index, name=_text(name))
            for index, (name, dtype, shape) in enumerate(file.outputs)
        ]
        self._structure = _tree(description.get("outputs"), range(len(outputs)))
        self._output_tree = _tree(description.get("outputs"), outputs)
        self._stream_structure: Any = None
        self._states: list[CarriedState] = []
        if file.stream_plan is not None:
            self._stream_structure = _tree(description.get("stream_outputs"), range(len(outputs)))
            self._states = _states(description.get("states"), file.states)
        self.built = True

    @property
    def layers(self) -> list[Layer]:
        """None: a plan file has operations instead."""
        return []

    @property
    def input(self) -> Any:
        """The inputs, in the structure that the model takes."""
        return self._input_tree

    @property
    def output(self) -> Any:
        """The outputs, in the structure that the model gives."""
        return self._output_tree

    def compile_plan(self, dtypes: Any) -> tuple[CompiledPlan, Any]:
        return CompiledPlan(self._file.plan, len(self._file.outputs)), self._structure

    def compile_stream(self) -> CompiledStream:
        from unrolled.streaming.compiled import CompiledStream

        plan = self._file.stream_plan
        if plan is None:
            raise StreamError(
                f"model {self.name!r} cannot run as a live stream: a layer of it needs timesteps that are still "
                "to come; model.stream() of the model that was exported names it"
            )
        return CompiledStream(
            self,
            plan,
            dtypes=[tensor.dtype for tensor in self.inputs],
            structure=self._stream_structure,
            sequence_outputs=self._file.sequence_outputs,
            states=self._states,
        )

    def vocabularies(self) -> list[int]:
        return [
            len(operation["arguments"]["table"])
            for operation in self._file.plan.operations()
            if operation["name"] == "embedding"
        ]

    def export(self, path: str | PathLike[str]) -> None:
        """Write the plan file again, byte for byte."""
        from unrolled.files import replacing

        with replacing(path) as file:
            file.write(self._file.to_bytes())

    def summary(
        self,
        line_length: int | None = None,
        *,
        print_fn: Any = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
    ) -> None:
        """Print the inputs and outputs; parameters as ``Model.summary``, of which only ``print_fn`` matters."""
        lines = [f'Model: "{escaped(self.name)}" (a plan file, without layers)']
        for what, tensors in (("input", self._file.inputs), ("output", self._file.outputs)):
            lines += [
                f"  {what} {escaped(_text(name))}: {dtype} {tuple(shape)}" for name, dtype, shape in tensors
            ]
        lines.append("  streams: " + ("no" if self._file.stream_plan is None else "yes"))
        (print if print_fn is None else print_fn)("\n".join(lines))

    # ------------------------------------------------------------- not possible

    def _refuse(self, what: str) -> NoReturn:
        raise ValueError(
            f"model {self.name!r} is from a plan file, which has no layers: {what} needs the model that was exported"
        )

    def lower(self, plan: Lowering, x: Any, **kwargs: Any) -> Any:
        self._refuse("a mask")

    def describe_output(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._refuse("a call inside of another model")

    def get_config(self) -> dict[str, Any]:
        """Refused: there are no layers to describe."""
        self._refuse("get_config")

    def save(
        self, path: str | PathLike[str], overwrite: bool = True, *, approximate: bool = False
    ) -> list[str]:
        """Refused: there are no layers for Keras."""
        self._refuse("save")

    def load_weights(self, path: Any, **_: Any) -> None:
        """Refused: the weights of a plan file stay as they are."""
        self._refuse("load_weights")

    # ------------------------------------------------------------------ copies

    def __reduce__(self) -> Any:
        return _from_bytes, (self._file.to_bytes(),)

    def __copy__(self) -> ExportedModel:
        return ExportedModel(self._file)

    def __deepcopy__(self, memo: Any) -> ExportedModel:
        return ExportedModel(self._file)  # nothing in it can be changed


def _from_bytes(data: bytes) -> ExportedModel:
    return ExportedModel(_core.PlanFile.from_bytes(data, verify=True))


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise ModelFileError("plan file: a name is not UTF-8") from None


def _parse(description: bytes) -> dict[str, Any]:
    from unrolled.formats.config.json_text import parse_object

    return parse_object(description, "plan file")


def _tree(structure: Any, leaves: Any) -> Any:
    """The structure that JSON describes, with ``leaves`` in the places of their numbers."""
    used: list[int] = []

    def made(part: Any) -> Any:
        if isinstance(part, list):
            return [made(item) for item in part]
        if isinstance(part, dict):
            if list(part) == ["()"] and isinstance(part["()"], list):
                return tuple(made(item) for item in part["()"])
            return {key: made(item) for key, item in part.items()}
        if not isinstance(part, int) or isinstance(part, bool) or not 0 <= part < len(leaves):
            raise ModelFileError("plan file: the structure of its inputs or outputs is broken")
        used.append(part)
        return leaves[part]

    result = made(structure)
    numbers = tree.leaves(_numbers(structure))
    if sorted(used) != list(range(len(leaves))) or list(numbers) != sorted(used):
        raise ModelFileError("plan file: the structure of its inputs or outputs is broken")
    return result


def _numbers(structure: Any) -> Any:
    """As ``tree`` sees it: a tuple, which JSON lacks, is a list to it."""
    if isinstance(structure, dict):
        if list(structure) == ["()"] and isinstance(structure["()"], list):
            return [_numbers(item) for item in structure["()"]]
        return {key: _numbers(item) for key, item in structure.items()}
    return [_numbers(item) for item in structure] if isinstance(structure, list) else structure


def _states(described: Any, states: list[tuple[str, list[int], float]]) -> list[CarriedState]:
    """The states as Python sees them: doubles lie in the plan as twice as many int32."""
    if not isinstance(described, list) or len(described) != len(states):
        raise ModelFileError("plan file: its states are not described")
    result = []
    for item, (plan_dtype, shape, initial) in zip(described, states, strict=True):
        if (
            not isinstance(item, list)
            or len(item) != 3
            or not isinstance(item[0], str)
            or not isinstance(item[1], int)
            or item[2] not in (plan_dtype, *(["float64"] if plan_dtype == "int32" else []))
        ):
            raise ModelFileError("plan file: its states are not described")
        layer, owner, dtype = item
        if dtype == "float64":
            if not shape or shape[-1] % 2:
                raise ModelFileError("plan file: a state of doubles has an odd size")
            shape = [*shape[:-1], shape[-1] // 2]
        result.append(CarriedState(layer, owner, shape, dtype, initial))
    return result
