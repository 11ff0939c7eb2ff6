# SPDX-License-Identifier: MIT
"""What every layer is: a config, weights, shapes, a mask rule and a lowering to operations.

Above 400 lines, as it is one class, whose parts use each other; what they share with no other part is in
``calls``, ``options`` and ``symbolic``.
"""

from __future__ import annotations

import inspect
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.engine import tree
from unrolled.engine.lowering import Flow, Lowering, Shape, lowered
from unrolled.engine.variables import Holders, PlanCache, Snapshot, Variable, assign_together, values_together
from unrolled.errors import StreamError, printable
from unrolled.layers import options
from unrolled.layers.calls import (
    as_input,
    as_mask,
    attach_masks,
    check_call,
    describe_leaf,
    is_array,
    nested_numbers_to_array,
    shape_of,
    sorted_dicts,
)
from unrolled.layers.config_values import (
    INPUT_SHAPE_KEYS,
    TRAINING_ONLY,
    dtype_policy,
    is_shape,
    pop_input_shape,
)
from unrolled.layers.naming import automatic_name
from unrolled.layers.options import LayerType, making, set_semantics
from unrolled.layers.registry import SEMANTICS, deserialize_value, semantics_from
from unrolled.layers.symbolic import KerasTensor, Node
from unrolled.semantics import KERAS_3, Semantics
from unrolled.spec import LayerFacts

# Effects of training=True; see ``Layer.training_effect``.
DRAWS_RANDOM_NUMBERS = "draws random numbers"
NORMALISES_BY_THE_BATCH = "normalises by the batch itself"


@cache
def _keywords_of(constructor: Callable[..., None]) -> tuple[str, ...]:
    """The parameters of a constructor, which take most of the time of building a small layer to find."""
    parameters = inspect.signature(constructor).parameters.values()
    return tuple(
        parameter.name
        for parameter in parameters
        if parameter.name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    )


class Layer(metaclass=LayerType):
    """Base class: one Keras layer, for inference.

    Parameters
    ----------
    name : str, optional
        Keras's automatic name where absent.
    trainable : bool
        Kept for counting parameters; nothing trains here.
    dtype : str, optional
        Keras's dtype policy. Everything is computed in float32.
    **kwargs
        ``input_shape``, ``batch_input_shape``, ``batch_shape``, ``input_dim``, ``input_length`` and
        ``batch_size`` declare the input as in Keras; keys of ``ignored_config`` are kept but unused.

    Raises
    ------
    TypeError
        A keyword that the layer does not have.
    ConfigError
        A value that the layer cannot honour (a ``ValueError``).
    """

    # What readers and writers of files must know of the class.
    facts: ClassVar[LayerFacts] = LayerFacts()
    # For the documents: what becomes of a mask that arrives, and the lines of Keras that have the class.
    mask_rule: ClassVar[str] = "passes"
    keras_versions: ClassVar[str] = "1, 2, 3"
    # Whether Keras 3's int8 form of the layer runs.
    has_int8: ClassVar[bool] = False
    # What older rules of masks do here and today's do not, where a version changed them.
    old_mask_rule: ClassVar[str] = (
        "masked steps at the start give the initial state, or a mask is heeded beside states that are given; "
        "Keras 3 does neither"
    )
    # Config key to the reason why it cannot change inference. Inherited: see ignored_keys().
    ignored_config: ClassVar[Mapping[str, str]] = {}
    # Ranks of an input (batch axis counted); None where any from min_rank on serves.
    input_ranks: ClassVar[tuple[int, ...] | None] = None
    min_rank: ClassVar[int] = 1
    # Operations stand among the layers of a graph, but Keras does not count them as layers.
    is_operation: ClassVar[bool] = False
    # Whether the lowering needs the size of axis 1; else one plan serves any number of timesteps.
    needs_timesteps: ClassVar[bool] = False
    # What a call may have beside its inputs, ``mask`` and ``training``.
    call_arguments: ClassVar[frozenset[str]] = frozenset()
    # Whether attributes that nothing reads may be set, as on models.
    keeps_any_attribute: ClassVar[bool] = False
    # Whether the constructor is done. Not read through __dict__, with which CPython's attributes get slower.
    _is_made = False

    def __init__(
        self, *, name: str | None = None, trainable: bool = True, dtype: object = None, **kwargs: Any
    ) -> None:
        self.name = automatic_name(self.class_name) if name is None else str(name)
        self.trainable = bool(trainable)
        self.dtype = dtype_policy(dtype)
        self.semantics: Semantics = KERAS_3
        self.built = False
        self.nodes: list[Node] = []
        self.built_shape: Any = None
        self._own_variables: list[Variable] = []
        # Axis of the input to the size that the weights were made for.
        self._expected_sizes: dict[int, int] = {}
        self._plans = PlanCache()
        self.holders = Holders()
        self.declared_input_shape = pop_input_shape(kwargs)
        ignored = self.ignored_keys()
        self.unused_config = {key: kwargs.pop(key) for key in list(kwargs) if key in ignored}
        if kwargs:
            known = sorted(set(self.config_keys()) | set(ignored))
            raise TypeError(
                f"{self.class_name}: unknown argument{'s' if len(kwargs) > 1 else ''} "
                f"{', '.join(map(repr, kwargs))}; it takes {', '.join(known)}"
            )

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; one that plans were made of takes effect, or is refused (see ``options``)."""
        if name[0] == "_" or name in options.NO_PART_OF_PLANS or not self._is_made:
            object.__setattr__(self, name, value)
        else:
            options.change(self, name, value)

    # ------------------------------------------------------------------ copies

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle or a deep copy holds: no plans, and no calls, which belong to models."""
        state = {key: value for key, value in self.__dict__.items() if key not in ("_plans", "holders")}
        state["nodes"] = [node for node in self.nodes if not node.parents]
        state["snapshot"] = Snapshot(self.weights)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        snapshot = state.pop("snapshot")
        self.__dict__ |= state
        snapshot.restore()
        self.__dict__ |= {"_plans": PlanCache(), "holders": Holders()}

    def __copy__(self) -> Layer:
        """A layer, or model, with the same weights and layers inside, as ``copy.copy`` has it."""
        other: Layer = object.__new__(type(self))
        other.__dict__ |= {
            key: list(value) if type(value) is list else value for key, value in self.__dict__.items()
        }
        other.__dict__ |= {"_plans": PlanCache(), "holders": Holders()}
        return other

    # ------------------------------------------------------------------ config

    @property
    def class_name(self) -> str:
        """The Keras class."""
        return type(self).__name__

    @classmethod
    def ignored_keys(cls) -> dict[str, str]:
        """Config keys that are kept but cannot change inference, each with its reason."""
        merged: dict[str, str] = {"autocast": TRAINING_ONLY["autocast"]}
        for base in reversed(cls.__mro__):
            merged.update(base.__dict__.get("ignored_config", {}))
        return merged

    @classmethod
    def config_keys(cls) -> list[str]:
        """Config keys that the class uses: the keyword parameters of its constructor and its bases'."""
        keys: dict[str, None] = {}
        for base in cls.__mro__:
            if "__init__" in base.__dict__ and base is not object:
                keys |= dict.fromkeys(_keywords_of(base.__dict__["__init__"]))
        return [*keys, *INPUT_SHAPE_KEYS]

    def get_config(self) -> dict[str, Any]:
        """The config, in Keras 3's words; ``type(layer).from_config`` takes it back."""
        config: dict[str, Any] = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype}
        return config | self.unused_config | self.semantics_config()

    def semantics_config(self) -> dict[str, Any]:
        """For a config: the rules of older versions of Keras that the layer follows, which no key of Keras's
        says."""
        today = asdict(KERAS_3)
        own = {key: value for key, value in asdict(self.semantics).items() if value != today[key]}
        return {SEMANTICS: own} if own else {}

    @property
    def serialized_as(self) -> tuple[str, str | None]:
        """Module and registered name in Keras's serialised form."""
        return "keras.layers", None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Layer:
        """Make the layer that ``get_config`` describes (nested layers as Keras serialises them)."""
        semantics = semantics_from(config)
        layer = cls(**{key: deserialize_value(value) for key, value in config.items() if key != SEMANTICS})
        if semantics != KERAS_3:
            set_semantics(layer, semantics)
        return layer

    def in_keras_3(self, serialized: dict[str, Any]) -> dict[str, Any]:
        """The serialised form as Keras 3's class takes it, where that differs from ours."""
        return serialized

    # ----------------------------------------------------------------- weights

    @property
    def own_variables(self) -> list[Variable]:
        """Variables of this layer itself, in Keras's creation order, trainable ones first."""
        return sorted(self._own_variables, key=lambda variable: not variable.trainable)

    def add_weight(
        self,
        name: str,
        shape: Sequence[int],
        initializer: Callable[[tuple[int, ...]], ArrayLike],
        *,
        trainable: bool = True,
    ) -> Variable:
        """Create an own variable; the order of calls is the order in files.

        Parameters
        ----------
        name : str
            Keras's name.
        shape : sequence of int
            Shape of the value.
        initializer : callable
            Gives the value when it is first read.
        trainable : bool
            Whether Keras counts it as trainable.
        """
        variable = Variable.initialized(initializer, shape, name, trainable=trainable)
        self._own_variables.append(variable)
        return variable

    def expect_size(self, input_shape: Shape, axis: int) -> int:
        """The size of ``axis``, which weights depend on: later inputs must have the same.

        Raises
        ------
        ValueError
            The axis does not exist, or its size is not known.
        """
        if not -len(input_shape) <= axis < len(input_shape):
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): the input has no axis {axis}, "
                f"got shape {tuple(input_shape)}"
            )
        size = input_shape[axis]
        if size is None:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): the size of axis {axis} of the input must be "
                f"known, got shape {tuple(input_shape)}"
            )
        self._expected_sizes[axis % len(input_shape) - len(input_shape) if axis < 0 else axis] = size
        return int(size)

    @property
    def tracked(self) -> dict[str, Any]:
        """Keras's attribute names of the layers inside this one, to a layer or a list of layers."""
        return {}

    def sublayers(self) -> list[Layer]:
        """The layers directly inside this one."""
        return [leaf for leaf in tree.leaves(list(self.tracked.values())) if leaf is not None]

    def walk(self) -> Iterator[Layer]:
        """This layer and everything inside it, once each."""
        seen: set[int] = set()
        pending: deque[Layer] = deque([self])
        while pending:
            layer = pending.popleft()
            if id(layer) not in seen:
                seen.add(id(layer))
                yield layer
                pending += layer.sublayers()

    def _collect(self, wanted: Callable[[Variable, bool], bool], frozen: bool = False) -> list[Variable]:
        frozen = frozen or not self.trainable
        found = [variable for variable in self.own_variables if wanted(variable, frozen)]
        for layer in self.sublayers():
            found += layer._collect(wanted, frozen)
        return list({id(variable): variable for variable in found}.values())

    @property
    def trainable_weights(self) -> list[Variable]:
        return self._collect(lambda variable, frozen: variable.trainable and not frozen)

    @property
    def non_trainable_weights(self) -> list[Variable]:
        return self._collect(lambda variable, frozen: frozen or not variable.trainable)

    @property
    def weights(self) -> list[Variable]:
        """All variables, in Keras's order: own first, then those of the layers inside."""
        return self._collect(lambda variable, frozen: True)

    @property
    def variables(self) -> list[Variable]:
        return self.weights

    def get_weights(self) -> list[NDArray[np.float32]]:
        """Copies of the weights, in the order of ``weights``."""
        weights = self.weights
        values = values_together(weights)
        return [values[id(variable)].copy() for variable in weights]

    def set_weights(self, arrays: Sequence[ArrayLike]) -> None:
        """Replace all weights.

        Raises
        ------
        ValueError
            Not as many arrays as weights, or one of another shape; nothing is changed then.
        """
        weights = self.weights
        if len(arrays) != len(weights):
            built = "" if self.built else " (the layer is not built yet: call it or build(input_shape) first)"
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): expected {len(weights)} arrays, got {len(arrays)}{built}"
            )
        values = [np.asarray(array, dtype=np.float32) for array in arrays]
        for variable, value in zip(weights, values, strict=True):
            if variable.shape != value.shape:
                raise ValueError(
                    f"layer {self.name!r} ({self.class_name}): {variable.name} expects shape {variable.shape}, "
                    f"got {value.shape}"
                )
        assign_together(list(zip(weights, values, strict=True)))

    def count_params(self) -> int:
        """How many numbers the weights hold."""
        return sum(variable.size for variable in self.weights)

    # ------------------------------------------------------------------ shapes

    def build(self, input_shape: Any) -> None:
        """Create the weights for ``input_shape`` (``(batch, ...)``, ``None`` where unknown)."""
        with self._plans.compiling, making(self):
            if not self.built:
                self.check_input_shape(input_shape)
                self.build_weights(input_shape)
                self.built_shape = input_shape
                self.built = True

    def build_weights(self, input_shape: Any) -> None:
        """Create own variables and build the layers inside; called once."""

    def check_input_shape(self, input_shape: Any) -> None:
        """Raise ``ValueError`` unless this layer can run on ``input_shape``."""
        if not is_shape(input_shape):
            return
        rank, shape = len(input_shape), tuple(input_shape)
        ranks = self.input_ranks
        if (rank not in ranks) if ranks is not None else rank < self.min_rank:
            wanted = f"{self.min_rank} or more" if ranks is None else " or ".join(str(rank) for rank in ranks)
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): expected an input of rank {wanted} "
                f"(batch axis counted), got shape {shape}"
            )
        for axis, size in self._expected_sizes.items():
            if not -rank <= axis < rank or shape[axis] not in (None, size):
                raise ValueError(
                    f"layer {self.name!r} ({self.class_name}): expected size {size} on axis {axis} of the "
                    f"input, got shape {shape}"
                )

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape(s) of the output for ``input_shape``; a list where there are several."""
        return tuple(input_shape)

    def output_dtype(self, input_dtype: str) -> str:
        """The dtype of the output for an input of ``input_dtype``."""
        return "float32"

    @property
    def output_shape(self) -> Any:
        """The shape(s) of the output where the layer has been built in a model or alone; else None."""
        if self.nodes:
            return tree.map_leaves(lambda tensor: tensor.shape, self.nodes[-1].outputs)
        return None if self.built_shape is None else self.compute_output_shape(self.built_shape)

    @property
    def input(self) -> Any:
        """What the first symbolic call of the layer took: a tensor, or a list of them.

        Raises
        ------
        AttributeError
            The layer has not been called in a model.
        """
        call = self._first_call("input")
        return call.args[0] if call.args else call.outputs

    @property
    def output(self) -> Any:
        """What the first symbolic call of the layer gave: a tensor, or a list of them.

        Raises
        ------
        AttributeError
            The layer has not been called in a model.

        Examples
        --------
        >>> import numpy as np, unrolled
        >>> model = unrolled.Sequential([unrolled.layers.LSTM(4, input_shape=(7, 3)), unrolled.layers.Dense(1)])
        >>> unrolled.Model(model.input, model.layers[0].output).predict(np.zeros((2, 7, 3))).shape
        (2, 4)
        """
        return self._first_call("output").outputs

    def _first_call(self, wanted: str) -> Node:
        if not self.nodes:
            raise AttributeError(
                f"layer {self.name!r} ({self.class_name}) has no {wanted} yet: it has not been called on a "
                "symbolic tensor, nor added to a model that knows its input shape"
            )
        return self.nodes[0]

    def describe_output(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Shape and dtype, as a tree of ``(shape, dtype)``, of a call on symbolic tensors."""
        inputs = args[0]
        shapes = tree.map_leaves(lambda leaf: leaf.shape, inputs)
        first = next(tree.leaves(inputs))
        dtype = self.output_dtype(first.dtype)
        result = self.compute_output_shape(shapes)
        return [(shape, dtype) for shape in result] if isinstance(result, list) else (result, dtype)

    # ---------------------------------------------------------------- lowering

    def lower(self, plan: Lowering, x: Any, **kwargs: Any) -> Any:
        """Write this layer's operations into ``plan``.

        Parameters
        ----------
        plan : Lowering
            The plan being built.
        x : Flow, or a tree of Flow
            The input(s), masks attached.
        **kwargs
            Other arguments of the call (``initial_state``, ...).

        Returns
        -------
        Flow, or a tree of Flow
            The output(s), with the mask that Keras would attach.
        """
        raise NotImplementedError(f"{self.class_name} has no lowering")

    def lower_call(self, plan: Lowering, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """``lower`` with a call's ``mask`` attached to the inputs and ``training`` checked."""
        kwargs = dict(kwargs)
        mask = kwargs.pop("mask", None)
        self.check_training(kwargs.pop("training", None))
        first, *rest = args if args else (kwargs.pop("inputs", None),)
        flows = [leaf for leaf in tree.leaves([first, rest, kwargs, mask]) if isinstance(leaf, Flow)]
        given = first
        self.check_text(flows)
        if mask is not None:
            masks = tree.map_leaves(partial(as_mask, plan), mask)
            first = attach_masks(first, masks)
        if plan.is_streaming and any(flow.is_sequence for flow in flows):
            plan.begin_call()
            result = self.lower_stream(plan, flows, first, *rest, **kwargs)
        else:
            result = self.lower(plan, first, *rest, **kwargs)
        return self.output_masks(plan, result, given, first)

    def output_masks(self, plan: Lowering, result: Any, given: Any, masked: Any) -> Any:
        """``result`` with the masks that the version of Keras leaves on it.

        Parameters
        ----------
        plan : Lowering
            The plan being built.
        result : Flow, or a tree of Flow
            What ``lower`` gave for ``masked``.
        given : Flow, or a tree of Flow
            The first argument of the call.
        masked : Flow, or a tree of Flow
            The same with the masks that were given explicitly.
        """
        if isinstance(given, list | tuple):
            if plan.semantics_of(self).lists_carry_masks:
                return result
            return tree.map_leaves(lambda flow: flow.with_mask(None), result)
        if given is masked or plan.semantics_of(self).explicit_mask_passes_on:
            return result

        def previous(flow: Flow) -> Flow:
            return flow.with_mask(given.mask, given.mask_rank) if flow.mask == masked.mask else flow

        return tree.map_leaves(previous, result)

    # ----------------------------------------------------------------- streams

    # Why timesteps cannot go through this layer one by one; None where each is computed on its own.
    stream_obstacle: ClassVar[str | None] = "is not known to work on one timestep after another"
    # Whether the layer takes ids, (batch, timesteps), of which each is a timestep.
    takes_id_sequences: ClassVar[bool] = False

    def find_stream_obstacle(self, x: Any) -> str | None:
        """Why the timesteps of ``x`` cannot go through this layer one by one; None where they can."""
        return self.stream_obstacle

    def lower_stream(self, plan: Lowering, flows: Sequence[Flow], x: Any, *args: Any, **kwargs: Any) -> Any:
        """``lower`` in a plan for streams, for a call of which at least one of ``flows`` is a sequence.

        Raises
        ------
        StreamError
            The layer needs timesteps that are not there yet.
        """
        obstacle = self.find_stream_obstacle(x)
        if obstacle is None and not all(flow.is_sequence for flow in flows):
            obstacle = "combines the timesteps of the stream with a value that is not one for each of them"
        self.refuse_stream(obstacle, flows)
        result = self.lower(plan, x, *args, **kwargs)
        return tree.map_leaves(lambda flow: replace(flow, is_sequence=True), result)

    def refuse_stream(self, obstacle: str | None, flows: Sequence[Flow]) -> None:
        """Raise ``StreamError`` where there is an obstacle, or where ``flows`` have no time axis."""
        if not self.takes_id_sequences:
            for flow in flows:
                # A mask is (batch, timesteps).
                if flow.is_sequence and len(flow.shape) < 3 and flow.dtype != "bool":
                    obstacle = f"gets (batch, {flow.shape[1]}), which has no time axis"
        if obstacle is not None:
            raise StreamError(f"layer {self.name!r} ({self.class_name}) {obstacle}")

    @property
    def training_effect(self) -> str | None:
        """What ``training=True`` would do here, layers inside not counted; None where it changes nothing."""
        return None

    def check_training(self, training: Any) -> None:
        """Refuse ``training=True`` where it would change the result (dropout, batch statistics)."""
        if not training:
            return
        if self.training_effect is not None:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): training=True {self.training_effect}, which is not "
                "supported; call it with training=False"
            )
        for layer in self.sublayers():
            layer.check_training(training)

    # ------------------------------------------------------------------- calls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the layer on arrays at once, or record a call on symbolic tensors.

        Parameters
        ----------
        *args, **kwargs
            As Keras's layer: the input(s), then ``mask``, ``initial_state``, ``training`` and the like.

        Returns
        -------
        ndarray or KerasTensor, or a list of them
        """
        if not args and "inputs" in kwargs:
            args = (kwargs.pop("inputs"),)
        args = tuple(nested_numbers_to_array(value) for value in args)
        kwargs = {key: nested_numbers_to_array(value) for key, value in kwargs.items()}
        if any(isinstance(leaf, KerasTensor) for leaf in tree.leaves([args, kwargs])):
            return self._call_symbolically(args, kwargs)
        return self._call_on_arrays(args, kwargs)

    def _call_symbolically(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.check_call(args, kwargs)
        self.check_text([leaf for leaf in tree.leaves([args, kwargs]) if isinstance(leaf, KerasTensor)])
        self.ensure_built(self.input_shapes(args, kwargs))
        node = Node(self, args, kwargs)
        number = itertools.count()

        def tensor(described: Any) -> Any:
            if isinstance(described, list):
                return [tensor(item) for item in described]
            if isinstance(described, dict):
                return {key: tensor(described[key]) for key in sorted(described)}
            shape, dtype = described
            return KerasTensor(shape, dtype, node=node, index=next(number), name=self.name)

        node.outputs = tensor(self.describe_output(args, kwargs))
        self.nodes.append(node)
        return node.outputs

    def check_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise ``TypeError`` unless the layer knows all arguments of a call, and tensors are where they must."""
        check_call(self, args, kwargs)

    @property
    def reads_text(self) -> bool:
        """Whether the layer's input is text, which others refuse."""
        return False

    def check_text(self, tensors: Sequence[KerasTensor | Flow]) -> None:
        """Raise ``ValueError`` where text comes and numbers are expected, or the reverse."""
        for tensor in tensors:
            if tensor.dtype == "string" and not self.reads_text:
                raise ValueError(
                    f"layer {self.name!r} ({self.class_name}): expected numbers, got text; only TextVectorization "
                    "and StringLookup take text: put one of them before this layer"
                )
            if self.reads_text and tensor.dtype != "string":
                raise ValueError(
                    f"layer {self.name!r} ({self.class_name}): expected text, got {tensor.dtype}; give the model "
                    'Input(..., dtype="string")'
                )

    def input_shapes(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What ``build`` is given for a call: the shape(s) of its first argument."""
        return tree.map_leaves(shape_of, args[0])

    def ensure_built(self, input_shape: Any) -> None:
        """Build on first use, check the shape on later ones."""
        if self.built:
            self.check_input_shape(input_shape)
        else:
            self.build(input_shape)

    def _call_on_arrays(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        outputs, _ = self._run_call(args, kwargs)
        return outputs

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask that this layer would pass on for arrays ``inputs`` with ``mask``.

        Returns
        -------
        ndarray of bool, or None, or a list of them
        """
        _, masks = self._run_call((inputs,), {} if mask is None else {"mask": mask}, want_masks=True)
        return masks

    def _run_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], want_masks: bool = False) -> Any:
        """Lower this one call, run it on its arrays; (outputs, masks) in their structures."""
        call = [args, kwargs]
        arrays = [as_input(leaf) for leaf in tree.leaves(call) if is_array(leaf)]
        flat = iter(arrays)
        call = tree.map_leaves(lambda leaf: next(flat) if is_array(leaf) else leaf, sorted_dicts(call))
        if not arrays:
            raise ValueError(f"layer {self.name!r} ({self.class_name}): called without an array")
        args, kwargs = call
        timesteps = [leaf.shape[1:2] for leaf in arrays] if self.needs_timesteps else None
        key = (
            want_masks,
            timesteps is not None and tuple(timesteps),
            repr(tree.map_leaves(describe_leaf, call)),
        )
        cached = self._plans.get(key)
        if cached is None:
            self.check_call(args, kwargs)
        self.ensure_built(self.input_shapes(args, kwargs))
        if cached is None:
            cached = self._lower_once(key, args, kwargs, want_masks)
        plan, outputs, masks = cached
        results = plan.run(arrays)

        def pick(slot: int | None) -> Any:
            return None if slot is None else results[slot]

        return tree.map_leaves(pick, outputs), tree.map_leaves(pick, masks)

    def _lower_once(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any], want_masks: bool) -> Any:
        return self._plans.get_or_compile(key, lambda: self._lower_alone(args, kwargs, want_masks))

    def _lower_alone(self, args: tuple[Any, ...], kwargs: dict[str, Any], want_masks: bool) -> Any:
        return lowered(self, lambda plan: self._lower_into(plan, args, kwargs, want_masks))

    def _lower_into(
        self, lowering: Lowering, args: tuple[Any, ...], kwargs: dict[str, Any], want_masks: bool
    ) -> Any:
        def flow(leaf: Any) -> Any:
            if not is_array(leaf):
                return leaf
            any_timesteps = leaf.ndim > 2 and not self.needs_timesteps
            shape: Shape = (None, None, *leaf.shape[2:]) if any_timesteps else (None, *leaf.shape[1:])
            dtype = str(leaf.dtype)
            return Flow(lowering.ops.input(dtype, leaf.ndim), shape, dtype)

        flow_args, flow_kwargs = tree.map_leaves(flow, [args, kwargs])
        result = self.lower_call(lowering, flow_args, flow_kwargs)
        values: list[int] = []

        def slot(value: int | None) -> int | None:
            if value is None:
                return None
            values.append(value)
            return len(values) - 1

        outputs = tree.map_leaves(lambda leaf: slot(leaf.value), result)
        masks = tree.map_leaves(lambda leaf: slot(leaf.mask), result) if want_masks else None
        return lowering.finish(values), outputs, masks

    def __repr__(self) -> str:
        return f"<{self.class_name} name={printable(self.name)}, built={self.built}>"
